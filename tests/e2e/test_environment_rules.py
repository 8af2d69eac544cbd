"""The rules of environments, with several people: who approves and how many, and who may change what."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.people import Person, people, refusals, rules, without_reactions
from harness.plane import MakePlane, Plane, until
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

TWO_OF_TWO = {"approvals": 2, "approvers": ["maria", "jonas"], "not_requester": True}


@pytest_asyncio.fixture(loop_scope="module")
async def team(plane: Plane) -> AsyncIterator[list[Person]]:
    """Maria and Jonas, who may approve for production, and Lena, who may not."""
    team = await people(plane, "maria", "jonas", "lena")
    await rules(plane, "production", **TWO_OF_TWO)
    yield team
    await rules(plane, "production", approvals=1, approvers=[], not_requester=False)
    for person in team:
        await plane.call("DELETE", f"/users/{person.name}", None)


async def ready(plane: Plane, sample: Sample, *versions: str) -> None:
    for version in versions or ("v1.0.0",):
        sample.release(version)
    await plane.add(sample)


class TestPeople:
    async def test_a_token_is_told_once_and_stored_nowhere(self, make_plane: MakePlane) -> None:
        plane = await make_plane()
        (maria,) = await people(plane, "maria")
        assert maria.token.startswith("ilk_")
        assert (await maria.get("/users"))["items"][1]["name"] == "maria"
        (added,) = (await plane.get("/events", params={"subject": "user:maria"}))["items"]
        assert added["data"] == {"name": "maria", "role": "member"}
        await plane.stop()
        files = [file for file in plane.home.rglob("*") if file.is_file()]
        assert not [file for file in files if maria.token.encode() in file.read_bytes()]
        await plane.start()

    async def test_who_is_removed_is_nobody(self, make_plane: MakePlane) -> None:
        plane = await make_plane()
        (maria,) = await people(plane, "maria")
        await plane.call("DELETE", "/users/maria")
        assert (await maria.get("/plans", 401))["code"] == "unauthenticated"
        assert (await plane.call("DELETE", "/users/maria", 404))["code"] == "user"
        (again,) = await people(plane, "maria")
        assert await again.get("/plans")
        assert (await maria.get("/plans", 401))["code"] == "unauthenticated"

    async def test_names_are_checked_and_the_owner_stays(self, plane: Plane, team: list[Person]) -> None:
        assert (await plane.call("PUT", "/users/maria", 409))["code"] == "user_exists"
        assert (await plane.call("PUT", "/users/owner", 409))["code"] == "user_exists"
        assert (await plane.call("PUT", "/users/user:owner", 422))["code"] == "user_name"
        assert (await plane.call("DELETE", "/users/owner", 409))["code"] == "owner_stays"

    async def test_a_member_changes_no_rules_and_adds_nobody(self, plane: Plane, team: list[Person], sample: Sample) -> None:
        maria = team[0]
        asked = [
            maria.call("PATCH", "/environments/production", 403, json={"approvals": 1}),
            maria.post("/environments/production/freeze", {}, 403),
            maria.post("/environments/production/thaw", {}, 403),
            maria.call("PUT", "/users/otto", 403),
            maria.call("DELETE", "/users/jonas", 403),
            maria.post("/services", {"name": "mine", "repository": str(sample.path)}, 403),
            maria.call("PUT", "/services/mine/watch", 403, json={}),
            maria.post("/quarantine/x/y/lift", {}, 403),
        ]
        assert [(await answer)["code"] for answer in asked] == ["owner_only"] * len(asked)
        assert (await maria.get("/environments"))["items"][1]["approvals"] == 2
        events = (await plane.get("/events", params={"subject": "access:refused"}))["items"]
        refused = [(event["originatingagent"], event["data"]["doing"]) for event in events]
        assert len(refused) >= len(asked), "each is on the record"
        tried = ("freeze production", "register services", "set thresholds", "lift a quarantine")
        assert {("user:maria", doing) for doing in tried} <= set(refused)

    @pytest.mark.parametrize(
        ("said", "code"),
        [
            ({"approvers": ["otto"]}, "approvers"),
            ({"approvers": ["maria"], "approvals": 2}, "too_few_approvers"),
            ({"approvers": ["maria", "maria"]}, "approvers"),
            ({"windows": ["whenever"]}, "window"),
            ({"approvals": 0}, "request"),
            ({"busy": "perhaps"}, "request"),
        ],
    )
    async def test_rules_that_nobody_could_fulfil_are_refused(
        self, plane: Plane, team: list[Person], said: dict[str, object], code: str
    ) -> None:
        before = await plane.get("/environments/production")
        assert (await plane.call("PATCH", "/environments/production", 422, json=said))["code"] == code
        assert await plane.get("/environments/production") == before

    async def test_a_change_of_rules_is_on_the_record(self, make_plane: MakePlane) -> None:
        plane = await make_plane()
        await rules(plane, "staging", busy="wait", approvals=1)
        await rules(plane, "staging", busy="wait")
        await plane.post("/environments/staging/freeze", {"reason": "move"})
        await plane.post("/environments/staging/thaw")
        events = (await plane.get("/events", params={"subject": "environment:staging"}))["items"]
        assert [event["type"].removeprefix("interlock.environment.") for event in events] == [
            "rules_changed",
            "frozen",
            "thawed",
        ]
        assert events[0]["data"]["changed"] == {"busy": ["refuse", "wait"]}
        assert (await plane.get("/environments/staging"))["busy"] == "wait"
        assert (await plane.get("/audit/verify"))["ok"]


class TestApprovals:
    async def test_two_people_who_did_not_ask_for_it(self, plane: Plane, team: list[Person], sample: Sample) -> None:
        maria, jonas, lena = team
        await ready(plane, sample)
        plan = await maria.plan(f"deploy {sample.name} v1.0.0 to production")
        assert plan["missing"] == "0 of 2 approvals; jonas"
        await rules(plane, "production", approvals=1)
        assert (await maria.approve(plan, 403))["code"] == "requester"
        assert (await lena.approve(plan, 403))["code"] == "not_an_approver"
        assert (await plane.approve(plan, 403))["code"] == "not_an_approver", "the owner is not an approver by being the owner"
        assert (f"approve {plan['plan_id']}", "requester") in await refusals(plane)
        approved = await jonas.approve(plan)
        assert (approved["state"], [item["by"] for item in approved["approvals"]]) == ("approved", ["user:jonas"])
        assert (await plane.ended(await plane.run_of(plan["plan_id"])))["status"] == "completed"

    async def test_the_plan_waits_for_the_second_and_says_so(self, plane: Plane, team: list[Person], sample: Sample) -> None:
        maria, jonas, lena = team
        await ready(plane, sample)
        plan = await lena.plan(f"deploy {sample.name} v1.0.0 to staging then production")
        assert plan["missing"] == "staging: 0 of 1 approval; anybody / production: 0 of 2 approvals; maria or jonas"
        assert [terms["environment"] for terms in plan["terms"]] == ["staging", "production"]
        for _ in range(2):
            once = await maria.approve(plan)
            assert (once["state"], once["missing"]) == ("pending_approval", "production: 1 of 2 approvals; jonas")
            assert [item["by"] for item in once["approvals"]] == ["user:maria"], "one person counts once"
        (item,) = await plane.inbox(sample)
        assert item["details"]["missing"] == "production: 1 of 2 approvals; jonas"
        assert (await plane.get("/runs", params={"plan": plan["plan_id"]}))["items"] == []
        await jonas.approve(plan)
        assert (await plane.ended(await plane.run_of(plan["plan_id"])))["status"] == "completed"
        assert await plane.inbox(sample) == []
        events = (await plane.get("/events", params={"subject": f"plan:{plan['plan_id']}"}))["items"]
        signed = [(event["type"].removeprefix("interlock."), event["originatingagent"]) for event in events]
        assert ("plan.signed", "user:maria") in signed
        assert ("plan.approved", "user:jonas") in signed

    async def test_a_rejection_by_one_approver_ends_it(self, plane: Plane, team: list[Person], sample: Sample) -> None:
        maria, jonas, lena = team
        await ready(plane, sample)
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to production")
        await maria.approve(plan)
        assert (await lena.post(f"/plans/{plan['plan_id']}/reject", {}, 403))["code"] == "not_an_approver"
        await jonas.post(f"/plans/{plan['plan_id']}/reject", {"reason": "not on a Friday"})
        assert await plane.state(plan["plan_id"]) == "rejected"
        assert (await jonas.approve(plan, 409))["code"] == "plan_state"

    async def test_who_is_removed_has_not_approved(self, plane: Plane, team: list[Person], sample: Sample) -> None:
        maria, jonas, _ = team
        await ready(plane, sample)
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to production")
        await maria.approve(plan)
        await plane.call("DELETE", "/users/maria")
        (maria,) = await people(plane, "maria")
        assert (await jonas.approve(plan))["missing"] == "1 of 2 approvals; maria"
        await maria.approve(plan)
        assert (await plane.ended(await plane.run_of(plan["plan_id"])))["status"] == "completed"

    async def test_what_the_inbox_says_follows_the_rules(self, plane: Plane, team: list[Person], sample: Sample) -> None:
        await ready(plane, sample)
        await plane.plan(f"deploy {sample.name} v1.0.0 to production")
        await rules(plane, "production", approvals=1)

        async def says() -> bool:
            return (await plane.inbox(sample))[0]["details"]["missing"] == "0 of 1 approval; maria or jonas"

        await until(says, "the inbox says what is asked by now")

    @pytest.mark.parametrize("tightened", [{"approvals": 2}, {"not_requester": True}, {"approvers": ["jonas"]}])
    async def test_rules_that_were_tightened_since_the_approval_stop_the_run(
        self, make_plane: MakePlane, sample: Sample, tightened: dict[str, object]
    ) -> None:
        plane = await make_plane()
        await people(plane, "jonas")
        await ready(plane, sample)
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to production")
        without_reactions(plane)
        assert (await plane.approve(plan))["state"] == "approved"
        await rules(plane, "production", **tightened)
        await plane.stop()
        await plane.start()

        async def failed() -> bool:
            return await plane.state(plan["plan_id"]) == "failed"

        await until(failed, "the plan has failed")
        reason = (await plane.get(f"/plans/{plan['plan_id']}"))["reason"]
        assert reason.startswith(f"not run, approvals_missing: the approvals of {plan['plan_id']} are not enough any more: ")
        assert f"interlock plan 'deploy {sample.name} v1.0.0 to production'" in reason
        assert (f"run {plan['plan_id']}", "approvals_missing") in await refusals(plane)
        assert (await plane.get("/runs"))["items"] == []


async def test_a_plan_says_what_becomes_different_in_the_recipe(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    sample.release("v1.1.0", {"env": {"MODE": "new"}, "health": {"path": "/health", "interval": 0.2}})
    await plane.add(sample)
    first = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    assert first["changes"][0]["recipe"] == []
    await plane.approve(first)
    await plane.ended(await plane.run_of(first["plan_id"]))
    second = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
    changed = {item["field"]: (item["now"], item["then"]) for item in second["changes"][0]["recipe"]}
    assert changed["env.MODE"] == ("", "set")
    assert changed["health.interval_s"] == ("0.1", "0.2")
