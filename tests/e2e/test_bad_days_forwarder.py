"""The forwarder is killed, with what looks after it, with the control plane up and down: it comes back with what it had."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from e2e.test_strategies import tasks_of
from harness.plane import until
from harness.sample import Sample
from harness.server import Server
from interlock.demo.targets import upstream_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORWARDER = "interlock-forwarder-"
CANARY = {
    "deploy": {
        "strategy": "canary",
        "steps": [{"percent": 50, "bake": 5}],
        "drain": "1s",
        "analysis": {"min_requests": 4},
    }
}


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    own = Server(tmp_path / "home")
    await own.start()
    yield own
    await own.clear()


async def forwarder_pid(server: Server) -> int:
    found = {key: status for key, status in (await server.host.list()).items() if key.startswith(FORWARDER)}
    running = [status.pid for status in found.values() if status.state == "running"]
    assert len(running) == 1, found
    assert running[0] is not None
    return running[0]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def kill_with_supervisor(server: Server) -> None:
    """SIGKILL to the forwarder and to the supervisor that would start it again."""
    pid = await forwarder_pid(server)
    supervisor = parent(pid)
    assert b"processes" in Path(f"/proc/{supervisor}/cmdline").read_bytes()
    for victim in (supervisor, pid):
        os.kill(victim, signal.SIGKILL)


async def mid_canary(server: Server, sample: Sample) -> str:
    """Half of the requests go to v1.1.0; the id of the run."""
    sample.release("v1.0.0", CANARY)
    sample.release("v1.1.0", CANARY)
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    run_id = await server.begin(f"deploy {sample.name} v1.1.0 to staging")
    await server.task_runs(run_id, "analyse-staging-50")
    return run_id


async def split(answers: list[tuple[int, str]]) -> bool:
    """Both versions answer, behind what was there so far."""
    begin = len(answers)
    return await until(lambda: _both(answers, begin), "both versions answer again")


async def _both(answers: list[tuple[int, str]], begin: int) -> bool:
    return {(200, "v1.0.0"), (200, "v1.1.0")} <= set(answers[begin:])


def shares(server: Server, sample: Sample) -> dict[str, Any]:
    """Where both legs lead."""
    return {kind: upstream_ports(server.home, f"{sample.name}.staging.{kind}") for kind in ("stable", "candidate")}


async def test_killed_with_its_supervisor_in_the_middle_of_a_canary_it_comes_back_with_the_same_shares(
    server: Server, sample: Sample
) -> None:
    run_id = await mid_canary(server, sample)
    before = shares(server, sample)
    async with server.traffic(sample) as answers:
        await split(answers)
        await kill_with_supervisor(server)
        await split(answers)
        assert shares(server, sample) == before
        run = await server.ended(run_id)
    assert run["status"] == "completed", run["error"]
    # Nobody answered while it was away; nothing that answered was wrong, and nothing is held against the candidate.
    assert {status for status, _ in answers} <= {0, 200}
    assert await server.incidents(sample) == []
    assert await server.ask(sample) == (200, "v1.1.0")


@pytest.mark.slow
async def test_killed_while_the_control_plane_is_down_its_supervisor_brings_it_back_with_the_same_shares(
    server: Server, sample: Sample
) -> None:
    run_id = await mid_canary(server, sample)
    before = shares(server, sample)
    async with server.traffic(sample) as answers:
        await server.kill()
        os.kill(await forwarder_pid(server), signal.SIGKILL)
        await split(answers)
        assert shares(server, sample) == before
        await server.start()
        run = await server.ended(run_id)
    assert run["status"] == "completed", run["error"]
    assert tasks_of(run)["analyse-staging-50"] == "completed"


async def test_killed_with_its_supervisor_while_the_control_plane_is_down_it_comes_back_with_that(
    server: Server, sample: Sample
) -> None:
    run_id = await mid_canary(server, sample)
    before = shares(server, sample)
    async with server.traffic(sample) as answers:
        await server.kill()
        await kill_with_supervisor(server)
        await asyncio.sleep(0.5)
        assert answers[-1][0] == 0, "nobody is left to bring it back"
        assert shares(server, sample) == before
        await server.start()
        await split(answers)
        assert shares(server, sample) == before
        run = await server.ended(run_id)
    assert run["status"] == "completed", run["error"]
    assert {status for status, _ in answers} <= {0, 200}


async def test_killed_while_nothing_is_rolled_out_readiness_says_so_and_no_release_is_blamed(
    server: Server, sample: Sample
) -> None:
    sample.release("v1.0.0")
    sample.release("v1.1.0")
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    await server.deploy(sample, "v1.1.0")
    async with server.traffic(sample) as answers:
        await kill_with_supervisor(server)
        begin = len(answers)

        async def is_back() -> bool:
            return (200, "v1.1.0") in answers[begin:] and (await server.http.get("/ready")).json()["components"]["forwarder"][
                "ok"
            ]

        await until(is_back, "it is back")
    assert await server.incidents(sample) == []
    serving = await server.serving(sample)
    assert serving is not None
    assert (serving["version"], serving["observed"]["health"]) == ("v1.1.0", "healthy")
