"""Prefect: its own server on SQLite in a process of its own, and flows of tasks in this process.

- Tasks and flow are coroutines and the tasks of a level run at once with ``asyncio.gather``: that spares the thread of a task
  runner for bodies that do not block.
- ``persist_result=True``: the result of each task goes to a file before its successors begin, so that a flow that is run again
  does not carry it out again. Nobody calls fsync for these files. What the server keeps, the states, is sent to it afterwards,
  and its SQLite runs with ``synchronous=NORMAL``. Neither can be set otherwise, so this row is less durable than the others.
- Nothing is logged below a warning, as each line would be sent to the server too.
- ``many`` runs ten flows at a time: with all of them at once the server falls behind, and everything takes longer.
"""

import asyncio
import importlib
import os
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path

from engine.adapters.servers import Server, free_port, listens_on
from engine.workloads import Workload

FLOWS_AT_ONCE = 10


class Engine:
    version = f"{version('prefect')}, SQLite {sqlite3.sqlite_version}"
    durability = "a result file a task, not fsynced; states are sent to the server later, and not fsynced (synchronous=NORMAL)"

    async def start(self, folder: Path) -> None:
        port = free_port()
        settings = {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_LOCAL_STORAGE_PATH": str(folder / "prefect" / "storage"),
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        }
        self._server = Server(listens_on(port))
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
        await self._server.start(folder, *command, **settings)
        os.environ |= settings
        self._flow = importlib.import_module("engine.adapters.prefect_flow")

    async def define(self, workload: Workload) -> None:
        """The graph comes with each run."""

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        lists = ([list(each) for each in workload.needs], [list(level) for level in workload.levels], list(workload.sinks))
        turns = asyncio.Semaphore(FLOWS_AT_ONCE)

        async def in_turn(run: int) -> tuple[int, ...]:
            async with turns:
                return tuple(await self._flow.graph(run, *lists))

        return list(await asyncio.gather(*(in_turn(run) for run in workload.numbers)))

    async def stop(self) -> None:
        await self._server.stop()
