"""Outside of its windows, or frozen, an environment takes nothing new; ways back and what is under way are left alone."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.people import people, refusals, rules, without_reactions
from harness.plane import MakePlane, Plane, until
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

MONDAYS = ["Mon 09:00-16:00 UTC"]
MONDAY = datetime(2027, 3, 1, 10, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)


class SetClock:
    """A clock that is set by hand, and goes on from there."""

    def __init__(self, moment: datetime) -> None:
        self.set(moment)

    def set(self, moment: datetime) -> None:
        self._moment, self._since = moment, datetime.now(UTC)

    def now(self) -> datetime:
        return self._moment + (datetime.now(UTC) - self._since)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


async def plane_with(make_plane: MakePlane, sample: Sample, clock: SetClock, *versions: str) -> Plane:
    plane = await make_plane(clock=clock)
    for version in versions:
        sample.release(version)
    await plane.add(sample)
    return plane


async def approve(plane: Plane, plan: dict[str, Any], status: int = 200, **said: Any) -> dict[str, Any]:
    body = {"content_hash": plan["content_hash"]} | said
    return await plane.post(f"/plans/{plan['plan_id']}/approve", body, status)


async def reached(plane: Plane, plan: dict[str, Any], state: str) -> dict[str, Any]:
    async def look() -> Any:
        found = await plane.get(f"/plans/{plan['plan_id']}")
        return found if found["state"] == state else None

    return await until(look, f"the plan is {state}")


async def test_outside_of_the_window_it_is_refused_with_when_it_opens(make_plane: MakePlane, sample: Sample) -> None:
    clock = SetClock(TUESDAY)
    plane = await plane_with(make_plane, sample, clock, "v1.0.0")
    await rules(plane, "production", windows=MONDAYS)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging then production")
    assert [terms["closed"] for terms in plan["terms"]] == ["", "outside of Mon 09:00-16:00 UTC"]
    refused = await approve(plane, plan, 409)
    assert (refused["code"], refused["details"]) == ("window_closed", {"opens_at": "2027-03-08T09:00:00.000Z"})
    assert "--when-open" in refused["hint"]
    assert (f"approve {plan['plan_id']}", "window_closed") in await refusals(plane)
    found = await plane.get(f"/plans/{plan['plan_id']}")
    assert (found["state"], found["approvals"]) == ("pending_approval", [])
    elsewhere = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    await approve(plane, elsewhere)
    await plane.ended(await plane.run_of(elsewhere["plan_id"]))


async def test_told_to_wait_it_starts_by_itself_when_the_window_opens(make_plane: MakePlane, sample: Sample) -> None:
    clock = SetClock(TUESDAY)
    plane = await plane_with(make_plane, sample, clock, "v1.0.0")
    await rules(plane, "production", windows=MONDAYS)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to production")
    waiting = await approve(plane, plan, when_open=True)
    assert (waiting["state"], waiting["waits"]) == ("approved", "window")
    assert "it opens at 2027-03-08T09:00:00.000Z" in waiting["reason"]
    await plane.stop()
    await plane.start()
    assert (await plane.get("/runs"))["items"] == []
    clock.set(MONDAY + timedelta(days=7))
    assert (await plane.ended(await plane.run_of(plan["plan_id"])))["status"] == "completed"
    types = [event["type"] for event in (await plane.get("/events", params={"subject": f"plan:{plan['plan_id']}"}))["items"]]
    assert "interlock.plan.due" in types


async def test_what_waited_is_not_started_into_a_world_that_changed(make_plane: MakePlane, sample: Sample) -> None:
    clock = SetClock(TUESDAY)
    plane = await plane_with(make_plane, sample, clock, "v1.0.0", "v1.1.0")
    await rules(plane, "production", windows=MONDAYS)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to production")
    await approve(plane, plan, when_open=True)
    urgent = await plane.plan(f"deploy {sample.name} v1.1.0 to production")
    await approve(plane, urgent, override="the shop is down")
    await plane.ended(await plane.run_of(urgent["plan_id"]))
    clock.set(MONDAY + timedelta(days=7))
    failed = await reached(plane, plan, "failed")
    assert failed["reason"].startswith("not run, environment_changed: v1.1.0 serves in production by now")
    assert await plane.ask(sample, environment="production") == (200, "v1.1.0")


async def test_what_waits_can_still_be_rejected(make_plane: MakePlane, sample: Sample) -> None:
    clock = SetClock(TUESDAY)
    plane = await plane_with(make_plane, sample, clock, "v1.0.0")
    await rules(plane, "production", windows=MONDAYS)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to production")
    await approve(plane, plan, when_open=True)
    await plane.post(f"/plans/{plan['plan_id']}/reject", {"reason": "changed my mind"})
    clock.set(MONDAY + timedelta(days=7))
    await plane.inside.queue.look(plane.inside.scope)
    assert await plane.state(plan["plan_id"]) == "rejected"
    assert (await plane.get("/runs"))["items"] == []


async def test_only_the_owner_overrides_and_the_reason_is_kept(make_plane: MakePlane, sample: Sample) -> None:
    plane = await plane_with(make_plane, sample, SetClock(TUESDAY), "v1.0.0")
    (maria,) = await people(plane, "maria")
    await plane.post("/environments/production/freeze", {"reason": "end of year"})
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to production")
    body = {"content_hash": plan["content_hash"], "override": "I may not"}
    assert (await maria.post(f"/plans/{plan['plan_id']}/approve", body, 403))["code"] == "owner_only"
    assert (await approve(plane, plan, 409))["code"] == "frozen"
    approved = await approve(plane, plan, override="the shop is down")
    assert approved["approvals"][0]["override"] == "the shop is down"
    assert (await plane.ended(await plane.run_of(plan["plan_id"])))["status"] == "completed"
    events = (await plane.get("/events", params={"subject": f"plan:{plan['plan_id']}"}))["items"]
    (event,) = [event for event in events if event["type"] == "interlock.plan.approved"]
    assert (event["originatingagent"], event["data"]["override"]) == ("user:owner", "the shop is down")


async def test_a_freeze_leaves_the_way_back_open_and_ends_with_the_thaw(make_plane: MakePlane, sample: Sample) -> None:
    plane = await plane_with(make_plane, sample, SetClock(TUESDAY), "v1.0.0", "v1.1.0", "v1.2.0")
    await plane.deploy(sample, "v1.0.0")
    await plane.deploy(sample, "v1.1.0")
    frozen = await plane.post("/environments/staging/freeze", {"until": "2027-12-27T00:00:00+01:00", "reason": "end of year"})
    assert (frozen["open"], frozen["opens_at"]) == (False, "2027-12-26T23:00:00.000Z")
    plan = await plane.plan(f"deploy {sample.name} v1.2.0 to staging")
    assert (await approve(plane, plan, 409))["title"].startswith("staging is frozen by owner: end of year")
    assert (await plane.do(f"roll back {sample.name} in staging"))["status"] == "completed"
    assert await plane.ask(sample) == (200, "v1.0.0")
    plan = await plane.plan(f"deploy {sample.name} v1.2.0 to staging")
    await approve(plane, plan, when_open=True)
    await plane.post("/environments/staging/thaw")
    assert (await plane.ended(await plane.run_of(plan["plan_id"])))["status"] == "completed"
    assert (await plane.post("/environments/staging/thaw", {}, 409))["code"] == "not_frozen"


async def test_a_freeze_does_not_hold_back_the_automatic_way_back(make_plane: MakePlane, sample: Sample) -> None:
    plane = await plane_with(make_plane, sample, SetClock(TUESDAY), "v1.0.0", "v1.1.0")
    await plane.deploy(sample, "v1.0.0")
    await plane.deploy(sample, "v1.1.0")
    await plane.post("/environments/staging/freeze", {})
    await rules(plane, "staging", not_requester=True)
    await plane.behave(sample, unhealthy=True)

    async def is_back() -> bool:
        return await plane.ask(sample) == (200, "v1.0.0")

    await until(is_back, "the old one serves again")


async def test_a_run_that_is_under_way_goes_on_when_the_window_closes(make_plane: MakePlane, sample: Sample) -> None:
    clock = SetClock(MONDAY)
    plane = await plane_with(make_plane, sample, clock, "v1.0.0")
    await rules(plane, "staging", windows=MONDAYS)
    run_id = await plane.begin(f"deploy {sample.name} v1.0.0 to staging")
    clock.set(MONDAY + timedelta(hours=6))
    await plane.post("/environments/staging/freeze", {})
    assert (await plane.ended(run_id))["status"] == "completed"


async def test_a_freeze_between_approval_and_start_stops_it(make_plane: MakePlane, sample: Sample) -> None:
    plane = await plane_with(make_plane, sample, SetClock(MONDAY), "v1.0.0")
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    without_reactions(plane)
    await approve(plane, plan)
    await plane.post("/environments/staging/freeze", {"reason": "move"})
    await plane.stop()
    await plane.start()
    failed = await reached(plane, plan, "failed")
    assert failed["reason"].startswith("not run, frozen: staging is frozen by owner: move")


@pytest.mark.parametrize(
    "until_", ["soon", "2027-01-01", "2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2027-12-01T00:00:00"]
)
async def test_a_freeze_ends_at_a_moment_to_come(make_plane: MakePlane, until_: str) -> None:
    plane = await make_plane(clock=SetClock(TUESDAY))
    assert (await plane.post("/environments/staging/freeze", {"until": until_}, 422))["code"] == "until"
