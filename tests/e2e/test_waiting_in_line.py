"""Two plans for one service: where the rule is to wait, the second starts by itself when the first has ended."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness.people import people, refusals, rules
from harness.plane import until
from harness.sample import MODULE, Sample
from harness.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG_WATCH = {"watch": MODULE["watch"] | {"window": "60s"}}
WAIT = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists():\n    time.sleep(0.05)\n"


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    own = Server(tmp_path / "home")
    await own.start()
    await rules(own, "staging", busy="wait")
    yield own
    await own.clear()


def gated(gate: Path) -> dict[str, Any]:
    """A module whose smoke test, made when the traffic goes to it, ends when there is a file ``gate``."""
    return {"smoke_tests": [{"name": "gate", "command": f"python3 -I wait.py {gate}"}]}


async def waiting(server: Server, plan: dict[str, Any]) -> str:
    """What a plan waits for, in words; it must wait for its turn."""
    found = await server.get(f"/plans/{plan['plan_id']}")
    assert (found["state"], found["waits"]) == ("approved", "turn"), found["reason"]
    return found["reason"]


async def completed(server: Server, plan: dict[str, Any]) -> None:
    assert (await server.ended(await server.run_of(plan["plan_id"])))["status"] == "completed"


async def test_the_line_survives_a_kill_and_goes_on_when_the_first_one_has_ended(server: Server, sample: Sample) -> None:
    sample.release("v1.0.0")
    sample.release("v1.1.0", LONG_WATCH)
    sample.release("v1.2.0")
    sample.release("v1.3.0")
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    first, second, third = [await server.plan(f"deploy {sample.name} v1.{minor}.0 to staging") for minor in (1, 2, 3)]
    await server.approve(first)
    await server.task_runs(await server.run_of(first["plan_id"]), "watch-staging")
    await server.approve(second)
    await server.approve(third)
    assert await waiting(server, second) == f"waits for {first['plan_id']} ({first['text']}) to end; number 1 in line"
    assert await waiting(server, third) == f"waits for {first['plan_id']} ({first['text']}) to end; number 2 in line"
    await server.kill()
    await server.start()
    assert "number 2 in line" in await waiting(server, third)
    run_id = await server.run_of(first["plan_id"])
    await server.post(f"/runs/{run_id}/cancel")
    await server.ended(run_id)
    await completed(server, second)
    assert await server.ask(sample) == (200, "v1.2.0")

    async def failed() -> bool:
        return await server.state(third["plan_id"]) == "failed"

    await until(failed, "the third one was made for another world")
    reason = (await server.get(f"/plans/{third['plan_id']}"))["reason"]
    assert reason.startswith("not run, environment_changed: v1.2.0 serves in staging by now")
    assert reason.endswith(f"plan it anew: interlock plan '{third['text']}'")
    assert (f"run {third['plan_id']}", "environment_changed") in await refusals(server)
    assert await server.ask(sample) == (200, "v1.2.0")


async def test_made_for_what_the_first_one_brings_it_follows_it(server: Server, sample: Sample, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    sample.write("wait.py", WAIT)
    sample.release("v1.0.0", gated(gate))
    sample.release("v1.1.0")
    await server.add(sample)
    first = await server.plan(f"deploy {sample.name} v1.0.0 to staging")
    await server.approve(first)
    await server.task_runs(await server.run_of(first["plan_id"]), "smoke-staging")
    second = await server.plan(f"deploy {sample.name} v1.1.0 to staging")
    assert second["content"]["pins"][0]["version"] == "v1.0.0"
    await server.approve(second)
    assert "number 1 in line" in await waiting(server, second)
    gate.touch()
    await completed(server, first)
    await completed(server, second)
    assert await server.ask(sample) == (200, "v1.1.0")


async def test_where_the_rule_is_to_refuse_nothing_waits(server: Server, sample: Sample, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    sample.write("wait.py", WAIT)
    sample.release("v1.0.0", gated(gate))
    sample.release("v1.1.0")
    await server.add(sample)
    first = await server.plan(f"deploy {sample.name} v1.0.0 to production")
    await server.approve(first)
    await server.task_runs(await server.run_of(first["plan_id"]), "smoke-production")
    (maria,) = await people(server, "maria")
    await rules(server, "production", approvals=2)
    both = await server.plan(f"deploy {sample.name} v1.1.0 to staging then production")
    assert (await maria.approve(both))["state"] == "pending_approval", "only the last approval would start it"
    refused = await server.approve(both, 409)
    assert refused["code"] == "busy"
    assert "--busy wait" in refused["hint"]
    gate.touch()
    await completed(server, first)
    await server.approve(both)
    await completed(server, both)
