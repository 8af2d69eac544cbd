"""Bringing a namespace to the schema that this version of Interlock needs."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Literal

MIGRATIONS = Path(__file__).parents[1] / "migrations"
Kind = Literal["tenant", "control"]


def migrate(file: Path, kind: Kind) -> None:
    """Upgrade the namespace in ``file`` (made if it does not exist) to the newest schema of its ``kind``. Blocking."""
    if current_revision(file) == newest_revision(kind):
        return
    # Loaded when there is something to do: it takes longer than everything else at a start.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = Config()
    config.set_main_option("script_location", "interlock:migrations")
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", str(MIGRATIONS / kind))
    config.attributes["url"] = f"sqlite:///{file}"
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
