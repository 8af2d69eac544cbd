"""What keeps the namespaces: files of SQLite, or schemas of a Postgres server."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeVar

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
Kind = Literal["tenant", "control"]

CONTROL = "control"

QUICK: Any = {"pool_reset_on_return": None}
"""Options of an engine: every transaction is ended where it was begun, so there is nothing to undo when a connection is given
back."""


class Namespace(Protocol):
    """One namespace, opened. Whoever writes has its ``turns``; `transact` and `writing` are called with them alone."""

    where: str
    """How it is named to people: a file, or a server with a schema."""
    turns: asyncio.Lock

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that writes: no other writer, in this process or another one, is in between."""
        ...

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that sees one committed state and can write nothing."""
        ...

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """A transaction that writes, as one call of a plain function in a thread of its own."""
        ...

    def is_of_storage(self, error: DBAPIError) -> bool:
        """Whether the storage does not take it now, rather than that the statement is wrong."""
        ...

    async def dispose(self) -> None:
        """Close every connection, once whoever has the turn has ended it."""
        ...


class Store(Protocol):
    """All namespaces of one place."""

    def open(self, name: str) -> Namespace:
        """The namespace, which need not exist yet. Raises Invalid ``namespace`` for what cannot name one."""
        ...

    def migrate(self, name: str, kind: Kind) -> None:
        """Bring a namespace (made if it does not exist) to the newest schema of its ``kind``. Blocking."""
        ...


def begin_with(engine: Engine, statement: str) -> None:
    """Have every transaction of ``engine`` begin with ``statement``."""

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)

    event.listen(engine, "begin", on_begin)
