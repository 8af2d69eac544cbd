"""Following a run: every event once and in order, however often the connection breaks."""

import asyncio
import random

import pytest

from harness.engine import Engine, run_of, task
from harness.stores import ON_BOTH
from interlock.core.errors import NotFound
from interlock.runs import model as m

pytestmark = ON_BOTH


@pytest.fixture
async def engine(database, scope):
    async def body(context):
        for number in range(3):
            await context.report(str(number))
            await asyncio.sleep(0.001)
        return {}

    found = Engine(database, scope, executors={"work": body})
    yield found
    await found.driver.close()


def graph():
    middle = [f"m{n}" for n in range(30)]
    return run_of(task("first"), *(task(name, "first") for name in middle), task("last", *middle))


async def follow(engine: Engine, pieces: random.Random | None) -> list[tuple[int, m.RunEvent]]:
    """All events of the run; with ``pieces``, the connection breaks again and again and resumes behind the last number."""
    seen: list[tuple[int, m.RunEvent]] = []
    while True:
        left = pieces.randrange(1, 20) if pieces else -1
        stream = engine.runs.follow(engine.scope, "run_1", seen[-1][0] if seen else 0)
        async for entry in stream:
            seen.append(entry)
            left -= 1
            if left == 0:
                break
        await stream.aclose()
        if seen and isinstance(seen[-1][1], m.RunFinished):
            return seen


async def test_nothing_is_lost_or_doubled_over_reconnects(engine):
    await engine.driver.submit(graph())
    async with asyncio.timeout(20):
        followers = [follow(engine, None), *(follow(engine, random.Random(seed)) for seed in range(5))]
        seen = await asyncio.gather(*followers)
    events = await engine.events()
    for one in seen:
        assert one == list(enumerate(events, 1))
    assert engine.runs._followers == {}, "who has left is forgotten"


async def test_followers_are_woken_by_the_commit(engine):
    await engine.driver.submit(graph())
    # Far less than the pause after which a follower looks by itself.
    async with asyncio.timeout(4):
        assert isinstance((await follow(engine, None))[-1][1], m.RunFinished)


async def test_a_run_that_has_ended_is_told_and_the_stream_ends(engine):
    await engine.driver.submit(run_of(task("a")))
    state = await engine.ended()
    async with asyncio.timeout(5):
        assert [seq async for seq, _ in engine.runs.follow(engine.scope, "run_1")] == list(range(1, state.seq + 1))
        assert [seq async for seq, _ in engine.runs.follow(engine.scope, "run_1", state.seq - 1)] == [state.seq]
        assert [seq async for seq, _ in engine.runs.follow(engine.scope, "run_1", state.seq)] == []


async def test_events_come_in_pages_behind_a_number(engine):
    await engine.driver.submit(run_of(task("a")))
    await engine.ended()
    first = await engine.runs.events(engine.scope, "run_1", limit=3)
    rest = await engine.runs.events(engine.scope, "run_1", after=first[-1][0])
    assert [event for _, event in first + rest] == await engine.events()


async def test_an_unknown_run_cannot_be_followed(engine):
    with pytest.raises(NotFound):
        [event async for event in engine.runs.follow(engine.scope, "run_9")]
    for use in (engine.runs.get(engine.scope, "run_9"), engine.runs.cancel(engine.scope, "run_9", "x")):
        with pytest.raises(NotFound):
            await use


async def test_the_list_has_pages_and_filters(engine):
    for number in range(5):
        await engine.driver.submit(
            run_of(task("a"), run_id=f"run_{number}", plan_id=f"plan_{number % 2}", role=f"role {number}")
        )
        await engine.ended(f"run_{number}")
    newest = await engine.runs.listing(engine.scope, limit=2)
    assert [run.run_id for run in newest] == ["run_4", "run_3"]
    assert [run.run_id for run in await engine.runs.listing(engine.scope, before=newest[-1].number)] == [
        "run_2",
        "run_1",
        "run_0",
    ]
    assert [run.run_id for run in await engine.runs.listing(engine.scope, plan_id="plan_1")] == ["run_3", "run_1"]
