"""The database: one namespace a tenant and one for control, each with one writer and many readers.

A namespace is an SQLite file (``tenants/<tenant>.db``, ``control.db``). A write session is one turn of the namespace's writer
queue: ``BEGIN IMMEDIATE``, its reads inside, nothing awaited but the database. Readers see the last committed state and are
never blocked. This is the only place that commits.
"""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool, StaticPool

from interlock.core.errors import Invalid, Unavailable
from interlock.core.scope import Scope
from interlock.db.connection import connect, deliver_cancellation
from interlock.db.session import Session

tenant_metadata = MetaData()
"""Tables that every tenant's namespace has; each slice's ``store.py`` adds its own."""

control_metadata = MetaData()
"""Tables of the one control namespace."""

CONTROL = "control"

STORAGE = "storage"
"""The code of the error that says that the disk does not take it now."""

READERS = 4
"""Connections for reading that a namespace keeps open; at need it opens more."""

BeforeCommit = Callable[[Session], Awaitable[None]]

# Codes of SQLite that mean "the storage does not take it now", not "the statement is wrong".
_STORAGE_ERRORS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def _engine(file: Path, begin: str, pool: type[Pool], *pragmas: str, **options: Any) -> AsyncEngine:
    engine = create_async_engine("sqlite+aiosqlite://", async_creator=partial(connect, file), poolclass=pool, **options)

    def on_connect(connection: Any, _record: Any) -> None:
        # The driver must not open transactions by itself: `begin` decides which kind it is.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine.sync_engine, "connect", on_connect)
    event.listen(engine.sync_engine, "begin", on_begin)
    return engine


class _Namespace:
    def __init__(self, file: Path) -> None:
        self.turns = asyncio.Lock()
        self.writer = _engine(file, "BEGIN IMMEDIATE", StaticPool)
        self.readers = _engine(file, "BEGIN", AsyncAdaptedQueuePool, "query_only=ON", pool_size=READERS, max_overflow=-1)

    async def dispose(self) -> None:
        # Whoever has the turn ends it first.
        async with self.turns:
            await self.writer.dispose()
        await self.readers.dispose()


class Database:
    """All namespaces below one folder. ``before_commit`` hooks run inside every write transaction, just before it commits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._namespaces: dict[str, _Namespace] = {}
        self._before_commit: list[BeforeCommit] = []

    def before_commit(self, hook: BeforeCommit) -> None:
        """Run ``hook`` in every write transaction before it commits; what it raises undoes the transaction."""
        self._before_commit.append(hook)

    def file(self, namespace: str) -> Path:
        """Where a namespace is stored: ``namespace`` is `CONTROL` or a tenant. Raises Invalid ``namespace``."""
        if not _NAME.fullmatch(namespace):
            raise Invalid("namespace", f"{namespace!r} cannot name a namespace", hint="lower-case letters, digits, - and _")
        if namespace == CONTROL:
            return self._folder / "control.db"
        return self._folder / "tenants" / f"{namespace}.db"

    def _open(self, namespace: str) -> _Namespace:
        if namespace not in self._namespaces:
            self._namespaces[namespace] = _Namespace(self.file(namespace))
        return self._namespaces[namespace]

    @contextlib.asynccontextmanager
    async def write(self, scope: Scope, namespace: str | None = None) -> AsyncGenerator[Session]:
        """One turn of the writer: commits at the end, undoes everything on an exception.

        A task that is cancelled while the database works ends its turn first. Raises Unavailable ``storage`` when the disk is
        full or does not answer; nothing was written then.
        """
        name = namespace or scope.tenant
        space = self._open(name)
        try:
            async with space.turns:
                with _storage_errors(self.file(name)):
                    async with space.writer.connect() as connection:
                        session = Session(scope, connection)
                        async with connection.begin():
                            yield session
                            for hook in self._before_commit:
                                await hook(session)
                        session.committed()
        finally:
            deliver_cancellation()

    @contextlib.asynccontextmanager
    async def read(self, scope: Scope, namespace: str | None = None) -> AsyncGenerator[AsyncConnection]:
        """A read-only snapshot of the last committed state. Raises Unavailable ``storage``."""
        name = namespace or scope.tenant
        space = self._open(name)
        try:
            with _storage_errors(self.file(name)):
                async with space.readers.begin() as connection:
                    yield connection
        finally:
            deliver_cancellation()

    async def close(self) -> None:
        """Close every connection."""
        for space in self._namespaces.values():
            await space.dispose()
        self._namespaces.clear()


@contextlib.contextmanager
def _storage_errors(file: Path):
    try:
        yield
    except (OperationalError, DBAPIError) as error:
        # The primary result code is the low byte: SQLite's extended codes (IOERR_WRITE, …) share it.
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code not in _STORAGE_ERRORS:
            raise
        raise Unavailable(
            STORAGE,
            f"the database cannot be written: {error.orig}",
            where=str(file),
            hint="free disk space or mend the disk; work goes on by itself afterwards",
        ) from error
