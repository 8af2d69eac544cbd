"""Bringing a namespace to the schema that this version of Interlock needs."""

from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config


def migrate(file: Path, kind: Literal["tenant", "control"]) -> None:
    """Upgrade the namespace in ``file`` (made if it does not exist) to the newest schema of its ``kind``. Blocking."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = Config()
    config.set_main_option("script_location", "interlock:migrations")
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", str(Path(__file__).parents[1] / "migrations" / kind))
    config.attributes["url"] = f"sqlite:///{file}"
    command.upgrade(config, f"{kind}@head")
