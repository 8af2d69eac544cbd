"""Approval is of exactly what was seen, in the world that it was made for. Whatever differs is refused beforehand."""

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.plane import MakePlane, Plane, until
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")


class MovableClock:
    """The clock of this machine, with the wall time ``ahead``."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def alter(plane: Plane, plan_id: str, change: Callable[[bytes], bytes]) -> None:
    """Change the stored content of a plan behind the control plane's back."""
    database = sqlite3.connect(plane.database_file, timeout=20)
    with database:
        (content,) = database.execute("SELECT content FROM plans WHERE plan_id = ?", (plan_id,)).fetchone()
        database.execute("UPDATE plans SET content = ? WHERE plan_id = ?", (change(content), plan_id))
    database.close()


async def ready(plane: Plane, sample: Sample, *versions: str) -> None:
    for version in versions:
        sample.release(version)
    await plane.add(sample)


class TestContent:
    async def test_one_byte_changed_is_refused_and_on_the_record(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        alter(plane, plan["plan_id"], lambda content: content.replace(b"service.py", b"sarvice.py", 1))
        refused = await plane.approve(plan, 409)
        assert refused["code"] == "plan_altered"
        assert refused["hint"] == "make a new plan and look at it again"
        assert await plane.state(plan["plan_id"]) == "pending_approval"
        events = (await plane.get("/events", params={"subject": "plan:refused"}))["items"]
        assert (f"approve {plan['plan_id']}", "plan_altered") in [(e["data"]["text"], e["data"]["code"]) for e in events]
        assert (await plane.get("/runs", params={"plan": plan["plan_id"]}))["items"] == []

    async def test_content_that_is_no_plan_any_more_is_refused_too(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        alter(plane, plan["plan_id"], lambda content: content[:-1] + b"\xff")
        assert (await plane.approve(plan, 409))["code"] == "plan_altered"

    async def test_changed_after_the_approval_it_is_not_run(self, make_plane: MakePlane, sample: Sample) -> None:
        plane = await make_plane()
        await ready(plane, sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        # Nothing reacts to the approval before the change: as if the control plane died right behind it.
        for work in plane.inside._background:
            work.cancel()
        await plane.approve(plan)
        alter(plane, plan["plan_id"], lambda content: content.replace(b"service.py", b"sarvice.py", 1))
        await plane.stop()
        await plane.start()

        async def failed() -> bool:
            return await plane.state(plan["plan_id"]) == "failed"

        await until(failed, "the plan has failed")
        assert "was altered" in (await plane.get(f"/plans/{plan['plan_id']}"))["reason"]
        assert (await plane.get("/runs"))["items"] == []
        assert await plane.host.list() == {}

    async def test_the_hash_of_another_plan_is_refused(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0", "v1.1.0")
        one = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        other = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
        swapped = {"plan_id": one["plan_id"], "content_hash": other["content_hash"]}
        assert (await plane.approve(swapped, 409))["code"] == "plan_altered"
        assert (await plane.approve({"plan_id": one["plan_id"], "content_hash": ""}, 409))["code"] == "plan_altered"

    async def test_the_hash_is_over_the_bytes_that_are_handed_out(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        content = (await plane.http.get(f"/api/v1/plans/{plan['plan_id']}/content")).content
        assert plan["content_hash"] == "sha256:" + hashlib.sha256(content).hexdigest()


class TestDecisions:
    async def test_of_two_at_once_one_wins(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        path, body = f"/api/v1/plans/{plan['plan_id']}/approve", {"content_hash": plan["content_hash"]}
        answers = await asyncio.gather(*(plane.http.post(path, json=body) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"plan_state"}
        run = await plane.ended(await plane.run_of(plan["plan_id"]))
        assert run["status"] == "completed"
        assert len((await plane.get("/runs", params={"plan": plan["plan_id"]}))["items"]) == 1

    async def test_rejected_it_cannot_be_approved(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        await plane.post(f"/plans/{plan['plan_id']}/reject", {"reason": "not on a Friday"})
        refused = await plane.approve(plan, 409)
        assert refused["code"] == "plan_state"
        assert "not on a Friday" in refused["title"]
        assert await plane.inbox(sample) == []

    async def test_expired_it_is_refused(self, make_plane: MakePlane, sample: Sample) -> None:
        clock = MovableClock()
        plane = await make_plane(clock=clock, plan_lifetime_hours=1)
        await ready(plane, sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        clock.ahead = timedelta(hours=2)
        assert await plane.state(plan["plan_id"]) == "expired"
        assert (await plane.approve(plan, 409))["code"] == "plan_expired"
        assert (await plane.post(f"/plans/{plan['plan_id']}/reject", status=409))["code"] == "plan_expired"

    async def test_one_plan_at_a_time_for_a_place(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0", "v1.1.0")
        first = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        second = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
        elsewhere = await plane.plan(f"deploy {sample.name} v1.1.0 to production")
        await plane.approve(first)
        assert await plane.state(second["plan_id"]) == "superseded"
        assert (await plane.approve(second, 409))["code"] == "plan_state"
        assert await plane.state(elsewhere["plan_id"]) == "pending_approval"
        third = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
        refused = await plane.approve(third, 409)
        assert refused["code"] == "busy"
        assert first["plan_id"] in refused["title"]
        await plane.approve(elsewhere)
        for plan in (first, elsewhere):
            assert (await plane.ended(await plane.run_of(plan["plan_id"])))["status"] == "completed"
        # Something serves there now, which it did not when the third one was made.
        assert (await plane.approve(third, 409))["code"] == "environment_changed"


class TestWorld:
    async def test_a_tag_that_was_moved_is_refused(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        sample.commit("evil", None, {"version": "evil"}, tag=False)
        sample.git("tag", "--force", "v1.0.0")
        refused = await plane.approve(plan, 409)
        assert refused["code"] == "tag_moved"
        assert plan["content"]["commit"][:12] in refused["title"]
        sample.git("tag", "--force", "v1.0.0", plan["content"]["commit"])
        await plane.approve(plan)
        assert (await plane.ended(await plane.run_of(plan["plan_id"])))["status"] == "completed"

    async def test_a_tag_that_is_gone_is_refused(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0")
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        sample.git("tag", "--delete", "v1.0.0")
        assert (await plane.approve(plan, 404))["code"] == "unknown_version"

    async def test_a_branch_that_advanced_is_a_warning_and_the_pinned_commit_is_deployed(
        self, plane: Plane, sample: Sample
    ) -> None:
        commit = sample.commit("one", None, {"version": "one"}, tag=False)
        await plane.add(sample)
        plan = await plane.plan(f"deploy branch main of {sample.name} to staging")
        sample.commit("two", None, {"version": "two"}, tag=False)
        approved = await plane.approve(plan)
        assert "branch_advanced" in [finding["code"] for finding in approved["findings"]]
        await plane.ended(await plane.run_of(plan["plan_id"]))
        assert await plane.ask(sample) == (200, "one")
        (release,) = (await plane.get("/releases", params={"service": sample.name}))["items"]
        assert release["commit"] == commit

    async def test_an_environment_that_changed_since_planning_is_refused(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0", "v1.1.0", "v1.2.0")
        await plane.deploy(sample, "v1.0.0")
        both = await plane.plan(f"deploy {sample.name} v1.1.0 to staging then production")
        await plane.deploy(sample, "v1.2.0", "production")
        refused = await plane.approve(both, 409)
        assert (refused["code"], await plane.state(both["plan_id"])) == ("plan_state", "superseded")
        again = await plane.plan(f"deploy {sample.name} v1.1.0 to staging then production")
        await plane.approve(again)
        run = await plane.ended(await plane.run_of(again["plan_id"]))
        assert run["status"] == "completed"
        assert await plane.ask(sample, environment="production") == (200, "v1.1.0")

    async def test_what_was_quarantined_since_planning_is_refused(self, plane: Plane, sample: Sample) -> None:
        await ready(plane, sample, "v1.0.0", "v1.1.0")
        await plane.deploy(sample, "v1.0.0")
        await plane.deploy(sample, "v1.1.0")
        plan = await plane.plan(f"deploy {sample.name} v1.1.0 to production")
        await plane.do(f"roll back {sample.name} in staging")
        assert (await plane.approve(plan, 409))["code"] == "quarantined"


async def test_findings_estimate_and_way_back_are_on_the_plan(plane: Plane, sample: Sample) -> None:
    await ready(plane, sample, "v1.0.0", "v1.1.0")
    await plane.deploy(sample, "v1.0.0")
    plan: dict[str, Any] = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
    (change,) = plan["changes"]
    assert (change["now"], change["then"]) == ("v1.0.0", "v1.1.0")
    assert [line.partition(" ")[2] for line in change["commits"]] == ["v1.1.0"]
    assert change["rollback"].startswith("v1.0.0 (release rel_")
    assert 1 < plan["estimate_s"] < 60
    assert plan["tier"] == 1
    assert plan["content"]["pins"][0]["version"] == "v1.0.0"
