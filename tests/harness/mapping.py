"""A map over 200 files and its reduce, in a process that ends itself in the middle.

``python -m harness.mapping FOLDER PASSES`` begins or adopts the run in ``FOLDER``, and is killed by itself after so many places
around effects; without ``PASSES`` it goes on to the end of the run.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from harness.engine import Engine, make_tables, run_of, task
from interlock.core.errors import Unavailable
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.sqlite import SqliteFiles
from interlock.runs import model as m
from interlock.runs.graph import Retry, TaskSpec
from interlock.runs.parts import Each
from interlock.testing.tools import AppendLine, CreateFile

SCOPE = Scope(tenant="default", principal="user:owner")
FILES = 200
TOOLS = ("test.create", "test.append")


def graph() -> list[TaskSpec]:
    """The list of files, each counted once, and the sum of those; if any are found."""
    each = Each(items={"$output": "list.files"}, max_concurrent=20)
    count = task("count", "list", each=each, inputs={"path": {"$item": "path"}}, retry=Retry(max_attempts=2, delay_s=0.01))
    total = task("sum", "count", inputs={"counts": {"$output": "count.items"}}, condition="size(outputs.count.items) > 0")
    return [task("list"), count, total, task("none", "count", condition="size(outputs.count.items) == 0")]


class Bodies:
    """What the tasks do; ``passes_left`` effects later the process is killed."""

    def __init__(self, folder: Path, passes_left: int | None = None) -> None:
        self._passes_left = passes_left
        self.tools = [CreateFile(folder, self._pass), AppendLine(folder, self._pass)]

    def _pass(self, *_place: Any) -> None:
        if self._passes_left is not None:
            self._passes_left -= 1
            if self._passes_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    async def __call__(self, context: Any) -> dict[str, Any]:
        if context.task_id == "list":
            return {"files": [{"path": f"f{number}"} for number in range(FILES)]}
        if context.task_id == "sum":
            return {"lines": sum(found["lines"] for found in context.inputs["counts"])}
        path = context.inputs["path"]
        for tool in TOOLS:
            await context.call(tool, {"label": f"{path}/{tool}"})
        if context.attempt == 1 and path.endswith("7"):
            raise Unavailable("busy", "read again later")
        return {"path": path, "lines": int(path[1:])}


async def engine_process(folder: Path, passes_left: int | None) -> None:
    """One engine from its start to the end of the run."""
    database = Database(SqliteFiles(folder / "data"))
    bodies = Bodies(folder, passes_left)
    engine = Engine(database, SCOPE, executors={"work": bodies}, tools=bodies.tools, owner=f"pid {os.getpid()}")
    await engine.driver.recover()
    if not await engine.runs.listing(SCOPE):
        await engine.driver.submit(run_of(*graph(), tools=TOOLS, limits=m.Limits(max_concurrent_tasks=50)))
    await engine.ended()
    await engine.driver.close()
    await database.close()


if __name__ == "__main__":
    if not (Path(sys.argv[1]) / "data").exists():
        make_tables(Database(SqliteFiles(Path(sys.argv[1]) / "data")), "default")
    asyncio.run(engine_process(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
