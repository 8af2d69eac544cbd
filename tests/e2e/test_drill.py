"""Drills of rollbacks: the way back is proven beside what serves, without moving traffic, and what they find is made loud."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness.plane import Plane, until
from harness.sample import Sample
from harness.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMOKE = {"smoke_tests": [{"name": "root", "path": "/", "expect_text": "v1"}]}


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    own = Server(tmp_path / "home")
    yield own
    await own.clear()


async def two_versions(plane: Any, sample: Sample, first: dict[str, Any] | None = None) -> None:
    sample.release("v1.0.0", first)
    sample.release("v1.1.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    await plane.deploy(sample, "v1.1.0")


async def row(plane: Any, sample: Sample) -> dict[str, Any]:
    return (await plane.get("/status", params={"service": sample.name, "environment": "staging"}))["items"][0]


async def folder_of(plane: Any, sample: Sample, version: str) -> Path:
    releases = (await plane.get("/releases", params={"service": sample.name}))["items"]
    return Path(next(item["folder"] for item in releases if item["version"] == version))


async def told(plane: Any, sample: Sample) -> dict[str, Any]:
    """The last drill, once its result is on record."""

    async def look() -> Any:
        return (await row(plane, sample))["last_drill"]

    return await until(look, "the result of the drill is on record")


async def alarms(plane: Any, sample: Sample) -> list[str]:
    return [item["title"] for item in await plane.inbox(sample) if item["kind"] == "alarm"]


async def drilled(plane: Any, sample: Sample) -> list[dict[str, Any]]:
    """What was started only to be drilled, with the states of its processes."""
    found = (await plane.get("/deployments", params={"service": sample.name}))["items"]
    return [item for item in found if item["plan_id"] and item["live_at"] == ""]


async def running(plane: Any, deployment: dict[str, Any]) -> list[str]:
    keys = [instance["key"] for instance in deployment["instances"]]
    return [key for key in keys if (await plane.host.status(key)).state == "running"]


class TestProven:
    async def test_nobody_who_is_served_notices(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample, SMOKE)
        before = await row(plane, sample)
        assert (before["back_to"]["version"], before["last_drill"]) == ("v1.0.0", None)
        legs = {path.name: path.read_bytes() for path in (plane.home / "forwarder" / "legs").iterdir()}
        parsed = await plane.post(f"/services/{sample.name}/drill", {"environment": "staging"})
        plan = parsed["plan"]
        assert (plan["action"], plan["version"], plan["changes"]) == ("drill", "v1.0.0", [])
        async with plane.traffic(sample, 0.005) as answers:
            await plane.approve(plan)
            run = await plane.ended(await plane.run_of(plan["plan_id"]))
        assert run["status"] == "completed", run["error"]
        assert [task["id"] for task in run["tasks"] if task["status"] == "completed"] == [
            "check-staging", "start-staging", "verify-staging", "smoke-staging", "stop-staging",
        ]  # fmt: skip
        assert answers
        assert set(answers) == {(200, "v1.1.0")}, "no request was lost, and none got to what was drilled"
        now = {path.name: path.read_bytes() for path in (plane.home / "forwarder" / "legs").iterdir()}
        changed = [name for name, line in now.items() if line != legs.get(name)]
        assert changed == [f"{sample.name}.staging.candidate"], "the stable leg was not even pointed again"
        candidate = await plane.inside.forwarder.read(f"{sample.name}.staging", "candidate")
        assert candidate is not None
        assert candidate.shares == ()
        after = await row(plane, sample)
        assert {name: after["serving"][name] for name in ("deployment_id", "state", "version", "live_at", "instances")} == {
            name: before["serving"][name] for name in ("deployment_id", "state", "version", "live_at", "instances")
        }
        drill = await told(plane, sample)
        assert (drill["outcome"], drill["version"], drill["behind"], drill["run_id"]) == (
            "proven", "v1.0.0", "v1.1.0", run["run_id"],
        )  # fmt: skip
        (deployment,) = await drilled(plane, sample)
        assert deployment["state"] == "drilled"
        assert await running(plane, deployment) == []
        assert await alarms(plane, sample) == []

        # And it is taken for nothing else: a rollback goes where it would have gone, a second one has nowhere to go.
        done = await plane.do(f"roll back {sample.name} in staging")
        assert done["status"] == "completed", done["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")
        refused = await plane.refusal(f"drill {sample.name} in staging")
        assert refused["code"] == "rollback_target_missing"

    async def test_it_says_where_the_watch_would_go_by_itself_if_that_is_elsewhere(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        await plane.do(f"restart {sample.name} in staging")
        plan = await plane.plan(f"prove that {sample.name} can be rolled back in staging")
        found = {finding["code"]: finding["message"] for finding in plan["findings"]}
        assert "a rollback now would go to v1.0.0" in found["drill_target"]
        assert "by itself the watch would go back to v1.1.0" in found["drill_differs"]

    async def test_it_leaves_other_plans_waiting_and_gives_way_to_a_rollback(self, plane: Plane, sample: Sample) -> None:
        ill = plane.home / f"{sample.name}-is-slow"
        ill.touch()
        sample.release("v1.0.0", unhealthy_while=str(ill))
        ill.unlink()
        sample.release("v1.1.0", {"watch": {"window": 0.5, "interval": 0.1, "min_requests": 5, "health_failures": 2}})
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        await plane.deploy(sample, "v1.1.0")
        waiting = await plane.plan(f"restart {sample.name} in staging")
        ill.touch()
        run_id = await plane.begin(f"drill {sample.name} in staging")
        assert await plane.state(waiting["plan_id"]) == "pending_approval", "a drill changes nothing that it rests on"
        await plane.task_runs(run_id, "verify-staging")
        assert (await plane.approve(waiting, 409))["code"] == "busy"
        await plane.behave(sample, unhealthy=True)

        async def is_cancelled() -> bool:
            return (await plane.get(f"/runs/{run_id}"))["status"] == "cancelled"

        await until(is_cancelled, "the way back does not wait for the drill")
        ill.unlink()

        async def is_back() -> bool:
            return await plane.ask(sample) == (200, "v1.0.0")

        await until(is_back, "what turned bad is rolled back")
        assert (await row(plane, sample))["last_drill"] is None, "a drill that was broken off has shown nothing"
        for deployment in await drilled(plane, sample):
            assert await running(plane, deployment) == []


class TestFailed:
    async def test_a_release_that_does_not_get_healthy_any_more_is_found_and_made_loud(
        self, plane: Plane, sample: Sample
    ) -> None:
        ill = plane.home / f"{sample.name}-is-ill"
        health = {"path": "/health", "interval": 0.1, "timeout": "1s", "healthy_after": 2, "start_timeout": "2s"}
        sample.release("v1.0.0", {"health": health}, unhealthy_while=str(ill))
        sample.release("v1.1.0")
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        await plane.deploy(sample, "v1.1.0")
        ill.touch()
        async with plane.traffic(sample) as answers:
            run = await plane.do(f"drill {sample.name} in staging")
        assert (run["status"], run["error"]["code"]) == ("failed", "not_healthy")
        assert set(answers) == {(200, "v1.1.0")}
        drill = await told(plane, sample)
        assert drill["outcome"] == "failed"
        (title,) = await alarms(plane, sample)
        assert title.startswith(f"the rollback of {sample.name} in staging would not work: the candidate did not get healthy")
        (deployment,) = await drilled(plane, sample)
        assert deployment["state"] == "failed"
        assert await running(plane, deployment) == []
        assert await plane.incidents(sample) == [], "what serves is not to blame"
        # Mended, it is proven, and the alarm goes.
        ill.unlink()
        again = await plane.do(f"drill {sample.name} in staging")
        assert again["status"] == "completed", again["error"]

        async def is_quiet() -> bool:
            return await alarms(plane, sample) == [] and (await told(plane, sample))["outcome"] == "proven"

        await until(is_quiet, "the alarm is withdrawn")

    async def test_smoke_tests_that_fail_are_the_answer_too(self, plane: Plane, sample: Sample) -> None:
        wrong = plane.home / f"{sample.name}-smoke"
        wrong.touch()
        command = {"smoke_tests": [{"name": "file", "command": f"test -e {wrong}"}]}
        await two_versions(plane, sample, command)
        wrong.unlink()
        run = await plane.do(f"drill {sample.name} in staging")
        assert (run["status"], run["error"]["code"]) == ("failed", "smoke_tests_failed")
        (deployment,) = await drilled(plane, sample)
        assert await running(plane, deployment) == []
        assert await plane.incidents(sample) == []

    async def test_a_damaged_release_is_the_answer_before_anything_is_started(self, plane: Plane, sample: Sample) -> None:
        await two_versions(plane, sample)
        folder = await folder_of(plane, sample, "v1.0.0")
        preview = {"text": f"drill {sample.name} in staging", "preview": True}
        plan = await plane.plan(f"drill {sample.name} in staging")
        kept = folder.with_name("kept")
        shutil.move(folder, kept)
        assert (await plane.post("/commands/parse", preview, 409))["code"] == "rollback_would_fail"
        assert (await row(plane, sample))["last_drill"] is None, "a preview leaves nothing behind"
        refused = await plane.refusal(f"drill {sample.name} in staging")
        assert refused["code"] == "rollback_would_fail"
        assert f"the rollback of {sample.name} in staging would not work: the files of the release are gone" in refused["title"]
        assert f"interlock drill {sample.name} --env staging" in refused["hint"]
        assert (await told(plane, sample))["outcome"] == "failed"
        (title,) = await alarms(plane, sample)
        assert title.startswith(refused["title"])
        assert (await plane.approve(plan, 409))["code"] == "rollback_would_fail"
        assert await drilled(plane, sample) == []
        shutil.move(kept, folder)
        assert (await plane.do(f"drill {sample.name} in staging"))["status"] == "completed"

    async def test_what_cannot_run_beside_another_is_refused(self, plane: Plane, sample: Sample) -> None:
        watch = {"window": 0.5, "interval": 0.1}
        worker = {"name": sample.name, "version": "1", "module_type": "data_pipeline", "start": "sleep 3600", "watch": watch}
        for version in ("v1.0.0", "v1.1.0"):
            sample.release(version, json.dumps(worker))
        await plane.add(sample)
        assert (await plane.refusal(f"drill {sample.name} in staging"))["code"] == "nothing_serves"
        await plane.deploy(sample, "v1.0.0")
        await plane.deploy(sample, "v1.1.0")
        refused = await plane.refusal(f"drill {sample.name} in staging", 422)
        assert refused["code"] == "drill_needs_port"


async def test_a_control_plane_killed_in_the_middle_leaves_nothing_running(server: Server, sample: Sample) -> None:
    await server.start()
    ill = server.home / "ill"
    sample.release("v1.0.0", unhealthy_while=str(ill))
    sample.release("v1.1.0")
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    await server.deploy(sample, "v1.1.0")
    ill.touch()
    run_id = await server.begin(f"drill {sample.name} in staging")
    await server.task_runs(run_id, "verify-staging")
    (deployment,) = await drilled(server, sample)
    assert deployment["state"] == "drilling"
    assert await running(server, deployment)
    await server.kill()
    assert await running(server, deployment), "it outlives the control plane"
    await server.start()
    await server.post(f"/runs/{run_id}/cancel", {"reason": "enough"})
    run = await server.ended(run_id)
    assert run["status"] == "cancelled"
    assert await running(server, deployment) == []
    assert await server.ask(sample) == (200, "v1.1.0")
    ill.unlink()
    run_id = await server.begin(f"drill {sample.name} in staging")
    await server.kill()
    await server.start()
    assert (await server.ended(run_id))["status"] == "completed"
    for deployment in await drilled(server, sample):
        assert await running(server, deployment) == []
    assert (await told(server, sample))["outcome"] == "proven"
