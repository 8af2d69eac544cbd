"""The inbox: one place where people are asked, and each question answered once."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from harness.engine import Engine, run_of, task
from harness.stores import ON_BOTH
from interlock.core.errors import Conflict, Invalid, NotFound, Unavailable
from interlock.core.signals import NeedsApproval
from interlock.db.database import STORAGE
from interlock.events.model import Envelope
from interlock.events.service import Events
from interlock.inbox.contracts import ItemAnswered
from interlock.inbox.model import Item
from interlock.inbox.service import Inbox
from interlock.runs import model as m
from interlock.runs.contracts import RunEnded, TaskAsks
from interlock.runs.feed import JournalFeed
from interlock.runs.handlers import RunHandlers

pytestmark = ON_BOTH


@pytest.fixture
def events(database, clock) -> Events:
    return Events(database, clock)


@pytest.fixture
def inbox(database, events, clock) -> Inbox:
    return Inbox(database, events, clock)


async def ask(inbox: Inbox, database, scope, subject: str = "plan:1", title: str = "Deploy?", options=("yes", "no")) -> Item:
    async with database.write(scope) as session:
        return await inbox.ask(session, "approval", subject, title, options, {"why": "because"})


async def told(events: Events, scope, subject: str = "plan:1") -> list[str]:
    return [event.event_type for event in await events.about(scope, subject)]


async def test_asking_again_does_not_ask_twice(inbox, database, scope, events):
    first = await ask(inbox, database, scope)
    assert await ask(inbox, database, scope) == first
    other = await ask(inbox, database, scope, title="Really?")
    assert [item.item_id for item in await inbox.listing(scope)] == [other.item_id, first.item_id]
    assert await told(events, scope) == ["inbox.opened", "inbox.opened"]


async def test_an_answer_is_one_of_the_options_and_given_once(inbox, database, scope, events):
    item = await ask(inbox, database, scope)
    with pytest.raises(Invalid, match="choose one of: yes, no"):
        await inbox.answer(scope, item.item_id, "perhaps")
    answered = await inbox.answer(scope, item.item_id, "yes")
    assert (answered.state, answered.answer, answered.answered_by) == ("answered", "yes", "user:owner")
    assert await inbox.get(scope, item.item_id) == answered
    with pytest.raises(Conflict, match="user:owner answered 'yes'"):
        await inbox.answer(scope, item.item_id, "no")
    with pytest.raises(NotFound):
        await inbox.answer(scope, "item_unknown", "yes")
    assert await told(events, scope) == ["inbox.opened", "inbox.answered"]
    again = await ask(inbox, database, scope)
    assert again.item_id != item.item_id, "a settled question can be asked anew"


async def test_what_settles_itself_is_withdrawn(inbox, database, scope, events):
    mine = await ask(inbox, database, scope, "run:1/a")
    neighbour = await ask(inbox, database, scope, "run:10/a")
    async with database.write(scope) as session:
        await inbox.withdraw_below(session, "run:1/", "the run has ended")
        await inbox.withdraw_below(session, "run:1/", "the run has ended")
    assert [item.item_id for item in await inbox.listing(scope)] == [neighbour.item_id]
    with pytest.raises(Conflict, match="withdrawn"):
        await inbox.answer(scope, mine.item_id, "yes")
    async with database.write(scope) as session:
        await inbox.withdraw(session, "run:10/a", "so it is")
    assert await inbox.listing(scope) == []
    assert len(await inbox.listing(scope, state=None)) == 2
    assert await told(events, scope, "run:1/a") == ["inbox.opened", "inbox.withdrawn"]


async def test_an_alarm_takes_no_answer(inbox, database, scope):
    item = await ask(inbox, database, scope, options=())
    with pytest.raises(Invalid, match="closes when the matter is settled"):
        await inbox.answer(scope, item.item_id, "yes")


@pytest.fixture
def engine(database, scope) -> Engine:
    """An engine whose task asks twice."""

    async def body(context) -> dict[str, str]:
        if context.attempt < 3:
            raise NeedsApproval("Go on?", ("continue", "stop"))
        return {"answer": context.answer}

    return Engine(database, scope, executors={"work": body})


@pytest.fixture
def handlers(database, inbox, engine) -> RunHandlers:
    return RunHandlers(database, inbox, engine.runs)


@pytest_asyncio.fixture
async def asking(database, scope, events, handlers, engine) -> AsyncIterator[Engine]:
    """The engine, with the inbox joined to it as in the product."""
    journal = JournalFeed(database)
    events.subscribe("asks", handlers.task_asks, TaskAsks, feed=journal)
    events.subscribe("finished", handlers.run_finished, RunEnded, feed=journal)
    events.subscribe("answers", handlers.item_answered, ItemAnswered)
    dispatch = asyncio.create_task(events.dispatch(scope))
    yield engine
    dispatch.cancel()
    await asyncio.gather(dispatch, return_exceptions=True)
    await engine.driver.close()


async def open_items(inbox: Inbox, events: Events, scope, count: int) -> list[Item]:
    """What is open in the inbox, once it is ``count`` items."""
    async with asyncio.timeout(20):
        while len(found := await inbox.listing(scope)) != count:
            events.wake()
            await asyncio.sleep(0.01)
    return found


async def next_item(inbox: Inbox, events: Events, scope) -> Item:
    return (await open_items(inbox, events, scope, 1))[0]


async def journal_events(engine: Engine, scope) -> list[Envelope]:
    return [event for _, event in await JournalFeed(engine.database).after(scope, 0, 100) if event]


async def test_a_task_asks_through_the_inbox_and_gets_its_answer(asking, inbox, events, scope):
    await asking.driver.submit(run_of(task("a")))
    first = await next_item(inbox, events, scope)
    assert (first.kind, first.subject, first.options) == ("question", "run:run_1/a", ("continue", "stop"))
    await inbox.answer(scope, first.item_id, "continue")
    second = await next_item(inbox, events, scope)
    await inbox.answer(scope, second.item_id, "stop")
    events.wake()
    assert (await asking.ended()).tasks["a"].output == {"answer": "stop"}


async def test_an_answer_delivered_twice_does_not_answer_the_next_question(asking, handlers, inbox, events, scope):
    await asking.driver.submit(run_of(task("a")))
    first = await next_item(inbox, events, scope)
    await inbox.answer(scope, first.item_id, "continue")
    await next_item(inbox, events, scope)
    [answered] = [event for event in await events.about(scope, "run:run_1/a") if event.event_type == "inbox.answered"]
    await handlers.item_answered(scope, answered)
    state = await asking.state()
    assert (state.tasks["a"].status, state.tasks["a"].attempt) == (m.TaskStatus.WAITING, 2)
    [*_, asks] = await journal_events(asking, scope)
    await handlers.task_asks(scope, asks)
    assert len(await inbox.listing(scope)) == 1


async def test_no_answer_is_lost_when_a_question_is_delivered_again_after_its_answer(engine, handlers, inbox, events, scope):
    """The control plane died when the question was in the inbox, and was answered before that was delivered once more."""
    await engine.driver.submit(run_of(task("a")))
    for attempt, answer in enumerate(("continue", "stop"), 1):
        await engine.when(lambda state, attempt=attempt: state.tasks["a"].question and state.tasks["a"].attempt == attempt)
        asks = [event for event in await journal_events(engine, scope) if event.event_type == "run.task_asks"][-1]
        await handlers.task_asks(scope, asks)
        [item] = await inbox.listing(scope)
        await inbox.answer(scope, item.item_id, answer)
        await handlers.task_asks(scope, asks)
        assert await inbox.listing(scope) == [], "it was answered"
        answered = [event for event in await events.about(scope, "run:run_1/a") if event.event_type == "inbox.answered"][-1]
        for _ in range(2):
            await handlers.item_answered(scope, answered)
    assert (await engine.ended()).tasks["a"].output == {"answer": "stop"}
    await engine.driver.close()


async def test_an_item_that_is_still_open_is_not_taken_for_the_next_question(engine, handlers, inbox, database, scope):
    await engine.driver.submit(run_of(task("a")))
    state = await engine.when(lambda state: state.tasks["a"].question)
    async with database.write(scope) as session:
        details = {"asked": state.tasks["a"].question["asked"] - 1}
        await inbox.ask(session, "question", "run:run_1/a", "Go on?", ("continue", "stop"), details)
    [asks] = [event for event in await journal_events(engine, scope) if event.event_type == "run.task_asks"]
    await handlers.task_asks(scope, asks)
    [item] = await inbox.listing(scope)
    assert item.details["asked"] == state.tasks["a"].question["asked"]
    await engine.driver.close()


async def test_an_answer_waits_for_a_run_that_cannot_be_written_now_however_long(handlers, engine, inbox, database, scope):
    """Not given up after some tries, as what fails otherwise: the task would wait for ever."""
    await engine.driver.submit(run_of(task("a")))
    await engine.when(lambda state: state.tasks["a"].question)
    item = await ask(inbox, database, scope, "run:run_1/a")
    engine.driver._standing["run_1"] = "the disk is full"
    event: Any = SimpleNamespace(subject=item.subject, originating_agent="user:owner")
    event.data = {"item_id": item.item_id, "answer": "continue"}
    with pytest.raises(Unavailable) as refused:
        await handlers.item_answered(scope, event)
    assert refused.value.code == STORAGE
    await engine.driver.close()


async def test_a_run_that_ends_takes_its_questions_with_it(asking, handlers, inbox, events, scope):
    await asking.driver.submit(run_of(task("a")))
    await next_item(inbox, events, scope)
    await asking.driver.cancel("run_1", "user:owner", "enough")
    await asking.ended()
    await open_items(inbox, events, scope, 0)
    [asks] = [event for event in await journal_events(asking, scope) if event.event_type == "run.task_asks"]
    await handlers.task_asks(scope, asks)
    assert await inbox.listing(scope) == [], "a question delivered late is nobody's any more"
