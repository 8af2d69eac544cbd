"""The floor in SQLite: what a journal costs when there is no engine around it.

Level by level: every body that is ready runs, in this thread, then one row for each of them (run, task, result) is appended to
one table, and one commit makes the level durable before the next one begins. The file is in WAL mode with ``synchronous=FULL``,
so each commit waits for one fsync. All runs of a workload share the commits. There is no scheduler, no event loop, no name, no
time and no status in the rows, and nothing could go on after a crash without a reader that is not written here: no engine that
keeps a row for a task can be faster on this disk with this library, and that is all it is for.
"""

import sqlite3
from pathlib import Path

from engine.bodies import body
from engine.workloads import Workload


class Engine:
    version = f"SQLite {sqlite3.sqlite_version}"
    durability = "one row a task, one commit for each batch of ready tasks, each commit fsynced (WAL, synchronous=FULL)"

    async def start(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "journal.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            "CREATE TABLE journal (position INTEGER PRIMARY KEY, run INTEGER, task INTEGER, result INTEGER)"
        )

    async def define(self, workload: Workload) -> None:
        """The graph comes with each run."""

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        found: dict[int, dict[int, int]] = {run: {} for run in workload.numbers}
        for level in workload.levels:
            rows = list(done(workload, level, found))
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO journal (run, task, result) VALUES (?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        return [tuple(results[sink] for sink in workload.sinks) for results in found.values()]

    async def stop(self) -> None:
        self._connection.close()


def done(workload: Workload, level: tuple[int, ...], found: dict[int, dict[int, int]]):
    """Carry out a level of every run; yields run, task and result."""
    for run, results in found.items():
        for task in level:
            results[task] = body(run, task, [results[need] for need in workload.needs[task]])
            yield run, task, results[task]
