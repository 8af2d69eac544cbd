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
    # `interlock-postgres` gets its line here, and its adapter beside the others, once there is a journal for it.
    "interlock-sqlite": Entry("interlock_sqlite"),
    "dbos-sqlite": Entry("dbos_steps", "dbos", ("sqlite",)),
    "dbos-postgres": Entry("dbos_steps", "dbos", ("postgres",)),
    "langgraph-sqlite": Entry("langgraph_graph", "langgraph"),
    "temporal": Entry("temporal_activities", "temporal"),
    "restate": Entry("restate_steps", "restate"),
    "prefect": Entry("prefect_tasks", "prefect"),
    "celery-redis": Entry("celery_canvas", "celery"),
}
