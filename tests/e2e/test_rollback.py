"""Rollback by hand, what it refuses, and what is said when one fails."""

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from harness.plane import Plane, until
from harness.sample import MODULE, Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def bundle(plane: Plane, sample: Sample, version: str) -> Path:
    releases = (await plane.get("/releases", params={"service": sample.name}))["items"]
    return Path(next(item["folder"] for item in releases if item["version"] == version))


async def alarm(plane: Plane, sample: Sample) -> dict[str, Any]:
    async def look() -> Any:
        return next((item for item in await plane.inbox(sample) if item["kind"] == "alarm"), None)

    return await until(look, "there is an alarm in the inbox")


async def two_versions(plane: Plane, sample: Sample, second: dict[str, Any] | None = None) -> None:
    sample.release("v1.0.0")
    sample.release("v1.1.0", second)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    await plane.deploy(sample, "v1.1.0")


class TestByHand:
    async def test_it_is_planned_approved_and_quarantines_by_content(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        body = {"environment": "staging", "reason": "greets in the wrong language"}
        parsed = await plane.post(f"/services/{sample.name}/rollback", body)
        assert parsed["plan"]["action"] == "rollback"
        assert parsed["plan"]["changes"][0]["then"] == "v1.0.0"
        assert await plane.ask(sample) == (200, "v1.1.0")
        async with plane.traffic(sample) as answers:
            await plane.approve(parsed["plan"])
            run = await plane.ended(await plane.run_of(parsed["plan"]["plan_id"]))
        assert run["status"] == "completed", run["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")
        assert set(answers) <= {(200, "v1.1.0"), (200, "v1.0.0")}
        (item,) = [item for item in (await plane.get("/quarantine"))["items"] if item["service"] == sample.name]
        assert (item["version"], item["reason"]) == ("v1.1.0", "greets in the wrong language")

        # The same content under another tag, and as another commit with the same tree.
        sample.git("tag", "v1.1.1", "v1.1.0")
        again = sample.commit_all("nothing new", tag=False)
        sample.git("tag", "v1.1.2", again)
        for version in ("v1.1.0", "v1.1.1", "v1.1.2", f"commit {again[:12]}"):
            refused = await plane.refusal(f"deploy {sample.name} {version} to staging")
            assert (refused["code"], refused["details"]["incident_id"]) == ("quarantined", item["incident_id"])
            refused = await plane.refusal(f"deploy {sample.name} {version} to production")
            assert refused["code"] == "quarantined"

        lifted = await plane.post(f"/quarantine/{sample.name}/v1.1.0/lift")
        assert lifted["lifted_by"] == "user:owner"
        await plane.deploy(sample, "v1.1.2")
        assert await plane.ask(sample) == (200, "v1.1.0")
        await plane.post(f"/quarantine/{sample.name}/v1.1.0/lift", status=404)

    async def test_it_takes_the_version_that_is_named(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        sample.release("v1.2.0")
        await plane.deploy(sample, "v1.2.0")
        run = await plane.do(f"roll back {sample.name} in staging to v1.0.0")
        assert run["status"] == "completed", run["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")
        assert [item["version"] for item in (await plane.get("/quarantine"))["items"] if item["service"] == sample.name] == [
            "v1.2.0"
        ]

    async def test_it_never_goes_forward(self, plane: Plane, sample: Sample) -> None:
        """Also not to what came between what serves and what was left for it."""
        await two_versions(plane, sample)
        sample.release("v1.2.0")
        await plane.deploy(sample, "v1.2.0")
        run = await plane.do(f"roll back {sample.name} in staging to v1.0.0")
        assert run["status"] == "completed", run["error"]
        for _ in range(2):
            refused = await plane.refusal(f"roll back {sample.name} in staging to v1.1.0")
            assert refused["code"] == "rollback_forward"
            assert f"deploy v1.1.0 of {sample.name} to staging" in refused["hint"]
            assert (await plane.refusal(f"roll back {sample.name} in staging"))["code"] == "rollback_target_missing"
            (row,) = (await plane.get("/status", params={"service": sample.name, "environment": "staging"}))["items"]
            assert row["back_to"] is None
            run = await plane.do(f"restart {sample.name} in staging")
            assert run["status"] == "completed", run["error"]
        await plane.deploy(sample, "v1.1.0")
        plan = await plane.plan(f"roll back {sample.name} in staging")
        assert plan["changes"][0]["then"] == "v1.0.0"

    async def test_what_serves_already_is_nothing_to_go_back_to(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        refused = await plane.refusal(f"roll back {sample.name} in staging to v1.1.0")
        assert refused["code"] == "nothing_to_do"
        assert (await plane.get("/quarantine"))["items"] == [
            item for item in (await plane.get("/quarantine"))["items"] if item["service"] != sample.name
        ]

    async def test_without_an_earlier_release_it_says_so(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0")
        await plane.add(sample)
        assert (await plane.refusal(f"roll back {sample.name} in staging"))["code"] == "nothing_serves"
        await plane.deploy(sample, "v1.0.0")
        assert (await plane.refusal(f"roll back {sample.name} in staging"))["code"] == "rollback_target_missing"
        problem = await plane.post(f"/services/{sample.name}x/rollback", {"environment": "staging"}, 404)
        assert problem["code"] == "service"
        problem = await plane.post(f"/services/{sample.name}/rollback", {"environment": "moon"}, 422)
        assert problem["code"] == "environment"
        problem = await plane.post(
            f"/services/{sample.name}/rollback", {"environment": "staging", "version": "v1 then stop x"}, 422
        )
        assert problem["code"] == "request"

    async def test_it_works_while_the_repository_is_gone(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        shutil.rmtree(sample.path)
        run = await plane.do(f"roll back {sample.name} in staging")
        assert run["status"] == "completed", run["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")


class TestTargetGone:
    async def test_refused_when_planning(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        shutil.rmtree(await bundle(plane, sample, "v1.0.0"))
        refused = await plane.refusal(f"roll back {sample.name} in staging")
        assert refused["code"] == "bundle_missing"
        assert await plane.ask(sample) == (200, "v1.1.0")

    async def test_a_deployment_over_what_could_not_come_back_is_refused_until_it_is_stopped(
        self, plane: Plane, sample: Sample
    ) -> None:
        await two_versions(plane, sample)
        file = await bundle(plane, sample, "v1.1.0") / "service.py"
        file.write_text(file.read_text() + "\n# changed\n")
        sample.release("v1.2.0")
        refused = await plane.refusal(f"deploy {sample.name} v1.2.0 to staging")
        assert refused["code"] == "rollback_target_missing"
        assert "service.py is not what was built" in refused["title"]
        # The damaged one can be left, in both ways.
        plan = await plane.plan(f"roll back {sample.name} in staging")
        assert "no_way_back" in [finding["code"] for finding in plan["findings"]]
        run = await plane.do(f"stop {sample.name} in staging")
        assert run["status"] == "completed", run["error"]
        assert (await plane.ask(sample))[0] == 503
        await plane.deploy(sample, "v1.2.0")

    async def test_a_damaged_release_can_be_rolled_back_from(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        shutil.rmtree(await bundle(plane, sample, "v1.1.0"))
        run = await plane.do(f"roll back {sample.name} in staging")
        assert run["status"] == "completed", run["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")

    async def test_refused_at_approval_and_again_before_traffic_moves(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0")
        slow = {"health": MODULE["health"] | {"healthy_after": 15}}
        sample.release("v1.1.0", slow)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
        folder = await bundle(plane, sample, "v1.0.0")
        folder.rename(folder.with_name("away"))
        refused = await plane.approve(plan, 409)
        assert refused["code"] == "rollback_target_missing"
        folder.with_name("away").rename(folder)
        await plane.approve(plan)
        run_id = await plane.run_of(plan["plan_id"])
        await plane.task_runs(run_id, "verify-staging")
        folder.rename(folder.with_name("away"))
        async with plane.traffic(sample) as answers:
            run = await plane.ended(run_id)
        assert run["error"]["code"] == "bundle_missing"
        assert run["error"]["task"] == "switch-staging"
        assert run["status"] == "rolled_back"
        assert set(answers) == {(200, "v1.0.0")}
        assert await plane.inbox(sample) == []
        assert await plane.incidents(sample) == []
        deployments = (await plane.get("/deployments", params={"service": sample.name}))["items"]
        assert [(item["version"], item["state"]) for item in deployments] == [("v1.1.0", "failed"), ("v1.0.0", "good")]


class TestFailedRollback:
    async def test_a_way_back_that_is_destroyed_is_said_loudly(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        before = await plane.serving(sample)
        assert before is not None
        shutil.rmtree(await bundle(plane, sample, "v1.0.0"))
        await plane.behave(sample, unhealthy=True)
        item = await alarm(plane, sample)
        assert "needs a person now" in item["title"]
        (incident,) = await plane.incidents(sample, "open")
        assert incident["severity"] == "critical"
        assert incident["evidence"]["rollback_error"]["code"] == "bundle_missing"
        assert len(incident["timeline"]) == 3
        # What can still answer goes on to answer; nothing is stopped on top of it.
        assert await plane.ask(sample) == (200, "v1.1.0")
        run = (await plane.get("/plans", params={"service": sample.name}))["items"][0]
        assert run["state"] == "failed"
        # A person mends it by a deployment; then nothing is left open.
        sample.release("v1.2.0")
        await plane.deploy(sample, "v1.2.0")

        async def settled() -> bool:
            return await plane.incidents(sample, "open") == [] and await plane.inbox(sample) == []

        await until(settled, "incident and alarm are closed")

    async def test_destroyed_between_switch_and_breach(self, plane: Plane, sample: Sample) -> None:
        """The old one's process has to be gone too, or it would simply serve again."""
        sample.release("v1.0.0")
        sample.release("v1.1.0", {"watch": MODULE["watch"] | {"window": "30s"}})
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        before = await plane.serving(sample)
        assert before is not None
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        await plane.task_runs(run_id, "watch-staging")
        shutil.rmtree(await bundle(plane, sample, "v1.0.0"))
        await plane.host.stop(before["instances"][0]["key"], 0)
        await plane.behave(sample, unhealthy=True)
        run = await plane.ended(run_id)
        assert run["status"] == "failed"
        item = await alarm(plane, sample)
        (incident,) = await plane.incidents(sample, "open")
        assert incident["severity"] == "critical"
        assert incident["incident_id"] == item["details"]["incident_id"]
        assert await plane.ask(sample) == (200, "v1.1.0")

    async def test_a_rollback_by_hand_that_does_not_get_healthy(self, plane: Plane, sample: Sample) -> None:
        trouble = sample.path.parent / "trouble"
        module = {"health": MODULE["health"] | {"start_timeout": 1}}
        sample.release("v1.0.0", module, unhealthy_while=str(trouble))
        sample.release("v1.1.0")
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        await plane.deploy(sample, "v1.1.0")
        trouble.touch()
        run = await plane.do(f"roll back {sample.name} in staging")
        assert (run["status"], run["error"]["code"]) == ("failed", "not_healthy")
        item = await alarm(plane, sample)
        assert "did not get healthy" in item["title"]
        (incident,) = await plane.incidents(sample, "open")
        assert incident["severity"] == "critical"
        assert await plane.ask(sample) == (200, "v1.1.0")
        trouble.unlink()
        run = await plane.do(f"roll back {sample.name} in staging")
        assert run["status"] == "completed", run["error"]
        assert await plane.incidents(sample, "open") == []


async def test_a_forwarder_that_cannot_come_back_is_said_and_mended(plane: Plane, sample: Sample) -> None:
    """Somebody takes the service's port while the forwarder is down."""
    await two_versions(plane, sample)
    port = int((await plane.url(sample)).rpartition(":")[2])
    keys = [key for key in await plane.host.list() if key.startswith("interlock-forwarder")]
    assert keys
    with socket.socket() as intruder:
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await asyncio.gather(*(plane.host.stop(key, 0) for key in keys))
        intruder.bind(("127.0.0.1", port))
        intruder.listen()

        async def is_down() -> bool:
            ready = (await plane.http.get("/ready")).json()
            return ready["components"]["forwarder"]["ok"] is False

        await until(is_down, "readiness says that the forwarder is down")

    async def answers() -> bool:
        return await plane.ask(sample) == (200, "v1.1.0")

    await until(answers, "the service answers again", 60)
    assert await plane.incidents(sample) == []
