"""A stream lasts as long as the token that asked for it, and leaves nothing behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
import pytest_asyncio

from interlock.core.errors import Unavailable
from interlock.events.service import Events
from interlock.faces.http.holding import while_valid
from interlock.tenancy.service import Tenancy


class Numbers:
    """Numbers without an end, of which each is made when it is asked for."""

    def __init__(self, stops_at: int = 10**9, fails_at: int = 10**9) -> None:
        self.made = 0
        self.is_closed = asyncio.Event()
        self._stops_at = stops_at
        self._fails_at = fails_at

    async def follow(self) -> AsyncGenerator[int]:
        try:
            while self.made < self._stops_at:
                if self.made == self._fails_at:
                    raise Unavailable("away", "it went away")
                self.made += 1
                yield self.made
            await asyncio.Event().wait()
        finally:
            self.is_closed.set()


@pytest_asyncio.fixture
async def tenancy(database, scope, clock) -> Tenancy:
    made = Tenancy(database, Events(database, clock), clock)
    await made.ensure_tenant(scope)
    return made


async def test_a_stream_ends_when_its_token_is_void_although_it_has_nothing_to_tell(tenancy, scope):
    _, token = await tenancy.add_user(scope, "maria")
    maria = await tenancy.authenticate(token, "test")
    numbers = Numbers(stops_at=2)
    seen: list[int] = []

    async def read() -> None:
        async for number in while_valid(tenancy, maria, token, numbers.follow()):
            seen.append(number)
            if number == 2:
                removing.set()

    removing = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(read())
        await removing.wait()
        await tenancy.remove_user(scope, "maria")
    assert seen == [1, 2]
    async with asyncio.timeout(20):
        await numbers.is_closed.wait()


async def test_one_that_was_voided_before_it_began_tells_nothing(tenancy, scope):
    _, token = await tenancy.add_user(scope, "maria")
    maria = await tenancy.authenticate(token, "test")
    await tenancy.remove_user(scope, "maria")
    await tenancy.add_user(scope, "maria")
    assert [number async for number in while_valid(tenancy, maria, token, Numbers().follow())] == []


async def test_nothing_is_made_before_it_is_asked_for_and_who_leaves_closes_it(tenancy, scope):
    token = await tenancy.issue_token(scope, scope.principal)
    numbers = Numbers()
    async with aclosing(while_valid(tenancy, scope, token, numbers.follow())) as events:
        assert [await anext(events) for _ in range(3)] == [1, 2, 3]
        await asyncio.sleep(0.05)
        assert numbers.made == 3
    async with asyncio.timeout(20):
        await numbers.is_closed.wait()


async def test_what_goes_wrong_in_it_is_raised(tenancy, scope):
    token = await tenancy.issue_token(scope, scope.principal)
    with pytest.raises(Unavailable):
        assert [number async for number in while_valid(tenancy, scope, token, Numbers(fails_at=1).follow())]
