"""Namespaces as files of SQLite: ``tenants/<tenant>.db`` and ``control.db`` below one folder."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, StaticPool

from interlock.core.errors import Invalid
from interlock.db.connection import SteadyConnection, connect
from interlock.db.migrate import migrate
from interlock.db.namespaces import CONTROL, QUICK, Kind, begin_with

T = TypeVar("T")

READERS = 4
"""Connections for reading that a namespace keeps open; at need it opens more."""

# Codes of SQLite that mean "the storage does not take it now", not "the statement is wrong".
_STORAGE_ERRORS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_BEGIN = "BEGIN IMMEDIATE"
"""Of whoever writes: it waits here, and not in the middle, where it could not be helped."""


class SqliteFiles:
    """`namespaces.Store` on a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, name: str) -> Path:
        """Where a namespace is stored: ``name`` is `CONTROL` or a tenant. Raises Invalid ``namespace``."""
        if not _NAME.fullmatch(name):
            raise Invalid("namespace", f"{name!r} cannot name a namespace", hint="lower-case letters, digits, - and _")
        return self._folder / "control.db" if name == CONTROL else self._folder / "tenants" / f"{name}.db"

    def open(self, name: str) -> "SqliteFile":
        return SqliteFile(self.file(name))

    def migrate(self, name: str, kind: Kind) -> None:
        migrate(self.file(name), kind)


class SqliteFile:
    """`namespaces.Namespace` on a file: one connection for whoever has the turn to write, and some for readers."""

    def __init__(self, file: Path) -> None:
        self.where = str(file)
        self.turns = asyncio.Lock()
        self._file = file
        self._steady: SteadyConnection | None = None
        self._plain: Connection | None = None
        self._writer = create_async_engine(
            "sqlite+aiosqlite://", async_creator=self._open_writer, poolclass=StaticPool, **QUICK
        )
        self._readers = create_async_engine(
            "sqlite+aiosqlite://",
            async_creator=partial(connect, file, "query_only=ON"),
            poolclass=AsyncAdaptedQueuePool,
            pool_size=READERS,
            max_overflow=-1,
            **QUICK,
        )
        begin_with(self._writer.sync_engine, _BEGIN)
        begin_with(self._readers.sync_engine, "BEGIN")

    async def _open_writer(self) -> SteadyConnection:
        self._steady = await connect(self._file)
        return self._steady

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[AsyncConnection]:
        try:
            async with self._writer.begin() as connection:
                yield connection
        except BaseException:
            # A commit that is refused leaves its transaction open, which would be in the way of the next one.
            if self._steady is not None and self._steady.in_transaction:
                await self._steady.rollback()
            raise

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._readers.begin()

    async def transact(self, work: Callable[[Connection], T]) -> T:
        if self._steady is None:
            async with self._writer.connect():
                pass
        return await cast("SteadyConnection", self._steady).run(partial(self._transact, work))

    def _transact(self, work: Callable[[Connection], T], raw: sqlite3.Connection) -> T:
        if self._plain is None:
            engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, **QUICK)
            begin_with(engine, _BEGIN)
            self._plain = engine.connect()
        try:
            with self._plain.begin():
                return work(self._plain)
        except BaseException:
            if raw.in_transaction:
                raw.rollback()
            raise

    def is_of_storage(self, error: DBAPIError) -> bool:
        # The primary result code is the low byte: SQLite's extended codes (IOERR_WRITE, …) share it.
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _STORAGE_ERRORS

    async def dispose(self) -> None:
        async with self.turns:
            self._plain = self._steady = None
            await self._writer.dispose()
        await self._readers.dispose()
