"""Restate: its server with its defaults in a process of its own, and a service in this process.

- A run is one invocation of a handler over the ingress; a task is a ``ctx.run`` step, whose result is on the disk in the
  server's log before the handler goes on (its write-ahead log is fsynced by default, many steps with one fsync).
- The steps of a level begin at once and are awaited with ``restate.gather``, as documented; bodies are coroutines.
- Server and service speak HTTP/2 in both directions at once, so a handler goes on without a new request for each step.
- ``many`` invokes the handler for all runs at once.
"""

import asyncio
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

from engine.adapters.servers import Server, free_port, listens_on
from engine.bodies import body
from engine.workloads import Workload

SERVER_PACKAGES = Path(sys.prefix) / "node_modules" / "@restatedev"
LONGEST_S = 600.0

graphs = restate.Service("Graphs")


@graphs.handler()
async def carry_out(context: restate.Context, request: dict[str, Any]) -> list[int]:
    """``run``, ``needs``, ``levels`` and ``sinks``; returns the results of the sinks."""
    results: dict[int, int] = {}
    for level in request["levels"]:
        steps: list[Any] = []
        for task in level:
            values = [results[need] for need in request["needs"][task]]
            steps.append(context.run_typed(f"t{task}", compute, run=request["run"], task=task, values=values))
        await restate.gather(*steps)
        results.update({task: await step for task, step in zip(level, steps, strict=True)})
    return [results[sink] for sink in request["sinks"]]


async def compute(run: int, task: int, values: list[int]) -> int:
    return body(run, task, values)


class Engine:
    version = f"restate-sdk {version('restate-sdk')}"
    durability = "two entries a task in the server's log, each batch fsynced (RocksDB, its write-ahead log fsynced)"

    async def start(self, folder: Path) -> None:
        service, ingress, admin, node = (free_port() for _ in range(4))
        self._stopped = asyncio.Event()
        config = Config()
        config.bind = [f"127.0.0.1:{service}"]
        self._serving = asyncio.create_task(serve(restate.app([graphs]), config, shutdown_trigger=self._stopped.wait))
        self._server = Server(listens_on(ingress))
        await self._server.start(
            folder,
            str(next(SERVER_PACKAGES.glob("restate-server-*/bin/restate-server"))),
            RESTATE_BASE_DIR=str(folder / "restate"),
            RESTATE_LISTEN_MODE="tcp",
            RESTATE_BIND_ADDRESS=f"127.0.0.1:{node}",
            RESTATE_INGRESS__BIND_ADDRESS=f"127.0.0.1:{ingress}",
            RESTATE_ADMIN__BIND_ADDRESS=f"127.0.0.1:{admin}",
        )
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{ingress}", trust_env=False, timeout=LONGEST_S, limits=limits
        )
        await self._register(f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{service}")

    async def _register(self, admin: str, service: str) -> None:
        """Tell the server of the service, as soon as it listens."""
        async with httpx.AsyncClient(base_url=admin, trust_env=False, timeout=60) as client:
            answer = None
            while answer is None or answer.status_code >= 500:
                await asyncio.sleep(0.1)
                try:
                    answer = await client.post("/deployments", json={"uri": service})
                except httpx.TransportError:
                    continue
            answer.raise_for_status()
            self.version += f", server {(await client.get('/version')).json()['version']}"

    async def define(self, workload: Workload) -> None:
        """The graph comes with each run."""

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        return list(await asyncio.gather(*(self._run(workload, run) for run in workload.numbers)))

    async def _run(self, workload: Workload, run: int) -> tuple[int, ...]:
        request = {"run": run, "needs": workload.needs, "levels": workload.levels, "sinks": workload.sinks}
        answer = await self._client.post("/Graphs/carry_out", json=request)
        return tuple(answer.raise_for_status().json())

    async def stop(self) -> None:
        await self._client.aclose()
        await self._server.stop()
        self._stopped.set()
        await self._serving
