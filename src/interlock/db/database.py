"""The database: one namespace a tenant and one for control, each with one writer and many readers.

A write session is one turn of the namespace's writer queue: its reads inside, nothing awaited but the database. Readers see the
last committed state and are never blocked. This is the only place that commits. Where the namespaces are kept is said by
`namespaces.Store`.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TypeVar

from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.core.errors import Unavailable
from interlock.core.scope import Scope
from interlock.db.connection import deliver_cancellation
from interlock.db.namespaces import Namespace, Store
from interlock.db.session import Session, Turn

tenant_metadata = MetaData()
"""Tables that every tenant's namespace has; each slice's ``store.py`` adds its own."""

control_metadata = MetaData()
"""Tables of the one control namespace."""

STORAGE = "storage"
"""The code of the error that says that the disk does not take it now."""

T = TypeVar("T")

BeforeCommit = Callable[[Turn], None]
"""Called in the thread that writes: the event loop's own for a session, the writer's for a plain function."""


class Database:
    """All namespaces of a store. ``before_commit`` hooks run inside every write transaction, just before it commits."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._namespaces: dict[str, Namespace] = {}
        self._before_commit: list[BeforeCommit] = []

    def before_commit(self, hook: BeforeCommit) -> None:
        """Run ``hook`` in every write transaction before it commits; what it raises undoes the transaction."""
        self._before_commit.append(hook)

    def _open(self, name: str) -> Namespace:
        if name not in self._namespaces:
            self._namespaces[name] = self.store.open(name)
        return self._namespaces[name]

    @contextlib.asynccontextmanager
    async def write(self, scope: Scope, namespace: str | None = None) -> AsyncGenerator[Session]:
        """One turn of the writer: commits at the end, undoes everything on an exception.

        A task that is cancelled while the database works ends its turn first. Raises Unavailable ``storage`` when the disk is
        full or does not answer; nothing was written then.
        """
        space = self._open(namespace or scope.tenant)
        try:
            async with space.turns:
                with _storage_errors(space):
                    async with space.writing() as connection:
                        session = Session(scope, connection)
                        yield session
                        await connection.run_sync(lambda _: self._seal(session))
                    session.committed()
        finally:
            deliver_cancellation()

    async def transact(self, scope: Scope, work: Callable[[Turn], T]) -> T:
        """The same for a plain function, which does all of its work in the writer's thread in one go."""
        space = self._open(scope.tenant)

        def whole(connection: Connection) -> tuple[Turn, T]:
            turn = Turn(scope, connection)
            done = work(turn)
            self._seal(turn)
            return turn, done

        try:
            async with space.turns:
                with _storage_errors(space):
                    turn, done = await space.transact(whole)
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
        space = self._open(namespace or scope.tenant)
        try:
            with _storage_errors(space):
                async with space.reading() as connection:
                    yield connection
        finally:
            deliver_cancellation()

    async def close(self) -> None:
        """Close every connection."""
        for space in self._namespaces.values():
            await space.dispose()
        self._namespaces.clear()


@contextlib.contextmanager
def _storage_errors(space: Namespace) -> Generator[None]:
    try:
        yield
    except DBAPIError as error:
        if not space.is_of_storage(error):
            raise
        raise Unavailable(
            STORAGE,
            f"the database cannot be written: {error.orig}",
            where=space.where,
            hint="free disk space or mend the disk; work goes on by itself afterwards",
        ) from error
