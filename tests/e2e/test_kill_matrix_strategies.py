"""The control plane is killed while releases come in every way there is, and while they are taken back: it happens once.

Counted at the targets: what was started and stopped under which key, where the forwarder's legs lead, what the users of the
service were answered; and beside it what the record says. ``make slow`` goes through the whole matrix, row by row, run by run.
What is drawn comes from a seed, which is printed; to repeat one run of a row:

    MATRIX_SEED=7 .venv/bin/pytest "tests/e2e/test_kill_matrix_strategies.py::test_matrix[rolling-half-way]"
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio

from harness.containers import TestEngine
from harness.instances import Ran, containers, processes, remove_containers
from harness.killing import Killer, check_record
from harness.plane import until
from harness.sample import MODULE, Sample
from harness.server import Server
from interlock.demo.targets import upstream_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_KILLS = 3
RUNS = 20
"""Of each row of processes; of each of containers half as many: 200 in all."""
PATIENCE_S = 120.0

CANARY = {
    "strategy": "canary",
    "steps": [{"percent": 40, "bake": 1}, {"percent": 60, "bake": 1}],
    # How long requests take says nothing on a machine that is busy with killing and starting.
    "analysis": {"min_requests": 2, "checks": [{"name": "errors", "error_rate": {"max": 0.2}}]},
}


@dataclass(frozen=True)
class Row:
    """One kind of run. ``ends``: with which error it fails, nothing if it does not."""

    strategy: dict[str, Any]
    replicas: int = 2
    behaviour: dict[str, Any] = field(default_factory=dict)
    ends: str = ""
    is_blamed: bool = False
    """Whether the release is found bad, so that there is an incident and a quarantine."""
    is_by_hand: bool = False
    may_answer: frozenset[int] = frozenset({200})


BY_STRATEGY = {
    "recreate": Row({"strategy": "recreate"}, may_answer=frozenset({0, 200, 502, 503})),
    "blue-green": Row({"strategy": "blue-green"}),
    "rolling": Row({"strategy": "rolling"}, replicas=3),
    "canary": Row(CANARY),
    "canary-aborted": Row(
        CANARY, behaviour={"fail_every": 2}, ends="analysis_failed", is_blamed=True, may_answer=frozenset({200, 500})
    ),
    "rolling-half-way": Row({"strategy": "rolling"}, replicas=3, behaviour={"well": 1}, ends="not_healthy"),
    "rollback-by-hand": Row({"strategy": "blue-green"}, is_blamed=True, is_by_hand=True),
}
IN_CONTAINERS = ("recreate", "blue-green", "rolling", "canary", "canary-aborted", "rollback-by-hand")


@dataclass
class World:
    """A control plane, and the service on which the runs of one row follow each other."""

    server: Server
    sample: Sample
    row: Row
    folder: Path
    engine: TestEngine | None
    versions: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    async def begin(self) -> None:
        """Something serves that is well."""
        await self.server.start()
        self.release()
        await self.server.add(self.sample)
        await self.deploy()
        self.good = self.versions[-1]

    def release(self, **behaviour: Any) -> str:
        """The next version, which behaves so."""
        version = f"v1.{len(self.versions)}.0"
        self.versions.append(version)
        target = {"target": "container"} if self.engine else {}
        module: dict[str, Any] = {"replicas": self.row.replicas, "deploy": self.row.strategy | target | {"drain": "2s"}}
        if self.engine:
            module["runtime"] = "python"
        if "well" in behaviour:
            behaviour["guests"] = str(self.folder / f"guests-{version}")
            module["health"] = MODULE["health"] | {"start_timeout": "5s"}
        self.sample.release(version, module, **behaviour)
        return version

    async def deploy(self) -> None:
        run_id = await self.server.begin(f"deploy {self.sample.name} {self.versions[-1]} to staging")
        run = await self.server.ended(run_id, PATIENCE_S)
        assert run["status"] == "completed", run["error"]
        self.runs.append(run_id)

    async def one_run(self, seed: int, kills: int) -> int:
        """One run of the row, in which the control plane is killed; how many of the kills hit it."""
        killer = Killer(self.server, seed, furthest=10, longest_delay_s=5)
        with killer.telling():
            version = self.release(**self.row.behaviour)
            text = f"deploy {self.sample.name} {version} to staging"
            if self.row.is_by_hand:
                await self.deploy()
                text = f"roll back {self.sample.name} in staging"
            plan = await self.server.plan(text)
            async with self.server.traffic(self.sample, pause_s=0.01) as answers, self.somebody_who_looks_again():
                run_id = await killer.approve(plan)
                self.runs.append(run_id)
                await killer.interrupt(run_id, kills - len(killer.kills))
                run = await self.server.ended(run_id, PATIENCE_S)
                count = len(answers)
                await until(partial(_has_more, answers, count + 3), "it is asked once more")
            await self.check_end(run, version)
            landed = await killer.landed(run_id)
            print(f"seed {seed}", *killer.said, sep="\n")
            assert {status for status, _ in answers} <= self.row.may_answer, answers
            assert set(answers[count + 1 :]) == {(200, self.good)}
            await check_record(self.server, run_id)
            await self.check_targets()
            await self.check_incidents()
        return landed

    @contextlib.asynccontextmanager
    async def somebody_who_looks_again(self) -> AsyncIterator[None]:
        """A busy machine may leave a candidate with too few requests to tell: a person is asked, and wants another look."""

        troubles: list[str] = []

        async def answer() -> None:
            while True:
                try:
                    for item in (await self.server.get("/inbox"))["items"]:
                        if "look again" in item["options"]:
                            await self.server.post(f"/inbox/{item['item_id']}/answer", {"answer": "look again"})
                except Exception as error:
                    # Of a control plane that is killed just now anything may be had.
                    troubles.append(repr(error))
                await asyncio.sleep(0.5)

        somebody = asyncio.create_task(answer())
        try:
            yield
            assert not somebody.done(), "whoever answers has gone away"
        except BaseException as error:
            error.add_note(f"whoever answers is {'gone' if somebody.done() else 'there'}; troubles: {troubles[-5:]}")
            raise
        finally:
            somebody.cancel()
            await asyncio.wait([somebody])

    async def check_end(self, run: dict[str, Any], version: str) -> None:
        if self.row.ends:
            assert (run["status"], (run["error"] or {}).get("code")) == ("rolled_back", self.row.ends), run["error"]
        else:
            assert run["status"] == "completed", run["error"]
        if self.row.is_blamed:
            self.bad.append(version)
        if not self.row.ends and not self.row.is_by_hand:
            self.good = version

    async def check_targets(self) -> None:
        """What serves on record is all that runs, and the legs lead there; each was started once, all others stopped once."""
        serving = await self.server.serving(self.sample)
        assert serving is not None
        assert (serving["version"], serving["observed"]["health"], serving["observed"]["routed"]) == (
            self.good,
            "healthy",
            True,
        )
        on_record = {instance["key"]: instance["port"] for instance in serving["instances"]}
        assert len(on_record) == self.row.replicas
        ran = await self.ran()
        assert set(ran) == await self.started()
        assert {each.key: each.port for each in ran.values() if each.is_running} == on_record
        for each in ran.values():
            begun = [word for word in each.said if word.startswith("started")]
            assert (len(begun), each.restarts) == (1, 0), each
            version = begun[0].split()[1]
            ends = [] if each.is_running else ["told to stop", f"stopped {version}"]
            assert [word for word in each.said if word not in begun] == ends, each
            assert each.was_stopped is not each.is_running, each
        legs = {
            kind: upstream_ports(self.server.home, f"{self.sample.name}.staging.{kind}") for kind in ("stable", "candidate")
        }
        assert legs == {"stable": set(on_record.values()), "candidate": set()}
        deployments = (await self.server.get("/deployments", params={"service": self.sample.name}))["items"]
        in_place = [item["deployment_id"] for item in deployments if item["state"] not in {"retired", "failed", "rolled_back"}]
        assert in_place == [serving["deployment_id"]]

    async def ran(self) -> dict[str, Ran]:
        if self.engine:
            return await containers(self.engine, self.sample.name)
        return await asyncio.to_thread(processes, self.server, [run_id.replace("_", "-") for run_id in self.runs])

    async def started(self) -> set[str]:
        """The keys under which something was started, as the ledgers have it."""
        runs = [await self.server.get(f"/runs/{run_id}") for run_id in self.runs]
        return {entry["key"] for run in runs for entry in run["effects"] if entry["tool"].endswith(".start")}

    async def check_incidents(self) -> None:
        """One for each release that was found bad, which is over; and nobody has to do anything."""
        incidents = await self.server.incidents(self.sample)
        assert sorted((item["version"], item["state"]) for item in incidents) == [(bad, "resolved") for bad in sorted(self.bad)]
        quarantined = [item for item in (await self.server.get("/quarantine"))["items"] if item["service"] == self.sample.name]
        assert sorted(item["version"] for item in quarantined) == sorted(self.bad)
        assert await self.server.inbox(self.sample) == []


async def _has_more(answers: list[tuple[int, str]], count: int) -> bool:
    return len(answers) > count


@pytest_asyncio.fixture(loop_scope="module")
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """For the row of the test, such as ``canary`` or ``canary@container``."""
    name: str = request.node.callspec.params["row"]
    strategy, _, target = name.partition("@")
    engine: TestEngine | None = request.getfixturevalue("container_engine") if target else None
    settings: dict[str, str] = {}
    if engine:
        python = await asyncio.to_thread(engine.python)
        settings = {"CONTAINER_ENGINE": engine.url, "CONTAINER_REGISTRY": engine.registry, "CONTAINER_PYTHON_IMAGE": python}
    server = Server(tmp_path / "home", **settings)
    sample = Sample(tmp_path / "repositories", f"way{crc32(request.node.name.encode()) % 10**6}")
    yield World(server, sample, BY_STRATEGY[strategy], tmp_path, engine)
    await server.clear()
    if engine:
        await asyncio.to_thread(remove_containers, engine, sample.name)


@pytest.mark.parametrize(("row", "seed"), [("rolling", 1), ("canary-aborted", 2), ("rolling-half-way", 2)])
async def test_a_release_comes_in_or_is_taken_back_once(world: World, row: str, seed: int) -> None:
    await world.begin()
    await world.one_run(seed, 2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("row", [*BY_STRATEGY, *(f"{name}@container" for name in IN_CONTAINERS)])
async def test_matrix(world: World, row: str) -> None:
    """``MATRIX_SEED`` repeats one run; ``MATRIX_RUNS`` says how many there are."""
    runs = int(os.environ.get("MATRIX_RUNS", RUNS // 2 if world.engine else RUNS))
    seeds = [int(os.environ["MATRIX_SEED"])] if "MATRIX_SEED" in os.environ else range(1, runs + 1)
    await world.begin()
    landed = [await world.one_run(seed, 1 + seed % MOST_KILLS) for seed in seeds]
    print(f"{row}: {len(landed)} runs, hit by {sum(landed)} kills")
    assert sum(landed)
