"""Approval rules hold for the answers that go forward; whatever goes back is never reserved."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from e2e.conftest import environment
from e2e.test_drift import started_by_hand
from harness.people import Person, people, refusals, rules
from harness.plane import Plane, until
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = {
    "deploy": {
        "strategy": "canary",
        "steps": [{"percent": 40, "bake": 0.2}],
        "drain": "2s",
        "analysis": {"min_requests": 4},
    }
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    shared = Plane(tmp_path_factory.mktemp("plane"), environment(), drift_interval_s=0.2)
    await shared.start()
    yield shared
    await shared.stop()
    await shared.clear()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def team(plane: Plane) -> list[Person]:
    """Maria and Jonas, who approve for staging but not what they asked for, and Lena, who does not."""
    team = await people(plane, "maria", "jonas", "lena")
    await rules(plane, "staging", approvers=["maria", "jonas"], not_requester=True)
    return team


async def approved(asks: Person, approves: Person, text: str) -> str:
    plan = await asks.plan(text)
    await approves.approve(plan)
    return await asks.run_of(plan["plan_id"])


async def asked_about(plane: Plane, subject: str) -> dict[str, Any]:
    async def look() -> Any:
        return next((item for item in (await plane.get("/inbox"))["items"] if item["subject"].startswith(subject)), None)

    return await until(look, "a person is asked")


async def answer(person: Any, item: dict[str, Any], said: str, status: int = 200) -> dict[str, Any]:
    return await person.post(f"/inbox/{item['item_id']}/answer", {"answer": said}, status)


async def test_a_canary_in_doubt_is_promoted_by_somebody_who_could_have_approved_it_and_aborted_by_anybody(
    plane: Plane, sample: Sample, team: list[Person]
) -> None:
    maria, jonas, lena = team
    for version in ("v1.0.0", "v1.1.0", "v1.2.0"):
        sample.release(version, CANARY)
    await plane.add(sample)
    first = await approved(maria, jonas, f"deploy {sample.name} v1.0.0 to staging")
    assert (await plane.ended(first))["status"] == "completed"

    run_id = await approved(maria, jonas, f"deploy {sample.name} v1.1.0 to staging")
    item = await asked_about(plane, f"run:{run_id}/")
    assert item["options"] == ["look again", "promote", "abort"]
    refused = await answer(maria, item, "promote", 403)
    assert (refused["code"], refused["hint"]) == ("requester", "ask jonas; anybody may answer: look again, abort")
    assert refused["title"] == "maria asked for this plan, and somebody else has to answer 'promote'"
    refused = await answer(lena, item, "promote", 403)
    assert (refused["code"], refused["hint"]) == ("not_an_approver", "ask jonas; anybody may answer: look again, abort")
    assert (await answer(plane, item, "promote", 403))["code"] == "not_an_approver", "the owner is named like anybody else"
    assert (f"answer {item['item_id']}: promote", "requester") in await refusals(plane)
    assert (await answer(jonas, item, "promote"))["answered_by"] == "user:jonas"
    assert (await plane.ended(run_id))["status"] == "completed"

    run_id = await approved(maria, jonas, f"deploy {sample.name} v1.2.0 to staging")
    await answer(lena, await asked_about(plane, f"run:{run_id}/"), "abort")
    assert (await plane.ended(run_id))["error"]["code"] == "stopped_by_person"
    assert await plane.ask(sample) == (200, "v1.1.0")


async def test_drift_is_accepted_by_an_approver_and_healed_by_anybody(plane: Plane, sample: Sample, team: list[Person]) -> None:
    maria, jonas, lena = team
    sample.release("v1.0.0")
    await plane.add(sample)
    run_id = await approved(maria, jonas, f"deploy {sample.name} v1.0.0 to staging")
    assert (await plane.ended(run_id))["status"] == "completed"
    serving = await plane.serving(sample)
    assert serving is not None
    key = await started_by_hand(plane, serving)
    item = await asked_about(plane, f"drift:{sample.name}.staging")
    assert item["options"] == ["heal", "accept", "leave"]
    assert (await answer(lena, item, "accept", 403))["hint"] == "ask maria or jonas; anybody may answer: heal, leave"
    await answer(maria, item, "accept")

    async def accepted() -> bool:
        return not (await plane.get("/drift", params={"service": sample.name}))["items"]

    await until(accepted, "what was found is accepted")
    await plane.host.stop(key, 0)
    await plane.host.stop(serving["instances"][0]["key"], 1.0)
    await answer(lena, await asked_about(plane, f"drift:{sample.name}.staging"), "heal")

    async def healed() -> bool:
        return (await plane.ask(sample)) == (200, "v1.0.0")

    await until(healed, "it is healed")


async def test_without_rules_anybody_may_answer(plane: Plane, sample: Sample, team: list[Person]) -> None:
    *_, lena = team
    for version in ("v1.0.0", "v1.1.0"):
        sample.release(version, CANARY)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0", "production")
    run_id = await approved(lena, lena, f"deploy {sample.name} v1.1.0 to production")
    await answer(lena, await asked_about(plane, f"run:{run_id}/"), "promote")
    assert (await plane.ended(run_id))["status"] == "completed"
