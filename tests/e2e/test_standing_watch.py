"""After the run somebody still looks: what turns bad later is brought back by the plan that was approved for it."""

from pathlib import Path
from typing import Any

import pytest

from harness.plane import Plane, until
from harness.sample import MODULE, Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROPOSE = {"rollback": {"policy": "propose"}}
SLOW_BUILD = {"build": ["python3 -I wait.py"]}
WAIT = "import pathlib, time\nwhile not pathlib.Path('{}').exists():\n    time.sleep(0.02)\n"


async def brought_back(plane: Plane, sample: Sample, version: str) -> None:
    async def look() -> bool:
        return await plane.ask(sample) == (200, version)

    await until(look, f"{version} answers again")


async def proposal(plane: Plane, sample: Sample) -> dict[str, Any]:
    async def look() -> Any:
        return next((item for item in await plane.inbox(sample) if item["kind"] == "proposal"), None)

    return await until(look, "a rollback is proposed")


async def incident_of(plane: Plane, sample: Sample, state: str) -> dict[str, Any]:
    async def look() -> Any:
        found = await plane.incidents(sample, state)
        return found[0] if found else None

    return await until(look, f"an incident is {state}")


async def two_versions(plane: Plane, sample: Sample, second: dict[str, Any] | None = None) -> dict[str, Any]:
    """v1.0.0, then v1.1.0 over it; returns the second run."""
    sample.release("v1.0.0")
    sample.release("v1.1.0", second)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    return await plane.deploy(sample, "v1.1.0")


class TestAutomatic:
    async def test_it_rolls_back_without_a_new_approval(self, plane: Plane, sample: Sample) -> None:
        run = await two_versions(plane, sample)
        plans = len((await plane.get("/plans", params={"service": sample.name}))["items"])
        await plane.behave(sample, unhealthy=True)
        await brought_back(plane, sample, "v1.0.0")
        way_back = await plane.ended(await plane.run_of(run["plan_id"], "rollback:staging"))
        assert way_back["status"] == "completed"
        assert len((await plane.get("/plans", params={"service": sample.name}))["items"]) == plans
        assert await plane.state(run["plan_id"]) == "rolled_back"
        incident = await incident_of(plane, sample, "resolved")
        assert "the health check failed" in incident["title"]
        assert "rolled back to v1.0.0" in incident["timeline"][-1][1]
        assert (await plane.refusal(f"deploy {sample.name} v1.1.0 to staging"))["code"] == "quarantined"
        serving = await plane.serving(sample)
        assert serving is not None
        assert (serving["state"], serving["observed"]["health"]) == ("good", "healthy")

    async def test_a_service_that_crashes_for_good_is_rolled_back_and_its_exit_is_the_evidence(
        self, plane: Plane, sample: Sample
    ) -> None:
        run = await two_versions(plane, sample)
        bundle = next((plane.home / "bundles" / sample.name).glob("*/behaviour.json"), None)
        serving = await plane.serving(sample)
        assert serving is not None
        assert bundle is not None
        for folder in (plane.home / "bundles" / sample.name).iterdir():
            behaviour = folder / "behaviour.json"
            if folder.is_dir() and "v1.1.0" in behaviour.read_text():
                behaviour.write_text('{"version": "v1.1.0", "exits_at_once": true}')
        await plane.ask(sample, "/crash")
        await brought_back(plane, sample, "v1.0.0")
        await plane.ended(await plane.run_of(run["plan_id"], "rollback:staging"))
        assert "crashing" in (await plane.host.log(serving["instances"][0]["key"])).text
        assert (await plane.host.status(serving["instances"][0]["key"])).state == "exited"

    async def test_one_after_the_other_can_be_brought_back(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        sample.release("v1.2.0")
        await plane.deploy(sample, "v1.2.0")
        await plane.behave(sample, unhealthy=True)
        await brought_back(plane, sample, "v1.1.0")

        async def calm() -> bool:
            return await plane.incidents(sample, "open") == []

        await until(calm, "the first incident is resolved")
        restored = await plane.serving(sample)
        assert restored is not None
        await plane.behave(sample, unhealthy=True)
        await brought_back(plane, sample, "v1.0.0")
        await until(calm, "the second incident is resolved")
        # The process that had been started again is the one that was stopped, and its content is refused.
        assert (await plane.host.status(restored["instances"][0]["key"])).state == "exited"
        for version in ("v1.1.0", "v1.2.0"):
            assert (await plane.refusal(f"deploy {sample.name} {version} to staging"))["code"] == "quarantined"


class TestProposed:
    async def test_with_the_policy_propose_a_person_decides(self, plane: Plane, sample: Sample) -> None:
        run = await two_versions(plane, sample, PROPOSE)
        await plane.behave(sample, unhealthy=True)
        item = await proposal(plane, sample)
        assert item["options"] == ["roll back", "leave it"]
        assert await plane.ask(sample) == (200, "v1.1.0")
        refused = await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "maybe"}, 422)
        assert refused["code"] == "unknown_option"
        await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "roll back"})
        await brought_back(plane, sample, "v1.0.0")
        way_back = await plane.ended(await plane.run_of(run["plan_id"], "rollback:staging"))
        assert way_back["status"] == "completed"
        twice = await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "leave it"}, 409)
        assert twice["code"] == "already_answered"

    async def test_left_as_it_is_it_stays(self, plane: Plane, sample: Sample) -> None:
        run = await two_versions(plane, sample, PROPOSE)
        await plane.behave(sample, unhealthy=True)
        item = await proposal(plane, sample)
        await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "leave it"})
        await plane.behave(sample, unhealthy=False)
        runs = (await plane.get("/runs", params={"plan": run["plan_id"]}))["items"]
        assert [item["role"] for item in runs] == ["main"]
        assert await plane.ask(sample) == (200, "v1.1.0")

    async def test_an_answer_that_comes_too_late_undoes_nothing(self, plane: Plane, sample: Sample) -> None:
        run = await two_versions(plane, sample, PROPOSE)
        await plane.behave(sample, unhealthy=True)
        item = await proposal(plane, sample)
        sample.release("v1.2.0")
        await plane.deploy(sample, "v1.2.0")

        async def is_withdrawn() -> bool:
            return not await plane.inbox(sample)

        await until(is_withdrawn, "the question is withdrawn")
        refused = await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "roll back"}, 409)
        assert refused["code"] == "already_answered"
        assert (await incident_of(plane, sample, "resolved"))["version"] == "v1.1.0"
        assert await plane.ask(sample) == (200, "v1.2.0")
        assert [item["role"] for item in (await plane.get("/runs", params={"plan": run["plan_id"]}))["items"]] == ["main"]

    async def test_without_anything_to_go_back_to_a_person_weighs_the_outage(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0")
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        await plane.behave(sample, unhealthy=True)
        item = await proposal(plane, sample)
        assert item["options"] == ["take it out", "leave it"]
        await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "take it out"})

        async def out() -> bool:
            return (await plane.ask(sample))[0] == 503 and await plane.serving(sample) is None

        await until(out, "it is taken out of traffic, and on record")


class TestBesideOtherPlans:
    """A place is changed by one plan at a time."""

    async def test_what_turns_bad_during_a_deployment_that_fails_is_brought_back_afterwards(
        self, plane: Plane, sample: Sample
    ) -> None:
        first = await two_versions(plane, sample)
        gate = sample.path.parent / "gate"
        sample.write("wait.py", WAIT.format(gate))
        short = {"health": MODULE["health"] | {"start_timeout": 1}}
        sample.release("v1.2.0", SLOW_BUILD | short, unhealthy=True)
        run_id = await plane.begin(f"deploy {sample.name} v1.2.0 to staging")
        await plane.task_runs(run_id, "build")
        await plane.behave(sample, unhealthy=True)
        await incident_of(plane, sample, "open")
        assert await plane.ask(sample) == (200, "v1.1.0")
        gate.touch()
        assert (await plane.ended(run_id))["status"] == "failed"
        await brought_back(plane, sample, "v1.0.0")
        way_back = await plane.ended(await plane.run_of(first["plan_id"], "rollback:staging"))
        assert way_back["status"] == "completed"

    async def test_what_turns_bad_during_a_deployment_that_succeeds_is_simply_replaced(
        self, plane: Plane, sample: Sample
    ) -> None:
        first = await two_versions(plane, sample)
        gate = sample.path.parent / "gate"
        sample.write("wait.py", WAIT.format(gate))
        sample.release("v1.2.0", SLOW_BUILD)
        run_id = await plane.begin(f"deploy {sample.name} v1.2.0 to staging")
        await plane.task_runs(run_id, "build")
        await plane.behave(sample, unhealthy=True)
        incident = await incident_of(plane, sample, "open")
        gate.touch()
        assert (await plane.ended(run_id))["status"] == "completed"
        assert await plane.ask(sample) == (200, "v1.2.0")
        resolved = await plane.get(f"/incidents/{incident['incident_id']}")
        assert (resolved["state"], resolved["timeline"][-1][1]) == ("resolved", "v1.2.0 took over")
        assert [item["role"] for item in (await plane.get("/runs", params={"plan": first["plan_id"]}))["items"]] == ["main"]

    async def test_while_it_is_brought_back_no_other_plan_is_taken(self, plane: Plane, sample: Sample) -> None:
        first = await two_versions(plane, sample)
        sample.release("v1.2.0")
        other = await plane.plan(f"deploy {sample.name} v1.2.0 to staging")
        await plane.behave(sample, unhealthy=True)

        async def is_under_way() -> bool:
            return await plane.state(first["plan_id"]) == "running"

        await until(is_under_way, "the way back is under way")
        assert (await plane.approve(other, 409))["code"] == "busy"
        await plane.ended(await plane.run_of(first["plan_id"], "rollback:staging"))
        assert (await plane.approve(other, 409))["code"] == "environment_changed"


class TestOnceMore:
    """v1.0.0 does not get healthy again while there is trouble, so that the way back to it fails."""

    async def in_trouble(
        self, plane: Plane, sample: Sample, second: dict[str, Any] | None = None
    ) -> tuple[Path, dict[str, Any]]:
        trouble = sample.path.parent / "trouble"
        sample.release("v1.0.0", {"health": MODULE["health"] | {"start_timeout": 1}}, unhealthy_while=str(trouble))
        sample.release("v1.1.0", second)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run = await plane.deploy(sample, "v1.1.0")
        trouble.touch()
        await plane.behave(sample, unhealthy=True)
        return trouble, run

    async def failed(self, plane: Plane, sample: Sample, run: dict[str, Any], role: str) -> None:
        """The way back in this role has failed, and somebody was told."""
        way_back = await plane.ended(await plane.run_of(run["plan_id"], role))
        assert (way_back["status"], way_back["error"]["code"]) == ("failed", "not_healthy")

        async def alarm() -> bool:
            return any(item["kind"] == "alarm" for item in await plane.inbox(sample))

        await until(alarm, "there is an alarm in the inbox")

    async def test_what_goes_on_being_wrong_is_brought_back_although_that_had_failed_before(
        self, plane: Plane, sample: Sample
    ) -> None:
        trouble, run = await self.in_trouble(plane, sample)
        await self.failed(plane, sample, run, "rollback:staging")
        incident = await incident_of(plane, sample, "open")
        assert incident["ways_back"] == [[incident["incident_id"], "rollback:staging"]]
        trouble.unlink()
        await plane.post(f"/incidents/{incident['incident_id']}/resolve", {"reason": "there is no trouble any more"})
        again = await plane.ended(await plane.run_of(run["plan_id"], "rollback:staging:2"))
        assert again["status"] == "completed", again["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")
        assert await plane.state(run["plan_id"]) == "rolled_back"

        async def calm() -> bool:
            alarms = [item for item in await plane.inbox(sample) if item["kind"] == "alarm"]
            return await plane.incidents(sample, "open") == alarms == []

        await until(calm, "incident and alarm are closed")

    async def test_each_answer_of_a_person_is_a_try(self, plane: Plane, sample: Sample) -> None:
        trouble, run = await self.in_trouble(plane, sample, PROPOSE)
        for role in ("rollback:staging", "rollback:staging:2"):
            item = await proposal(plane, sample)
            await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "roll back"})
            await self.failed(plane, sample, run, role)
        trouble.unlink()
        item = await proposal(plane, sample)
        await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "roll back"})
        again = await plane.ended(await plane.run_of(run["plan_id"], "rollback:staging:3"))
        assert again["status"] == "completed", again["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")

    async def test_a_release_that_never_was_good_is_watched_when_it_could_not_be_brought_back(
        self, plane: Plane, sample: Sample
    ) -> None:
        """The way back of its own run fails; once the incident is closed, the standing watch finds what is still wrong."""
        trouble = sample.path.parent / "trouble"
        sample.release("v1.0.0", {"health": MODULE["health"] | {"start_timeout": 1}}, unhealthy_while=str(trouble))
        sample.release("v1.1.0", {"watch": MODULE["watch"] | {"window": "30s"}})
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        await plane.task_runs(run_id, "watch-staging")
        trouble.touch()
        await plane.behave(sample, unhealthy=True)
        run = await plane.ended(run_id)
        assert run["status"] == "failed"
        serving = await plane.serving(sample)
        assert serving is not None
        assert (serving["version"], serving["state"], serving["good_at"]) == ("v1.1.0", "live", "")
        trouble.unlink()
        incident = await incident_of(plane, sample, "open")
        await plane.post(f"/incidents/{incident['incident_id']}/resolve", {"reason": "there is no trouble any more"})
        again = await plane.ended(await plane.run_of(run["plan_id"], "rollback:staging"))
        assert again["status"] == "completed", again["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")
