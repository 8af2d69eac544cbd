"""A service with a database for each environment: a file of SQLite that its migrations change and that counts what was done."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from harness.sample import Sample

SCRIPT = """\
import os, pathlib, sqlite3, sys, time

how, table = sys.argv[1:]
folder = pathlib.Path(os.environ["DATABASES"])
place = os.environ["INTERLOCK_ENVIRONMENT"]
with (folder / "said").open("a") as said:
    said.write(f"{place} {how} {table}\\n")
while (folder / f"hold-{place}-{how}-{table}").exists():
    time.sleep(0.02)
if (folder / f"break-{place}-{how}-{table}").exists():
    sys.exit(f"{how} {table} does not work")
with sqlite3.connect(folder / f"{place}.db") as database:
    database.execute("CREATE TABLE IF NOT EXISTS done (what TEXT)")
    database.execute("INSERT INTO done VALUES (?)", (f"{how} {table}",))
    database.execute(f"CREATE TABLE {table} (x)" if how == "up" else f"DROP TABLE IF EXISTS {table}")
"""


def up(table: str, **way_back: str) -> dict[str, str]:
    """A migration that makes a table; by default it can be undone."""
    undo = way_back or {"undo": f"python3 -I migrate.py down {table}"}
    return {"run": f"python3 -I migrate.py up {table}"} | undo


class Databases:
    """The databases of a sample, in a folder of their own."""

    def __init__(self, sample: Sample) -> None:
        self.folder = sample.path.parent / "databases"
        self.folder.mkdir()
        sample.write("migrate.py", SCRIPT)

    def module(self, *migrations: dict[str, str], **more: Any) -> dict[str, Any]:
        """The part of a module file with these migrations."""
        return {"migrate": list(migrations), "env": {"DATABASES": str(self.folder)}} | more

    def tables(self, environment: str = "staging") -> set[str]:
        """What there is in the database of an environment."""
        with contextlib.closing(sqlite3.connect(self.folder / f"{environment}.db")) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE name <> 'done'").fetchall()
        return {name for (name,) in rows}

    def done(self, environment: str = "staging") -> list[str]:
        """What was done to it, in order."""
        with contextlib.closing(sqlite3.connect(self.folder / f"{environment}.db")) as database:
            return [what for (what,) in database.execute("SELECT what FROM done").fetchall()]

    def said(self) -> list[str]:
        """What began: environment, direction and table, in order."""
        file = self.folder / "said"
        return file.read_text().splitlines() if file.exists() else []

    def tell(self, how: str, step: str) -> Path:
        """``hold`` or ``break`` a step such as ``staging-up-orders``, until the file that this returns is removed."""
        file = self.folder / f"{how}-{step}"
        file.touch()
        return file
