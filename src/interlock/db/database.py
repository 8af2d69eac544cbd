"""The database: one namespace a tenant and one for control, each with one writer and many readers.

A namespace is an SQLite file (``tenants/<tenant>.db``, ``control.db``). A write session is one turn of the namespace's writer
queue: ``BEGIN IMMEDIATE``, its reads inside, nothing awaited but the database. Readers see the last committed state and are
never blocked. This is the only place that commits.
"""

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, StaticPool

from interlock.core.errors import Invalid, Unavailable
from interlock.core.scope import Scope
from interlock.db.connection import SteadyConnection, connect, deliver_cancellation
from interlock.db.session import Session, Turn

tenant_metadata = MetaData()
"""Tables that every tenant's namespace has; each slice's ``store.py`` adds its own."""

control_metadata = MetaData()
"""Tables of the one control namespace."""

CONTROL = "control"

STORAGE = "storage"
"""The code of the error that says that the disk does not take it now."""

READERS = 4
"""Connections for reading that a namespace keeps open; at need it opens more."""

T = TypeVar("T")

BeforeCommit = Callable[[Turn], None]

# Codes of SQLite that mean "the storage does not take it now", not "the statement is wrong".
_STORAGE_ERRORS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


_QUICK: Any = {"pool_reset_on_return": None}
"""Every transaction is ended where it was begun: there is nothing to undo when a connection is given back."""


class _Namespace:
    """One connection for whoever has the turn to write, and some for readers."""

    def __init__(self, file: Path) -> None:
        self.turns = asyncio.Lock()
        self._file = file
        self._steady: SteadyConnection | None = None
        self.writer = create_async_engine(
            "sqlite+aiosqlite://", async_creator=self._open_writer, poolclass=StaticPool, **_QUICK
        )
        self._plain: Connection | None = None
        self.readers = create_async_engine(
            "sqlite+aiosqlite://",
            async_creator=partial(connect, file, "query_only=ON"),
            poolclass=AsyncAdaptedQueuePool,
            pool_size=READERS,
            max_overflow=-1,
            **_QUICK,
        )
        _begin_with(self.writer.sync_engine, "BEGIN IMMEDIATE")
        _begin_with(self.readers.sync_engine, "BEGIN")

    async def _open_writer(self) -> SteadyConnection:
        self._steady = await connect(self._file)
        return self._steady

    async def transact(self, scope: Scope, work: Callable[[Turn], T], hooks: Callable[[Turn], None]) -> tuple[Turn, T]:
        """One transaction in the writer's thread."""
        if self._steady is None:
            async with self.writer.connect():
                pass
        steady = cast("SteadyConnection", self._steady)
        return await steady.run(partial(self._transact, scope, work, hooks))

    def _transact(
        self, scope: Scope, work: Callable[[Turn], T], hooks: Callable[[Turn], None], raw: sqlite3.Connection
    ) -> tuple[Turn, T]:
        if self._plain is None:
            engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, **_QUICK)
            _begin_with(engine, "BEGIN IMMEDIATE")
            self._plain = engine.connect()
        with self._plain.begin():
            turn = Turn(scope, self._plain)
            done = work(turn)
            hooks(turn)
        return turn, done

    async def dispose(self) -> None:
        # Whoever has the turn ends it first.
        async with self.turns:
            self._plain = self._steady = None
            await self.writer.dispose()
        await self.readers.dispose()


def _begin_with(engine: Engine, statement: str) -> None:
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    event.listen(engine, "begin", on_begin)


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
                            await connection.run_sync(lambda _: self._seal(session))
                        session.committed()
        finally:
            deliver_cancellation()

    async def transact(self, scope: Scope, work: Callable[[Turn], T]) -> T:
        """The same for a plain function, which does all of its work in the writer's thread in one go."""
        space = self._open(scope.tenant)
        try:
            async with space.turns:
                with _storage_errors(self.file(scope.tenant)):
                    turn, done = await space.transact(scope, work, self._seal)
                    turn.committed()
                    return done
        finally:
            deliver_cancellation()

    def _seal(self, turn: Turn) -> None:
        for hook in self._before_commit:
            hook(turn)

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
