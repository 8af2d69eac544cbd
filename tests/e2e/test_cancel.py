"""A cancelled run comes back to what served, wherever it stood, and leaves nothing running."""

from typing import Any

import pytest

from harness.plane import Plane
from harness.sample import MODULE, Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = {"build": ["python3 -I wait.py"]}
WAIT = "import time\nprint('building', flush=True)\ntime.sleep(600)\n"
SLOW_CHECK = {"health": MODULE["health"] | {"healthy_after": 100}}
LONG_WATCH = {"watch": MODULE["watch"] | {"window": "60s"}}


def statuses(run: dict[str, Any]) -> dict[str, str]:
    return {task["id"]: task["status"] for task in run["tasks"]}


async def left_running(plane: Plane, run: dict[str, Any]) -> list[str]:
    """Keys of this run's processes that have not ended."""
    keys = [effect["key"] for effect in run["effects"] if effect["tool"] in {"process.start", "command.run"}]
    return [key for key in keys if (await plane.host.status(key)).state not in {"exited", "absent"}]


@pytest.mark.parametrize(
    ("module", "stage"),
    [(ENDLESS, "build"), (SLOW_CHECK, "verify-staging"), (LONG_WATCH, "watch-staging")],
    ids=["build", "verify", "watch"],
)
async def test_it_comes_back_to_what_served(plane: Plane, sample: Sample, module: dict[str, Any], stage: str) -> None:
    sample.write("wait.py", WAIT)
    sample.release("v1.0.0")
    sample.release("v1.1.0", module)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    before = await plane.serving(sample)
    async with plane.traffic(sample) as answers:
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        await plane.task_runs(run_id, stage)
        await plane.post(f"/runs/{run_id}/cancel", {"reason": "I changed my mind"})
        run = await plane.ended(run_id)
    assert run["status"] == "cancelled"
    assert statuses(run)[stage] == "cancelled"
    assert {status for status, _ in answers} == {200}
    assert await plane.ask(sample) == (200, "v1.0.0")
    after = await plane.serving(sample)
    assert before is not None
    assert after is not None
    assert (after["deployment_id"], after["state"]) == (before["deployment_id"], "good")
    assert await left_running(plane, run) == []
    assert (await plane.get(f"/plans/{run['plan_id']}"))["state"] == "failed"
    assert await plane.incidents(sample) == []
    assert await plane.inbox(sample) == []
    if stage == "build":
        assert statuses(run)["discard"] == "completed"
        folders = [path for path in (plane.home / "bundles" / sample.name).iterdir() if path.is_dir()]
        assert len(folders) == 1
    # It was cancelled, not bad: it may be deployed again.
    await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
    twice = await plane.post(f"/runs/{run_id}/cancel", status=409)
    assert twice["code"] == "run_not_active"


async def test_a_first_deployment_that_is_cancelled_leaves_nothing(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0", LONG_WATCH)
    await plane.add(sample)
    run_id = await plane.begin(f"deploy {sample.name} v1.0.0 to staging")
    await plane.task_runs(run_id, "watch-staging")
    await plane.post(f"/runs/{run_id}/cancel")
    run = await plane.ended(run_id)
    assert run["status"] == "cancelled"
    assert await plane.serving(sample) is None
    assert (await plane.ask(sample))[0] == 503
    assert await left_running(plane, run) == []


async def test_cancelled_at_any_moment_nothing_is_left_running(plane: Plane, sample: Sample) -> None:
    """The moments are counted in events of the journal, so that each of them falls into another step."""
    sample.release("v1.0.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    for moment in range(6):
        version = f"v1.{1 + moment}.0"
        sample.release(version, LONG_WATCH)
        run_id = await plane.begin(f"deploy {sample.name} {version} to staging")
        wanted = 4 + 4 * moment
        while len((await plane.get(f"/runs/{run_id}/events"))["items"]) < wanted:
            pass
        await plane.post(f"/runs/{run_id}/cancel")
        run = await plane.ended(run_id)
        assert run["status"] == "cancelled", (moment, run)
        assert await left_running(plane, run) == [], moment
        assert await plane.ask(sample) == (200, "v1.0.0"), moment
        found = (await plane.get("/deployments", params={"service": sample.name}))["items"]
        states = {item["version"]: item["state"] for item in found}
        assert states["v1.0.0"] == "good", moment
        assert states.get(version, "failed") in {"failed", "rolled_back"}, moment
        assert await plane.inbox(sample) == [], moment


async def test_what_is_not_there_cannot_be_cancelled(plane: Plane) -> None:
    assert (await plane.post("/runs/run_nonesuch/cancel", status=404))["code"] == "run"
