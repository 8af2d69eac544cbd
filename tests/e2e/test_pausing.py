"""A run that is paused: the users keep what serves, nobody else waits, and it goes on when somebody says so."""

from pathlib import Path
from typing import Any

import pytest

from harness.plane import MakePlane, Plane, until
from harness.sample import MODULE, Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

GATED = {"build": ["python3 -I wait.py"]}
WAIT = "import os, time\nprint('building', flush=True)\nwhile not os.path.exists({gate!r}):\n    time.sleep(0.05)\n"
LONG_WATCH = {"watch": MODULE["watch"] | {"window": "60s"}}


@pytest.fixture
def other(tmp_path: Path) -> Sample:
    return Sample(tmp_path / "repositories", "neighbour")


async def left_running(plane: Plane, run: dict[str, Any]) -> list[str]:
    """Keys of this run's processes that have not ended."""
    keys = [effect["key"] for effect in run["effects"] if effect["tool"] in {"process.start", "command.run"}]
    return [key for key in keys if (await plane.host.status(key)).state not in {"exited", "absent"}]


async def task_of(plane: Plane, run_id: str, task_id: str) -> dict[str, Any]:
    return next(task for task in (await plane.get(f"/runs/{run_id}"))["tasks"] if task["id"] == task_id)


async def task_is(plane: Plane, run_id: str, task_id: str, status: str) -> None:
    async def look() -> bool:
        return (await task_of(plane, run_id, task_id))["status"] == status

    await until(look, f"{task_id} is {status}")


async def gated(plane: Plane, sample: Sample) -> str:
    """A deployment that builds until its gate is there; returns the run."""
    sample.write("wait.py", WAIT.format(gate=str(sample.path / "gate")))
    sample.release("v1.0.0", GATED)
    await plane.add(sample)
    run_id = await plane.begin(f"deploy {sample.name} v1.0.0 to staging")
    await plane.task_runs(run_id, "build")
    return run_id


async def test_it_stands_still_after_the_step_under_way_and_goes_on_over_a_restart(
    make_plane: MakePlane, sample: Sample
) -> None:
    plane = await make_plane(max_concurrent_workflows=1)
    run_id = await gated(plane, sample)
    paused = await plane.post(f"/runs/{run_id}/pause", {"reason": "lunch"})
    assert (paused["status"], paused["paused"]["by"], paused["paused"]["reason"]) == ("paused", "user:owner", "lunch")
    assert (await plane.post(f"/runs/{run_id}/pause"))["paused"] == paused["paused"], "once is enough"
    sample.write("gate", "")
    await task_is(plane, run_id, "build", "completed")
    before = await plane.get(f"/runs/{run_id}")
    assert [item["status"] for item in (await plane.get("/runs"))["items"]] == ["paused"]
    await plane.stop()
    await plane.start()
    after = await plane.get(f"/runs/{run_id}")
    assert after["status"] == "paused"
    assert [task["status"] for task in after["tasks"]] == [task["status"] for task in before["tasks"]]
    told = await plane.get(f"/runs/{run_id}/tasks/verify-staging/why")
    assert "which is ready; the run is paused since" in told["answer"], told
    assert "by user:owner (lunch)" in told["answer"], told
    await plane.post(f"/runs/{run_id}/resume")
    run = await plane.ended(run_id)
    assert (run["status"], run["paused"]) == ("completed", None)
    assert (await plane.ask(sample))[0] == 200
    assert (await plane.post(f"/runs/{run_id}/pause", status=409))["code"] == "run_not_active"


@pytest.mark.parametrize(("step", "is_over"), [("watch-staging", False), ("start-staging", True), ("verify-staging", True)])
async def test_cancelled_in_a_pause_it_comes_back_to_what_served(
    plane: Plane, sample: Sample, step: str, *, is_over: bool
) -> None:
    """In a step, and between two of them: nothing that was started is left behind."""
    sample.release("v1.0.0")
    sample.release("v1.1.0", LONG_WATCH)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
    await plane.task_runs(run_id, step)
    await plane.post(f"/runs/{run_id}/pause")
    if is_over:
        await task_is(plane, run_id, step, "completed")
    async with plane.traffic(sample) as answers:
        await plane.post(f"/runs/{run_id}/cancel", {"reason": "I changed my mind"})
        run = await plane.ended(run_id)
    assert run["status"] == "cancelled"
    assert {status for status, _ in answers} == {200}
    assert await plane.ask(sample) == (200, "v1.0.0")
    assert await left_running(plane, run) == []
    assert await plane.inbox(sample) == []


async def test_what_turns_bad_behind_its_watch_is_brought_back_whoever_paused_the_run(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    sample.release("v1.1.0", {"watch": MODULE["watch"] | {"window": "2s"}})
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
    await plane.task_runs(run_id, "watch-staging")
    await plane.post(f"/runs/{run_id}/pause")
    await task_is(plane, run_id, "watch-staging", "completed")
    assert (await plane.get(f"/runs/{run_id}"))["status"] == "paused"
    await plane.behave(sample, unhealthy=True)

    async def look() -> bool:
        return await plane.ask(sample) == (200, "v1.0.0")

    await until(look, "v1.0.0 answers again")
    assert (await plane.ended(run_id))["status"] == "cancelled"


async def test_another_run_may_have_the_slot_meanwhile(make_plane: MakePlane, sample: Sample, other: Sample) -> None:
    plane = await make_plane(max_concurrent_workflows=1)
    run_id = await gated(plane, sample)
    await plane.post(f"/runs/{run_id}/pause")
    other.release("v1.0.0")
    await plane.add(other)
    await plane.deploy(other, "v1.0.0")
    sample.write("gate", "")
    await plane.post(f"/runs/{run_id}/resume")
    assert (await plane.ended(run_id))["status"] == "completed"


async def test_a_run_says_what_it_waits_for(plane: Plane, sample: Sample) -> None:
    run_id = await gated(plane, sample)
    whole = await plane.get(f"/runs/{run_id}/why")
    assert [wait["task"] for wait in whole["causes"]] == ["build"]
    assert whole["answer"].startswith("build runs since"), whole
    assert whole["critical_path"]["tasks"][0] == "checkout"
    assert whole["critical_path"]["left_s"] > 0, "what such steps usually take is known"
    one = await plane.get(f"/runs/{run_id}/tasks/watch-staging/why")
    assert [wait["task"] for wait in one["chain"]][-1] == "build"
    assert one["step"]["is_critical"]
    unknown = await plane.get(f"/runs/{run_id}/tasks/watch-stagin/why", status=404)
    assert unknown["code"] == "task"
    assert unknown["hint"].startswith("did you mean watch-staging")
    sample.write("gate", "")
    assert (await plane.ended(run_id))["status"] == "completed"
    assert (await plane.get(f"/runs/{run_id}/why"))["answer"] == "the run has ended: completed"
