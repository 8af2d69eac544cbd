"""Bringing a namespace to the schema that this version of Interlock needs."""

import contextlib
import sqlite3
from pathlib import Path

from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from interlock.db.namespaces import Kind

MIGRATIONS = Path(__file__).parents[1] / "migrations"


def migrate(file: Path, kind: Kind) -> None:
    """Upgrade the namespace in ``file`` (made if it does not exist) to the newest schema of its ``kind``. Blocking."""
    if current_revision(file) == newest_revision(kind):
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _upgrade(f"sqlite:///{file}", "", kind)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        # Now, as long as nobody else has it open: of two who change that at once one is refused.
        connection.execute("PRAGMA journal_mode=WAL")


def migrate_schema(url: URL, schema: str, kind: Kind) -> None:
    """The same for a schema of a Postgres server."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        # Of two that make it at once the second one would be told that it exists.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:schema), 2)"), {"schema": schema})
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
        has_revision = text("SELECT to_regclass(:table) IS NOT NULL")
        if connection.execute(has_revision, {"table": f'"{schema}".alembic_version'}).scalar():
            revision = connection.execute(text(f'SELECT version_num FROM "{schema}".alembic_version')).scalar()  # noqa: S608
            if revision == newest_revision(kind):
                return
    _upgrade(url.render_as_string(hide_password=False), schema, kind)


def _upgrade(url: str, schema: str, kind: Kind) -> None:
    # Loaded when there is something to do: it takes longer than everything else at a start.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "interlock:migrations")
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", str(MIGRATIONS / kind))
    config.attributes |= {"url": url, "schema": schema}
    command.upgrade(config, f"{kind}@head")


def newest_revision(kind: Kind) -> str:
    """The last revision: the files of a kind are numbered, and named in the order of their numbers."""
    number = max(path.name.partition("_")[0] for path in (MIGRATIONS / kind).glob("[0-9]*.py"))
    return f"{kind}_{number}"


def current_revision(file: Path) -> str:
    """The revision that a namespace is at; empty for one that has none, or cannot be read as it is."""
    if not file.exists():
        return ""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file)) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row[0]) if row else ""
    return ""
