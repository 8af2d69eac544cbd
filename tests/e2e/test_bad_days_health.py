"""Health that deceives: good at first and bad later, now and then, by a clock that is wrong."""

from datetime import timedelta

import pytest

from harness.plane import MakePlane, Plane, until
from harness.sample import MODULE, Sample
from interlock.core.clock import SystemClock

pytestmark = pytest.mark.asyncio(loop_scope="module")


def watched(**fields: object) -> dict[str, object]:
    """A module with these thresholds beside the usual ones."""
    return {"watch": MODULE["watch"] | fields}


async def serving_first(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")


class TestTurningBad:
    async def test_healthy_at_first_and_then_not_it_is_caught_by_the_window(self, plane: Plane, sample: Sample) -> None:
        await serving_first(plane, sample)
        sample.release("v1.1.0", watched(window="60s"), sours_after_s=4)
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "threshold_crossed")
        assert run["error"]["task"] == "watch-staging"
        assert await plane.ask(sample) == (200, "v1.0.0")

    async def test_bad_only_after_the_window_it_is_caught_by_the_standing_watch(self, plane: Plane, sample: Sample) -> None:
        await serving_first(plane, sample)
        sample.release("v1.1.0")
        run = await plane.deploy(sample, "v1.1.0")
        await plane.behave(sample, unhealthy=True)
        way_back = await plane.ended(await plane.run_of(run["plan_id"], "rollback:staging"))
        assert way_back["status"] == "completed"
        assert await plane.ask(sample) == (200, "v1.0.0")


class TestFlapping:
    async def test_a_candidate_that_comes_and_goes_never_gets_traffic(self, plane: Plane, sample: Sample) -> None:
        await serving_first(plane, sample)
        sample.release("v1.1.0", {"health": MODULE["health"] | {"start_timeout": "2s"}}, flaps=True)
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("failed", "not_healthy")
        assert await plane.ask(sample) == (200, "v1.0.0")

    async def test_one_that_begins_to_come_and_go_is_not_promoted(self, plane: Plane, sample: Sample) -> None:
        await serving_first(plane, sample)
        sample.release("v1.1.0", watched(window="60s"))
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        await plane.task_runs(run_id, "watch-staging")
        await plane.behave(sample, flaps=True)
        run = await plane.ended(run_id)
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "threshold_crossed")
        assert "the health check comes and goes" in run["error"]["message"]
        assert await plane.ask(sample) == (200, "v1.0.0")

    async def test_a_single_bad_answer_neither_brings_back_nor_holds_up(self, plane: Plane, sample: Sample) -> None:
        await serving_first(plane, sample)
        sample.release("v1.1.0", watched(window="3s"))
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        await plane.task_runs(run_id, "watch-staging")
        await plane.behave(sample, hiccups=1)
        run = await plane.ended(run_id)
        assert run["status"] == "completed", run["error"]
        assert await plane.incidents(sample) == []


class Jumping(SystemClock):
    """A wall clock that somebody sets."""

    ahead = timedelta()

    def now(self):  # type: ignore[no-untyped-def]
        return super().now() + self.ahead


async def test_a_clock_that_jumps_for_hours_neither_ends_nor_stretches_a_bake_and_a_watch(
    make_plane: MakePlane, sample: Sample
) -> None:
    clock = Jumping()
    plane = await make_plane(clock=clock)
    steps = [{"percent": 50, "bake": 2}]
    deploy = {"strategy": "canary", "steps": steps, "drain": "1s", "analysis": {"min_requests": 2}}
    sample.release("v1.0.0")
    sample.release("v1.1.0", watched(window="2s") | {"deploy": deploy})
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    async with plane.traffic(sample) as answers:
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        for task, hours in (("analyse-staging-50", 7), ("watch-staging", -14)):
            await plane.task_runs(run_id, task)
            clock.ahead += timedelta(hours=hours)
        run = await plane.ended(run_id)
    assert run["status"] == "completed", run["error"]
    assert {status for status, _ in answers} == {200}
    assert await plane.incidents(sample) == []
    # What serves is watched on, and can be brought back.
    await plane.behave(sample, unhealthy=True)

    async def is_back() -> bool:
        return await plane.ask(sample) == (200, "v1.0.0")

    await until(is_back, "the standing watch has brought it back")
