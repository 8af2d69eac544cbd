"""Sentences that cannot become a plan: each gets a question or a problem that says what to do, and leaves nothing behind."""

import pytest

from harness.plane import Plane
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def plan_count(plane: Plane) -> int:
    return len((await plane.get("/plans", params={"limit": 200}))["items"])


async def test_an_unknown_service_is_asked_about_with_the_known_ones(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    parsed = await plane.post("/commands/parse", {"text": "deploy nonesuch v1.0.0 to staging"})
    assert parsed["kind"] == "question"
    assert "nonesuch" in str(parsed["question"])
    assert await plan_count(plane) == 0


async def test_an_unknown_version_is_refused_with_the_nearest(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    sample.release("v1.4.0")
    await plane.add(sample)
    before = await plan_count(plane)
    answer = await plane.post("/commands/parse", {"text": f"deploy {sample.name} v1.4.9 to staging"}, None)
    assert "v1.4.0" in str(answer)
    assert answer.get("kind") == "question" or answer["code"] == "unknown_version"
    assert await plan_count(plane) == before


@pytest.mark.parametrize(
    "sentence",
    [
        "deploy {} v1.0.0",
        "deploy {} to staging",
        "do something with {} in staging",
        "deploy {} v1.0.0 to staging and paint it blue",
        "deploy {} v1.0.0 to staging unless it rains",
        "{} v1.0.0 staging",
        "",
        "   ",
    ],
)
async def test_what_is_unclear_or_not_covered_is_a_question(plane: Plane, sample: Sample, sentence: str) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    before = await plan_count(plane)
    parsed = await plane.post("/commands/parse", {"text": sentence.format(sample.name)})
    assert parsed["kind"] == "question", parsed["plan"]["text"]
    assert parsed["question"]["text"]
    assert await plan_count(plane) == before


async def test_every_word_that_was_not_understood_is_named(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    text = f"deploy {sample.name} v1.0.0 to staging and paint it blue"
    question = (await plane.post("/commands/parse", {"text": text}))["question"]
    assert "paint" in str(question)


async def test_a_preview_shows_the_plan_and_stores_nothing(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    before = await plan_count(plane)
    body = {"text": f"deploy {sample.name} v1.0.0 to staging", "preview": True}
    plan = (await plane.post("/commands/parse", body))["plan"]
    assert plan["content"]["graph"]["tasks"]
    assert await plan_count(plane) == before
    await plane.get(f"/plans/{plan['plan_id']}", 404)
    assert await plane.inbox(sample) == []


async def test_the_same_idempotency_key_gets_the_same_plan(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    before = await plan_count(plane)
    body, headers = {"text": f"deploy {sample.name} v1.0.0 to staging"}, {"Idempotency-Key": sample.name}
    first = await plane.post("/commands/parse", body, headers=headers)
    second = await plane.post("/commands/parse", body, headers=headers)
    assert first == second
    assert await plan_count(plane) == before + 1
    other = await plane.post("/commands/parse", {"text": "status"}, 422, headers=headers)
    assert other["code"] == "idempotency_key_reused"
    third = await plane.post("/commands/parse", body)
    assert third["plan"]["plan_id"] != first["plan"]["plan_id"]


async def test_an_idempotency_key_holds_for_an_approval_too(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    path, headers = f"/plans/{plan['plan_id']}/approve", {"Idempotency-Key": f"approve-{sample.name}"}
    body = {"content_hash": plan["content_hash"]}
    first = await plane.post(path, body, headers=headers)
    assert await plane.post(path, body, headers=headers) == first
    run = await plane.ended(await plane.run_of(plan["plan_id"]))
    assert run["status"] == "completed"


async def test_a_refused_request_is_on_the_record(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    text = f"roll back {sample.name} in staging"
    problem = await plane.refusal(text)
    assert problem["code"] == "nothing_serves"
    events = (await plane.get("/events", params={"subject": "plan:refused"}))["items"]
    assert (text, "nothing_serves") in [(event["data"]["text"], event["data"]["code"]) for event in events]
    assert (await plane.get("/audit/verify"))["ok"] is True


async def test_a_status_needs_no_plan(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    parsed = await plane.post("/commands/parse", {"text": f"status of {sample.name}"})
    assert parsed["kind"] == "status"
    assert {row["environment"]: row["serving"] for row in parsed["status"]} == {"staging": None, "production": None}


async def test_a_typing_error_in_a_known_name_is_corrected_and_said(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to stagign")
    assert plan["environments"] == ["staging"]
    assert "stagign" in str(plan["corrections"])
