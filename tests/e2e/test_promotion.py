"""From one environment to the next: the very release that is good there, without the repository."""

import shutil
from typing import Any

import pytest

from harness.plane import MakePlane, Plane, until
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = {"watch": {"window": 60, "interval": 0.1, "min_requests": 5, "health_failures": 2}}


def codes(plan: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in plan["findings"]}


class TestTheVeryRelease:
    async def test_it_serves_in_the_next_environment_byte_for_byte(self, plane: Plane, sample: Sample) -> None:
        smoke = {"smoke_tests": [{"name": "root", "path": "/", "expect_text": "v1"}]}
        sample.release("v1.0.0", smoke)
        sample.release("v1.1.0", smoke)
        await plane.add(sample)
        for environment in ("staging", "production"):
            await plane.deploy(sample, "v1.0.0", environment)
        await plane.deploy(sample, "v1.1.0")
        parsed = await plane.post(f"/services/{sample.name}/promote", {"source": "staging", "environment": "production"})
        plan = parsed["plan"]
        assert (plan["action"], plan["version"], plan["environments"]) == ("promote", "v1.1.0", ["production"])
        (change,) = plan["changes"]
        assert (change["now"], change["then"], len(change["commits"])) == ("v1.0.0", "v1.1.0", 1)
        assert change["rollback"].startswith("v1.0.0")
        assert plan["content"]["source"]["environment"] == "staging"
        assert "promoted" in codes(plan)
        kinds = [task["kind"] for task in plan["content"]["graph"]["tasks"]]
        assert kinds[0] == "delivery.confirm"
        assert not {"delivery.checkout", "delivery.command", "delivery.release"} & set(kinds), "nothing is built"
        await plane.approve(plan)
        run = await plane.ended(await plane.run_of(plan["plan_id"]))
        assert run["status"] == "completed", run["error"]
        assert await plane.ask(sample, environment="production") == (200, "v1.1.0")
        staging, production = [await plane.serving(sample, name) for name in ("staging", "production")]
        assert staging is not None
        assert production is not None
        assert staging["release_id"] == production["release_id"] == plan["content"]["release_id"]
        assert production["state"] == "good"
        refused = await plane.refusal(f"promote {sample.name} to production")
        assert refused["code"] == "nothing_to_do"
        # Its way back is that of any deployment.
        assert (await plane.do(f"roll back {sample.name} in production"))["status"] == "completed"
        assert await plane.ask(sample, environment="production") == (200, "v1.0.0")
        refused = await plane.refusal(f"promote {sample.name} from staging to production")
        assert refused["code"] == "quarantined"

    async def test_it_works_while_the_repository_is_gone_even_after_a_restart(
        self, make_plane: MakePlane, sample: Sample
    ) -> None:
        plane = await make_plane()
        sample.release("v1.0.0")
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        shutil.rmtree(sample.path)
        await plane.stop()
        await plane.start()
        run = await plane.do(f"promote {sample.name} to production")
        assert run["status"] == "completed", run["error"]
        assert await plane.ask(sample, environment="production") == (200, "v1.0.0")

    async def test_one_that_turns_bad_is_brought_back(self, plane: Plane, sample: Sample) -> None:
        broken = plane.home / f"{sample.name}-smoke"
        broken.touch()
        sample.release("v1.0.0")
        sample.release("v1.1.0", {"smoke_tests": [{"name": "file", "command": f"test -e {broken}"}]})
        await plane.add(sample)
        for environment in ("staging", "production"):
            await plane.deploy(sample, "v1.0.0", environment)
        await plane.deploy(sample, "v1.1.0")
        broken.unlink()
        run = await plane.do(f"promote {sample.name} from staging to production")
        assert run["status"] == "rolled_back"
        assert await plane.ask(sample, environment="production") == (200, "v1.0.0")


class TestRefused:
    async def test_what_has_not_proven_itself_yet(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", LONG)
        await plane.add(sample)
        refused = await plane.refusal(f"promote {sample.name} to production")
        assert refused["code"] == "nothing_serves"
        run_id = await plane.begin(f"deploy {sample.name} v1.0.0 to staging")
        await plane.task_runs(run_id, "watch-staging")
        refused = await plane.refusal(f"promote {sample.name} from staging to production")
        assert (refused["code"], "its watch has not passed yet" in refused["title"]) == ("not_good", True)
        await plane.post(f"/runs/{run_id}/cancel")
        await plane.ended(run_id)

    async def test_another_version_than_the_one_that_was_said(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0")
        sample.release("v1.1.0")
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        refused = await plane.refusal(f"promote {sample.name} v1.1.0 from staging to production")
        assert refused["code"] == "other_version"
        plan = await plane.plan(f"promote {sample.name} v1.0.0 from staging to production")
        assert plan["action"] == "promote"
        assert (await plane.refusal(f"promote {sample.name} to staging", 422))["code"] == "promotion_source"

    async def test_another_release_at_the_source_by_the_time_it_is_approved(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0")
        sample.release("v1.1.0")
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        plan = await plane.plan(f"promote {sample.name} from staging to production")
        await plane.do(f"restart {sample.name} in staging")
        other = await plane.plan(f"promote {sample.name} from staging to production")
        await plane.deploy(sample, "v1.1.0")
        for stale in (plan, other):
            assert (await plane.approve(stale, 409))["code"] == "environment_changed"

    async def test_an_open_incident_at_the_source(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0")
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        serving = await plane.serving(sample)
        assert serving is not None
        await plane.host.stop(serving["instances"][0]["key"], 0)

        async def look() -> bool:
            return bool(await plane.incidents(sample, "open"))

        await until(look, "there is an incident")
        refused = await plane.refusal(f"promote {sample.name} to production")
        assert refused["code"] == "incident_open"


async def test_environments_passed_over_or_taken_backwards_are_a_warning(make_plane: MakePlane, sample: Sample) -> None:
    plane = await make_plane(environments=("dev", "staging", "production"))
    sample.release("v1.0.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0", "dev")
    plan = await plane.plan(f"promote {sample.name} from dev to production")
    assert "promotion_skips" in codes(plan)
    plan = await plane.plan(f"promote {sample.name} from dev to staging, then to production")
    assert not {"promotion_skips", "promotion_backwards"} & codes(plan)
    await plane.approve(plan)
    run = await plane.ended(await plane.run_of(plan["plan_id"]))
    assert run["status"] == "completed", run["error"]
    assert await plane.ask(sample, environment="production") == (200, "v1.0.0")
    await plane.do(f"stop {sample.name} in dev")
    plan = await plane.plan(f"promote {sample.name} from staging to dev")
    assert "promotion_backwards" in codes(plan)
