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
import sqlite3
import sys
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from prefect import flow, task
from prefect.settings import temporary_settings

from engine.adapters.servers import Server, free_port, listens_on
from engine.bodies import body
from engine.workloads import Workload

FLOWS_AT_ONCE = 10


@task(persist_result=True)
async def compute(run: int, number: int, values: list[int]) -> int:
    return body(run, number, values)


@flow(name="graph")
async def graph(run: int, needs: list[list[int]], levels: list[list[int]], sinks: list[int]) -> list[int]:
    results: dict[int, int] = {}
    for level in levels:
        tasks = [compute(run, number, [results[need] for need in needs[number]]) for number in level]
        results.update(zip(level, await asyncio.gather(*tasks), strict=True))
    return [results[sink] for sink in sinks]


class Engine:
    version = f"{version('prefect')}, SQLite {sqlite3.sqlite_version}"
    durability = "a result file a task, not fsynced; states are sent to the server later, and not fsynced (synchronous=NORMAL)"

    def __init__(self) -> None:
        self._settings = ExitStack()

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
        self._settings.enter_context(temporary_settings(settings))

    async def define(self, workload: Workload) -> None:
        """The graph comes with each run."""

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        lists = ([list(each) for each in workload.needs], [list(level) for level in workload.levels], list(workload.sinks))
        turns = asyncio.Semaphore(FLOWS_AT_ONCE)

        async def in_turn(run: int) -> tuple[int, ...]:
            async with turns:
                return tuple(await graph(run, *lists))

        return list(await asyncio.gather(*(in_turn(run) for run in workload.numbers)))

    async def stop(self) -> None:
        self._settings.close()
        await self._server.stop()
