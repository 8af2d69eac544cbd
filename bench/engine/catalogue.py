"""Which engines there are, by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """``module`` is the adapter in `adapters`, ``arguments`` are what its engine is made with, and ``environment`` names the
    requirements of the virtual environment that it runs in; empty for what runs in that of the project."""

    module: str
    environment: str = ""
    arguments: tuple[str, ...] = ()


ENGINES: dict[str, Entry] = {
    "floor-sqlite": Entry("floor_sqlite"),
    "floor-postgres": Entry("floor_postgres", "postgres"),
    "interlock-sqlite": Entry("interlock_runs", "", ("sqlite",)),
    "interlock-postgres": Entry("interlock_runs", "", ("postgres",)),
    "dbos-sqlite": Entry("dbos_steps", "dbos", ("sqlite",)),
    "dbos-postgres": Entry("dbos_steps", "dbos", ("postgres",)),
    "langgraph-sqlite": Entry("langgraph_graph", "langgraph"),
    "temporal": Entry("temporal_activities", "temporal"),
    "restate": Entry("restate_steps", "restate"),
    "prefect": Entry("prefect_tasks", "prefect"),
    "celery-redis": Entry("celery_canvas", "celery"),
}
