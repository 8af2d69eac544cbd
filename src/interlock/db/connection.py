"""Connections to SQLite that a cancelled task leaves in order."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from sqlite3 import connect as open_file
from typing import Any, TypeVar

import aiosqlite

T = TypeVar("T")


class SteadyConnection(aiosqlite.Connection):
    """Ends the operation under way before it passes on a cancellation.

    SQLite works in a thread that nobody can interrupt. A task that went away in the middle would leave behind a connection that is
    still busy, and with it the writer's lock.
    """

    async def _execute(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await _to_its_end(super()._execute(fn, *args, **kwargs))

    async def _connect(self) -> aiosqlite.Connection:
        return await _to_its_end(super()._connect())


async def connect(file: Path) -> aiosqlite.Connection:
    """Open ``file``."""
    opener: Callable[[], Connection] = partial(open_file, file)
    return await SteadyConnection(opener, 64)


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        raise cancellation
    return task.result()
