"""Streams last as long as the token that asked for them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, TypeVar

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials

from interlock.core.errors import Forbidden
from interlock.core.scope import Scope
from interlock.faces.http.access import bearer
from interlock.tenancy.service import Tenancy

T = TypeVar("T")


async def token_of(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> str:
    return credentials.credentials if credentials else ""


CallerToken = Annotated[str, Depends(token_of)]


async def while_valid(tenancy: Tenancy, scope: Scope, token: str, events: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """``events``, each made when it is asked for. They end at once when the token is void: who was removed is told nothing
    more."""
    wanted, handed = asyncio.Semaphore(0), asyncio.Queue[T | None]()
    with tenancy.access(scope) as is_void:
        # Of its own: whoever reads may be cancelled at any moment, and a generator is closed by the task in which it runs.
        pump = asyncio.create_task(_pump(events, wanted, handed))
        ending = asyncio.create_task(_end(is_void, handed))
        try:
            with suppress(Forbidden):
                # It may have been voided between the request's own check and this one.
                await tenancy.authenticate(token, scope.origin)
                wanted.release()
                while (event := await handed.get()) is not None:
                    yield event
                    wanted.release()
                if pump.done():
                    pump.result()
        finally:
            pump.cancel()
            ending.cancel()


async def _pump(events: AsyncGenerator[T], wanted: asyncio.Semaphore, handed: asyncio.Queue[T | None]) -> None:
    try:
        async with aclosing(events):
            await wanted.acquire()
            async for event in events:
                handed.put_nowait(event)
                await wanted.acquire()
    finally:
        handed.put_nowait(None)


async def _end(is_void: asyncio.Event, handed: asyncio.Queue[T | None]) -> None:
    await is_void.wait()
    handed.put_nowait(None)
