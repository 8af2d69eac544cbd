"""What has traffic while its run waits for a person is watched, and the run is told."""

import pytest
import pytest_asyncio

from harness.judging import NEW, OLD, Judged
from interlock.core.addresses import local
from interlock.core.errors import Conflict
from interlock.delivery.model import Share, evenly
from interlock.delivery.ports import Leg
from interlock.delivery.steps import analysing, watching
from interlock.inbox.model import Item
from service.test_standing_watcher import AT_ONCE, looks, requests


@pytest_asyncio.fixture
async def judged(database, scope) -> Judged:
    """The new release has a part of the traffic, as a canary."""
    made = Judged(database, scope)
    await made.begin(AT_ONCE)
    await made.deploy("new", (NEW,), AT_ONCE)
    candidate = made.place.candidate_port
    await made.forwarder.point(Leg(route="shop.staging", kind="candidate", port=candidate), evenly([local(NEW)]), "c1")
    await made.serves("old", (Share(port=candidate, percent=40), Share(port=OLD, percent=60)))
    made.forwarder.upstreams |= {OLD: 200, NEW: 200}
    return made


async def ask(judged: Judged, database, options: tuple[str, ...] = analysing.OPTIONS, run: str = "run_1") -> Item:
    """The run waits."""
    async with database.write(judged.scope) as session:
        return await judged.inbox.ask(session, "question", f"run:{run}/task-1", "Go on?", options, {"asked": 7})


async def answer_to(judged: Judged, item: Item) -> str:
    return (await judged.inbox.get(judged.scope, item.item_id)).answer


async def test_a_canary_that_gets_ill_is_found_by_its_run_and_nobody_is_asked_any_more(judged: Judged, database) -> None:
    item = await ask(judged, database)
    judged.web.says[NEW] = 500
    (incident,) = await looks(judged)
    assert (incident.deployment_id, incident.found_by) == ("dep_new", "run")
    assert await answer_to(judged, item) == "abort"
    with pytest.raises(Conflict) as error:
        await judged.analysing.analyse(judged.context(judged.analysis(), answer="abort"))
    assert error.value.code == "analysis_failed", "the way back holds it against the release"


async def test_a_canary_that_fails_requests_is_too(judged: Judged, database) -> None:
    item = await ask(judged, database)
    await looks(judged, 1)
    judged.forwarder.upstreams[NEW] = 500
    requests(judged)
    (incident,) = await looks(judged, 1)
    assert "40 of 40 requests failed" in incident.title
    assert await answer_to(judged, item) == "abort"


async def test_requests_that_fail_on_both_sides_are_no_fault_of_the_canary(judged: Judged, database) -> None:
    item = await ask(judged, database)
    await looks(judged, 1)
    judged.forwarder.upstreams |= {OLD: 500, NEW: 500}
    requests(judged)
    found = await looks(judged)
    assert {(incident.deployment_id, incident.found_by) for incident in found} == {("dep_old", "watch")}
    assert await answer_to(judged, item) == ""


async def test_a_canary_that_somebody_stopped_is_left_to_whoever_is_asked(judged: Judged, database) -> None:
    item = await ask(judged, database)
    await judged.host.stop(f"new-{NEW}")
    judged.web.says[NEW] = 0
    assert await looks(judged) == []
    assert await answer_to(judged, item) == ""


async def test_a_verdict_whose_answer_was_lost_is_answered_later(judged: Judged, database) -> None:
    deployment = await judged.delivery.deployment(judged.scope, "dep_new")
    await judged.incidents.open(judged.scope, deployment, "it failed", {})
    item = await ask(judged, database)
    await looks(judged, 1)
    assert await answer_to(judged, item) == "abort"


async def test_one_whose_watch_waits_is_stopped(judged: Judged, database) -> None:
    await judged.serves("new", evenly([local(NEW)]))
    item = await ask(judged, database, watching.OPTIONS)
    judged.web.says[NEW] = 500
    (incident,) = await looks(judged)
    assert incident.found_by == "run"
    assert await answer_to(judged, item) == "stop"


@pytest.mark.parametrize(("options", "run"), [(("it happened", "give up"), "run_1"), (analysing.OPTIONS, "run_2")])
async def test_what_waits_for_something_else_is_left_alone(judged: Judged, database, options, run) -> None:
    item = await ask(judged, database, options, run)
    judged.web.says[NEW] = 500
    assert await looks(judged) == []
    assert await answer_to(judged, item) == ""


async def test_without_a_question_its_run_judges_it_alone(judged: Judged) -> None:
    judged.web.says[NEW] = 500
    assert await looks(judged) == []
