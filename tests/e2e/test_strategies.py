"""Ways into an environment: several instances, a canary that is judged beside what serves, a rolling update."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from harness.plane import Plane, until
from harness.sample import MODULE, Sample
from interlock.demo.targets import upstream_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEPS = [{"percent": 40, "bake": 1.5}, {"percent": 60, "bake": 1.5}]


def canary(**analysis: Any) -> dict[str, Any]:
    """A module that comes as a canary; few requests are enough to judge it."""
    return {"deploy": {"strategy": "canary", "steps": STEPS, "drain": "2s", "analysis": {"min_requests": 4} | analysis}}


def rolling(replicas: int = 3) -> dict[str, Any]:
    return {"replicas": replicas, "deploy": {"strategy": "rolling", "drain": "2s"}}


def tasks_of(run: dict[str, Any]) -> dict[str, str]:
    return {task["id"]: task["status"] for task in run["tasks"]}


def lost(answers: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [answer for answer in answers if answer[0] != 200]


class TestCanary:
    async def test_one_that_is_well_gets_more_step_by_step_and_nothing_is_lost(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", canary())
        sample.release("v1.1.0", canary())
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        async with plane.traffic(sample, pause_s=0.002) as answers:
            run = await plane.deploy(sample, "v1.1.0")
            await asyncio.sleep(0.2)
        assert lost(answers) == []
        assert answers[-1] == (200, "v1.1.0")
        tasks = tasks_of(run)
        assert [tasks[f"{kind}-staging-{percent}"] for percent in (40, 60) for kind in ("shift", "analyse")] == [
            "completed"
        ] * 4
        (judged,) = [task for task in run["tasks"] if task["id"] == "analyse-staging-40"]
        seen = {item["check"]["name"]: item for item in judged["output"]["analysis"]["comparisons"]}
        assert seen["error rate"]["candidate"]["value"] == 0
        assert seen["error rate"]["candidate"]["samples"] >= 4
        assert seen["error rate"]["stable"]["samples"] >= 4

    async def test_one_that_fails_requests_is_aborted_by_its_analysis_and_quarantined(
        self, plane: Plane, sample: Sample
    ) -> None:
        sample.release("v1.0.0", canary())
        sample.release("v1.1.0", canary(), fail_every=2)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        async with plane.traffic(sample, pause_s=0.002) as answers:
            run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
            await asyncio.sleep(0.2)
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "analysis_failed")
        tasks = tasks_of(run)
        assert (tasks["analyse-staging-40"], tasks["switch-staging"]) == ("failed", "skipped")
        counted = Counter(status for status, _ in answers)
        assert set(counted) == {200, 500}
        assert counted[500] < 0.4 * sum(counted.values()), "no more than the canary's share was ever hurt"
        assert upstream_ports(plane.home, f"{sample.name}.staging.candidate") == set()
        assert (await plane.ask(sample)) == (200, "v1.0.0")
        (incident,) = await plane.incidents(sample)
        assert incident["state"] == "resolved"
        assert "requests failed" in incident["title"]
        refused = await plane.refusal(f"deploy {sample.name} v1.1.0 to staging")
        assert refused["code"] == "quarantined"

    async def test_without_requests_nothing_can_be_told_so_it_pauses_and_asks(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", canary())
        sample.release("v1.1.0", canary())
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        item = await until(lambda: _question(plane, run_id), "it asks")
        assert "0 requests are too few to tell" in item["title"]
        assert item["options"] == ["look again", "promote", "abort"]
        assert (await plane.serving(sample))["version"] == "v1.0.0"  # pyright: ignore[reportOptionalSubscript]
        await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "abort"})
        run = await plane.ended(run_id)
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "stopped_by_person")
        assert (await plane.ask(sample)) == (200, "v1.0.0")

    async def test_a_person_may_let_it_go_on(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", canary())
        sample.release("v1.1.0", canary())
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        for _ in range(2):
            item = await until(lambda: _question(plane, run_id), "it asks")
            await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "promote"})
        assert (await plane.ended(run_id))["status"] == "completed"
        assert (await plane.ask(sample)) == (200, "v1.1.0")

    @pytest.mark.parametrize("step", ["analyse-staging-40", "analyse-staging-60", "watch-staging"])
    async def test_cancelled_at_a_step_all_traffic_goes_back(self, plane: Plane, sample: Sample, step: str) -> None:
        module = canary() | {"watch": MODULE["watch"] | {"window": 30}}
        sample.release("v1.0.0", canary())
        sample.release("v1.1.0", module)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        async with plane.traffic(sample, pause_s=0.002) as answers:
            run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
            await plane.task_runs(run_id, step)
            await plane.post(f"/runs/{run_id}/cancel", {"reason": "not today"})
            run = await plane.ended(run_id)
            await asyncio.sleep(0.2)
        assert run["status"] in {"rolled_back", "cancelled"}, run["error"]
        assert lost(answers) == []
        assert answers[-1] == (200, "v1.0.0")


class TestRolling:
    async def test_instances_are_replaced_one_after_the_other_and_nothing_is_lost(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", rolling())
        sample.release("v1.1.0", rolling())
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        before = await plane.serving(sample)
        assert before is not None
        assert len(before["instances"]) == 3
        async with plane.traffic(sample, pause_s=0.002) as answers:
            await plane.deploy(sample, "v1.1.0")
            await asyncio.sleep(0.2)
        after = await plane.serving(sample)
        assert after is not None
        assert lost(answers) == []
        assert {version for _, version in answers} == {"v1.0.0", "v1.1.0"}
        assert len(after["instances"]) == 3
        for instance in before["instances"]:
            assert (await plane.host.status(instance["key"])).state == "exited"

    async def test_one_that_does_not_get_healthy_half_way_leaves_as_many_old_ones_as_there_were(
        self, plane: Plane, sample: Sample
    ) -> None:
        marker = str(sample.path.parent / "second-is-ill")
        short = {"health": MODULE["health"] | {"start_timeout": "2s"}}
        sample.release("v1.0.0", rolling())
        sample.release("v1.1.0", rolling() | short, unhealthy_while=marker)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        async with plane.traffic(sample, pause_s=0.002) as answers:
            run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
            await plane.task_runs(run_id, "thin-staging-1")
            await asyncio.to_thread(_touch, marker)
            run = await plane.ended(run_id)
            await asyncio.sleep(0.2)
        assert (run["status"], tasks_of(run)["verify-staging-2"]) == ("rolled_back", "failed")
        assert lost(answers) == []
        serving = await plane.serving(sample)
        assert serving is not None
        assert (serving["version"], len(serving["instances"]), serving["observed"]["health"]) == ("v1.0.0", 3, "healthy")

    async def test_one_that_fails_requests_while_both_serve_is_not_blamed_on_what_it_replaces(
        self, plane: Plane, sample: Sample
    ) -> None:
        sample.release("v1.0.0", rolling())
        sample.release("v1.1.0", rolling() | {"watch": MODULE["watch"] | {"window": "60s"}}, fail_every=1)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        async with plane.traffic(sample, pause_s=0.002):
            run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "threshold_crossed")
        assert [incident["version"] for incident in await plane.incidents(sample)] == ["v1.1.0"]
        assert (await plane.ask(sample)) == (200, "v1.0.0")


class TestInstances:
    async def test_an_instance_that_dies_is_covered_by_the_others(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", {"replicas": 3})
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        serving = await plane.serving(sample)
        assert serving is not None
        async with plane.traffic(sample, pause_s=0.002) as answers:
            await plane.host.stop(serving["instances"][0]["key"], 1)
            await asyncio.sleep(0.5)
        assert lost(answers) == []
        (incident,) = await until(lambda: plane.incidents(sample), "it is noticed")
        assert incident["found_by"] == "host"


async def _question(plane: Plane, run_id: str) -> dict[str, Any] | None:
    items = (await plane.get("/inbox"))["items"]
    return next((item for item in items if item["kind"] == "question" and run_id in str(item)), None)


def _touch(path: str) -> None:
    with open(path, "w"):
        pass
