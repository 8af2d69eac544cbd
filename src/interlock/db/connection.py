"""Connections to SQLite that a cancelled task leaves in order."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from sqlite3 import connect as open_file
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiosqlite

T = TypeVar("T")

_held_back: WeakKeyDictionary[asyncio.Task[Any], asyncio.CancelledError] = WeakKeyDictionary()


class SteadyConnection(aiosqlite.Connection):
    """Holds a cancellation back while an operation is under way; `deliver_cancellation` raises it.

    SQLite works in a thread that nobody can interrupt. A task that went away in the middle would leave behind a connection
    that is still busy, and with it the writer's lock.
    """

    def __init__(self, opener: Callable[[], Connection]) -> None:
        super().__init__(opener, iter_chunk_size=64)
        # A process that ends by an error must not wait for connections that nobody closes any more.
        self._thread.daemon = True

    async def _execute(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        work: Coroutine[Any, Any, T] = super()._execute(fn, *args, **kwargs)  # pyright: ignore[reportUnknownMemberType]
        return await to_its_end(work)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Call ``work`` with the connection itself, in its thread: one change of threads for whatever it does there."""
        return await self._execute(lambda: work(self._conn))

    async def _connect(self) -> aiosqlite.Connection:
        return await to_its_end(super()._connect())


async def connect(file: Path, *pragmas: str) -> SteadyConnection:
    """Open ``file`` for whoever says himself where a transaction begins."""
    connection = SteadyConnection(partial(_open, file, pragmas))
    await connection
    return connection


def _open(file: Path, pragmas: Iterable[str]) -> Connection:
    connection = open_file(file, isolation_level=None)
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *pragmas):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def deliver_cancellation() -> None:
    """Raises CancelledError when the current task was cancelled while it waited for a connection."""
    current = asyncio.current_task()
    if current is not None and (cancellation := _held_back.pop(current, None)) is not None:
        raise cancellation


async def to_its_end(work: Awaitable[T]) -> T:
    """Wait for ``work`` to its end, whatever happens to the current task meanwhile; see `deliver_cancellation`."""
    operation, current = asyncio.ensure_future(work), asyncio.current_task()
    while not operation.done():
        try:
            await asyncio.wait([operation])
        except asyncio.CancelledError as cancellation:
            if current is not None:
                _held_back[current] = cancellation
    return operation.result()
