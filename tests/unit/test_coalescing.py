"""Whoever asks the same within a moment shares the answer."""

import asyncio

import pytest

from interlock.delivery.logs.coalescing import Coalescing
from interlock.testing.clocks import ManualClock


class World:
    """Answers with how often it was asked, once it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.at_once = 0
        self.most_at_once = 0
        self.may_answer = asyncio.Event()

    async def ask(self) -> int:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.may_answer.wait()
        finally:
            self.at_once -= 1
        return self.asked


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def shared(clock: ManualClock) -> Coalescing[str, int]:
    return Coalescing(clock, keep_s=1.0, keep=3, at_once=2)


async def test_many_who_ask_the_same_ask_once(shared: Coalescing[str, int], clock: ManualClock) -> None:
    world = World()
    world.may_answer.set()
    assert await asyncio.gather(*(shared.get("a", world.ask) for _ in range(50))) == [1] * 50
    assert await shared.get("a", world.ask) == 1
    clock.advance(1.1)
    assert await shared.get("a", world.ask) == 2
    assert shared.asked == 2


async def test_who_leaves_does_not_take_the_answer_from_the_others(shared: Coalescing[str, int]) -> None:
    world = World()
    first, second = (asyncio.create_task(shared.get("a", world.ask)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    world.may_answer.set()
    assert await second == 1


async def test_a_failure_is_not_kept(shared: Coalescing[str, int]) -> None:
    async def fail() -> int:
        raise OSError("ill")

    outcomes = await asyncio.gather(*(shared.get("a", fail) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError] * 3
    world = World()
    world.may_answer.set()
    assert await shared.get("a", world.ask) == 1


async def test_the_load_is_bounded_however_different_the_questions(shared: Coalescing[str, int]) -> None:
    world = World()
    asking = [asyncio.create_task(shared.get(str(number), world.ask)) for number in range(20)]
    await asyncio.sleep(0.01)
    world.may_answer.set()
    await asyncio.gather(*asking)
    assert world.asked == 20
    assert world.most_at_once == 2
