"""Events: published with their change or not at all, and carried to every handler."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from harness.engine import Engine, run_of, task, until
from harness.stores import ON_BOTH
from interlock.core.errors import Conflict, Unavailable
from interlock.core.scope import Scope
from interlock.events import service
from interlock.events.model import Envelope, EventData
from interlock.events.service import Events
from interlock.runs.contracts import RunBegan, RunEnded
from interlock.runs.feed import JournalFeed

pytestmark = ON_BOTH


class Happened(EventData, frozen=True, kw_only=True):
    event_type = "test.happened"
    number: int


class Elsewhere(EventData, frozen=True, kw_only=True):
    event_type = "test.elsewhere"
    number: int


@pytest.fixture
def events(database, clock) -> Events:
    return Events(database, clock)


async def publish(events: Events, scope: Scope, *numbers: int, kind: type = Happened) -> None:
    async with events._database.write(scope) as session:
        for number in numbers:
            await events.publish(session, kind(number=number), subject="thing:1")


@asynccontextmanager
async def dispatching(events: Events, scope: Scope):
    dispatch = asyncio.create_task(events.dispatch(scope))
    yield
    dispatch.cancel()
    await asyncio.gather(dispatch, return_exceptions=True)


def collecting(into: list[int]) -> Callable[[Scope, Envelope], Awaitable[None]]:
    async def handle(_scope: Scope, event: Envelope) -> None:
        into.append(event.data["number"])

    return handle


async def test_an_event_exists_if_and_only_if_its_change_was_committed(events, scope, database):
    seen: list[int] = []
    events.subscribe("test", collecting(seen), Happened)
    async with dispatching(events, scope):
        with pytest.raises(Conflict):
            async with database.write(scope) as session:
                await events.publish(session, Happened(number=1), subject="thing:1")
                raise Conflict("no", "no")
        await publish(events, scope, 2)
        await until(lambda: seen)
    assert seen == [2]
    [envelope] = await events.about(scope, "thing:1")
    assert (envelope.event_type, envelope.originating_agent, envelope.correlation_id) == (
        "test.happened",
        "user:owner",
        "cor_test",
    )
    assert envelope.cloud_event("default")["specversion"] == "1.0"


async def test_handlers_get_their_types_in_order_and_without_waiting_for_each_other(events, scope):
    seen: dict[str, list[int]] = {"all": [], "one": []}
    events.subscribe("all", collecting(seen["all"]), Happened, Elsewhere)
    events.subscribe("one", collecting(seen["one"]), "test.elsewhere")
    numbers = list(range(450))
    await publish(events, scope, *numbers)
    await publish(events, scope, 1000, kind=Elsewhere)
    async with dispatching(events, scope):
        await until(lambda: len(seen["all"]) == 451 and seen["one"])
    assert seen == {"all": [*numbers, 1000], "one": [1000]}


async def test_a_handler_with_a_lane_of_its_own_holds_up_nobody(events, scope, database, clock):
    seen: dict[str, list[int]] = {"slow": [], "quick": []}
    gate = asyncio.Event()

    async def handle(_scope: Scope, event: Envelope) -> None:
        await gate.wait()
        seen["slow"].append(event.data["number"])

    events.subscribe("slow", handle, Happened, lane="slow")
    events.subscribe("quick", collecting(seen["quick"]), Happened)
    async with dispatching(events, scope):
        await publish(events, scope, 1)
        await until(lambda: seen["quick"] == [1])
        await publish(events, scope, 2)
        await until(lambda: seen["quick"] == [1, 2])
        assert seen["slow"] == []
        gate.set()
        await until(lambda: seen["slow"] == [1, 2])
        await publish(events, scope, 3)
        await until(lambda: seen == {"slow": [1, 2, 3], "quick": [1, 2, 3]})
    restarted = Events(database, clock)
    again: list[int] = []
    restarted.subscribe("slow", collecting(again), Happened, lane="slow")
    await publish(events, scope, 4)
    async with dispatching(restarted, scope):
        await until(lambda: again[-1:] == [4])
    # At least once: the first one may have ended between the last event and its place.
    assert again in ([4], [3, 4])


async def test_a_place_survives_a_restart(events, scope, database, clock):
    seen: list[int] = []
    events.subscribe("test", collecting(seen), Happened)
    await publish(events, scope, 1, 2)
    async with dispatching(events, scope):
        await until(lambda: len(seen) == 2)
        await asyncio.sleep(0.05)
    await publish(events, scope, 3)
    again: list[int] = []
    restarted = Events(database, clock)
    restarted.subscribe("test", collecting(again), Happened)
    async with dispatching(restarted, scope):
        await until(lambda: 3 in again)
    assert again == [3]


async def test_a_handler_that_fails_is_called_again_later_and_nothing_overtakes(events, scope, clock):
    calls: list[int] = []

    async def handle(_scope: Scope, event: Envelope) -> None:
        calls.append(event.data["number"])
        if calls.count(1) < 3:
            raise Unavailable("down", "down")

    events.subscribe("test", handle, Happened)
    await publish(events, scope, 1, 2)
    async with dispatching(events, scope):
        await until(lambda: calls == [1])
        events.wake()
        await asyncio.sleep(0.02)
        assert calls == [1], "it waits before it tries again"
        clock.advance(1.0)
        events.wake()
        await until(lambda: calls == [1, 1])
        clock.advance(1.9)
        events.wake()
        await asyncio.sleep(0.02)
        assert calls == [1, 1], "and longer each time"
        clock.advance(0.2)
        events.wake()
        await until(lambda: calls == [1, 1, 1, 2])
    assert await events.dead_letter_count(scope) == 0


async def test_what_goes_on_failing_becomes_a_dead_letter_and_the_rest_goes_on(events, scope, clock):
    calls: list[int] = []

    async def handle(_scope: Scope, event: Envelope) -> None:
        calls.append(event.data["number"])
        if event.data["number"] == 1:
            raise ValueError("poison")

    events.subscribe("test", handle, Happened)
    await publish(events, scope, 1, 2)
    async with dispatching(events, scope):
        for tries in range(1, service.MAX_TRIES):
            await until(lambda tries=tries: calls == [1] * tries)
            clock.advance(100.0)
            events.wake()
        await until(lambda: calls == [1] * service.MAX_TRIES + [2])
    assert await events.dead_letter_count(scope) == 1


async def test_an_event_is_not_given_up_while_the_disk_is_full(events, scope, clock):
    tries: list[int] = []

    async def handle(_scope: Scope, event: Envelope) -> None:
        tries.append(event.data["number"])
        if len(tries) <= service.MAX_TRIES + 3:
            raise Unavailable("storage", "the disk is full")

    events.subscribe("test", handle, Happened)
    await publish(events, scope, 1)
    async with dispatching(events, scope):
        for count in range(1, service.MAX_TRIES + 5):
            await until(lambda count=count: len(tries) == count)
            clock.advance(100.0)
            events.wake()
    assert await events.dead_letter_count(scope) == 0


async def test_dispatch_outlives_a_database_that_does_not_answer(events, scope, database, monkeypatch):
    monkeypatch.setattr(service, "IDLE_POLL_S", 0.02)
    seen: list[int] = []
    events.subscribe("test", collecting(seen), Happened)
    async with database.write(scope) as session:
        await session.connection.exec_driver_sql("alter table event_cursors rename to away")
    await publish(events, scope, 1)
    async with dispatching(events, scope):
        await asyncio.sleep(0.05)
        async with database.write(scope) as session:
            await session.connection.exec_driver_sql("alter table away rename to event_cursors")
        events.wake()
        await until(lambda: seen)


async def test_the_journal_is_a_feed_of_what_concerns_others(events, scope, database):
    seen: list[Envelope] = []

    async def handle(_scope: Scope, event: Envelope) -> None:
        seen.append(event)

    events.subscribe("runs", handle, RunBegan, RunEnded, feed=JournalFeed(database))
    engine = Engine(database, scope)
    async with dispatching(events, scope):
        await engine.driver.submit(run_of(task("a"), plan_id="plan_9"))
        await engine.ended()
        events.wake()
        await until(lambda: len(seen) == 2)
    await engine.driver.close()
    began, ended = seen
    assert (began.event_type, began.subject, began.correlation_id) == ("run.started", "run:run_1", "cor_test")
    assert (ended.event_type, ended.data["plan_id"], ended.data["status"]) == ("run.finished", "plan_9", "completed")
    assert len({event.event_id for event in seen}) == 2
    feed = JournalFeed(database)
    assert [event.event_id for _, event in await feed.after(scope, 0, 100) if event] == [event.event_id for event in seen]
