"""The control plane is killed again and again while it deploys and while it rolls back: everything happens, and happens once.

Counted at the targets: the supervisors' folders, the services' own logs, the forwarder's legs, the build's own file, and what
the users of the service were answered. The moments are drawn from a seed; what failed tells both.
"""

import itertools
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness.killing import Killer, check_record
from harness.plane import until
from harness.sample import MODULE, Sample
from harness.server import Server
from interlock.demo.targets import process_folders, upstream_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

KILLS_A_RUN = 5

BUILD = "import pathlib, time\nwith pathlib.Path({!r}).open('a') as built:\n    built.write('{}\\n')\ntime.sleep(0.3)\n"
SLOW = (pytest.mark.slow, pytest.mark.timeout(400))


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    own = Server(tmp_path / "home")
    yield own
    await own.clear()


def release(sample: Sample, built: Path, version: str, **behaviour: Any) -> None:
    """A release whose build leaves a line in ``built``, with a watch that is long where it is to be ended by a failure."""
    sample.write("build.py", BUILD.format(str(built), version))
    module = {"build": ["python3 -I build.py"], "smoke_tests": [{"name": "answers", "path": "/", "expect_text": version}]}
    window = {"watch": MODULE["watch"] | {"window": "60s"}} if behaviour else {}
    sample.release(version, module | window, **behaviour)


async def check_targets(server: Server, sample: Sample, versions: list[str], stopped: set[str], built: Path) -> None:
    """Of each version one process that was started once; those of ``stopped`` were stopped once, and the other one serves."""
    deployments = (await server.get("/deployments", params={"service": sample.name}))["items"]
    assert sorted(item["version"] for item in deployments) == sorted(versions)
    assert sorted(built.read_text().split()) == sorted(versions)
    folders = {folder.key: folder for folder in process_folders(server.home) if "-start-" in folder.key}
    assert set(folders) == {instance["key"] for item in deployments for instance in item["instances"]}
    assert len(process_folders(server.home)) == 2 * len(versions) + 1, "a build and a service each, and the forwarder"
    for item in deployments:
        folder, version = folders[item["instances"][0]["key"]], item["version"]
        ends = [f"stopped {version}", "told to stop"] if version in stopped else []
        words = [line.partition(" pid=")[0] for line in folder.log.splitlines()]
        assert sorted(words) == sorted([f"started {version}", *ends])
        assert json.loads((folder.path / "process.json").read_bytes())["restarts"] == 0
        assert folder.result.get("reason") == ("stopped" if version in stopped else None)
    serving = await server.serving(sample)
    assert serving is not None
    assert {serving["version"]} == set(versions) - stopped
    assert (serving["observed"]["health"], serving["observed"]["routed"]) == ("healthy", True)
    assert upstream_ports(server.home, f"{sample.name}.staging.stable") == {serving["instances"][0]["port"]}
    assert folders[serving["instances"][0]["key"]].spec["port"] == serving["instances"][0]["port"]
    assert await server.ask(sample) == (200, serving["version"])


def check_traffic(answers: list[tuple[int, str]], *versions: str) -> None:
    """Every request was answered, and the traffic moved exactly as often as it should have."""
    assert [answer for answer, _ in itertools.groupby(answers)] == [(200, version) for version in versions]


@pytest.mark.parametrize(("kills", "seed"), [(3, 144), pytest.param(20, 2, marks=SLOW)])
async def test_deployments_come_to_their_end(server: Server, sample: Sample, tmp_path: Path, kills: int, seed: int) -> None:
    built, killer, landed = tmp_path / "built", Killer(server, seed), 0
    versions = ["v1.0.0"]
    release(sample, built, "v1.0.0")
    await server.start()
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    with killer.telling():
        while landed < kills:
            versions.append(f"v1.{len(versions)}.0")
            assert len(versions) <= kills + 1, "too few kills land while something is under way"
            release(sample, built, versions[-1])
            plan = await server.plan(f"deploy {sample.name} {versions[-1]} to staging")
            async with server.traffic(sample) as answers:
                run_id = await killer.approve(plan)
                await killer.interrupt(run_id, min(KILLS_A_RUN, kills - landed) - len(killer.kills))
                run = await server.ended(run_id)
            assert run["status"] == "completed", run["error"]
            landed += await killer.landed(run_id)
            check_traffic(answers, *versions[-2:])
            await check_record(server, run_id)
            await check_targets(server, sample, versions, set(versions[:-1]), built)
            assert upstream_ports(server.home, f"{sample.name}.staging.candidate") == set()
        assert landed == kills
        assert await server.incidents(sample) == []
    print(f"seed {seed}", *killer.said, sep="\n")


@pytest.mark.parametrize(("kills", "seed"), [(3, 22), pytest.param(12, 4, marks=SLOW)])
async def test_rollbacks_come_to_their_end(server: Server, sample: Sample, tmp_path: Path, kills: int, seed: int) -> None:
    built, killer, landed = tmp_path / "built", Killer(server, seed), 0
    versions = ["v1.0.0", "v1.1.0"]
    await server.start()
    for version in versions:
        release(sample, built, version)
        if version == versions[0]:
            await server.add(sample)
        await server.deploy(sample, version)
    with killer.telling():
        while landed < kills:
            bad = f"v1.{len(versions)}.0"
            versions.append(bad)
            assert len(versions) <= kills + 2, "too few kills land while something is brought back"
            release(sample, built, bad, unhealthy_while=str(tmp_path / bad))
            async with server.traffic(sample) as answers:
                run_id = await server.begin(f"deploy {sample.name} {bad} to staging")
                await server.task_runs(run_id, "watch-staging")
                await until(partial(has_answered, bad, answers), f"{bad} has traffic")
                (tmp_path / bad).touch()
                failed = await killer.see(run_id, "TaskFailed", 1, 0)
                assert failed is not None
                assert failed["task"] == "watch-staging"
                await killer.interrupt(run_id, min(KILLS_A_RUN, kills - landed), failed["seq"])
                run = await server.ended(run_id)
            assert (run["status"], run["error"]["code"]) == ("rolled_back", "threshold_crossed")
            landed += await killer.landed(run_id, failed["at"])
            check_traffic(answers, "v1.1.0", bad, "v1.1.0")
            await check_record(server, run_id)
            await check_targets(server, sample, versions, set(versions) - {"v1.1.0"}, built)
            await check_is_refused(server, sample, versions[2:])
        assert landed == kills
    print(f"seed {seed}", *killer.said, sep="\n")


async def has_answered(version: str, answers: list[tuple[int, str]]) -> bool:
    return (200, version) in answers


async def check_is_refused(server: Server, sample: Sample, bad: list[str]) -> None:
    """Each bad version has one incident, which is over, and one quarantine, which holds."""
    incidents = await server.incidents(sample)
    assert sorted((item["version"], item["state"]) for item in incidents) == [(version, "resolved") for version in bad]
    quarantined = [item for item in (await server.get("/quarantine"))["items"] if item["service"] == sample.name]
    by_version = {item["version"]: item["incident_id"] for item in incidents}
    assert {item["version"]: item["incident_id"] for item in quarantined} == by_version
    assert len(quarantined) == len(bad)
    states = (await server.get("/deployments", params={"service": sample.name}))["items"]
    assert [item["state"] for item in states if item["version"] in bad] == ["rolled_back"] * len(bad)
    refused = await server.refusal(f"deploy {sample.name} {bad[-1]} to staging")
    assert refused["code"] == "quarantined"
    assert await server.inbox(sample) == []
