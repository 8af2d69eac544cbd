"""Namespaces as schemas of a Postgres server: ``tenant_<tenant>`` and ``control``."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from interlock.core.errors import Invalid
from interlock.db.connection import to_its_end
from interlock.db.migrate import migrate_schema
from interlock.db.namespaces import CONTROL, QUICK, Kind, begin_with

T = TypeVar("T")

READERS = 4
"""Connections for reading that a namespace keeps open; at need it opens more."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,50}")
_TURN = "SELECT pg_advisory_xact_lock(hashtext(current_schema()), 1)"
"""Whoever writes into a schema waits here for every other one, of this process or another, as it would with a file."""


class PostgresSchemas:
    """`namespaces.Store` on a server; ``url`` names it as ``postgresql://user:password@host/database``."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")

    def open(self, name: str) -> "PostgresSchema":
        return PostgresSchema(self._url, schema_of(name))

    def migrate(self, name: str, kind: Kind) -> None:
        migrate_schema(self._url, schema_of(name), kind)


def schema_of(name: str) -> str:
    """The schema of a namespace: ``name`` is `CONTROL` or a tenant. Raises Invalid ``namespace``."""
    if not _NAME.fullmatch(name):
        raise Invalid("namespace", f"{name!r} cannot name a namespace", hint="lower-case letters, digits, - and _")
    return name if name == CONTROL else f"tenant_{name}"


class PostgresSchema:
    """`namespaces.Namespace` on a schema. It is found by the connection's search path, and no other one is."""

    def __init__(self, url: URL, schema: str) -> None:
        self.where = f"{url.render_as_string(hide_password=True)}, schema {schema}"
        self.turns = asyncio.Lock()
        within: dict[str, Any] = {"connect_args": {"options": f'-csearch_path="{schema}"'}, **QUICK}
        self._writer = create_async_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True, **within)
        self._plain: Engine = create_engine(url, pool_size=1, max_overflow=0, **within)
        seeing: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._readers = create_async_engine(
            url, pool_size=READERS, max_overflow=-1, pool_pre_ping=True, execution_options=seeing, **within
        )
        begin_with(self._writer.sync_engine, _TURN)
        begin_with(self._plain, _TURN)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[AsyncConnection]:
        async with self._writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        async with self._readers.begin() as connection:
            yield connection

    async def transact(self, work: Callable[[Connection], T]) -> T:
        return await to_its_end(asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work))

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._plain.begin() as connection:
            return work(connection)

    def is_of_storage(self, error: DBAPIError) -> bool:
        away = (psycopg.OperationalError, psycopg.InterfaceError)
        return isinstance(error.orig, away) or error.connection_invalidated

    async def dispose(self) -> None:
        async with self.turns:
            await self._writer.dispose()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._plain.dispose)
        self._thread.shutdown()
        await self._readers.dispose()
