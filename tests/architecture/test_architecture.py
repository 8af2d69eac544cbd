"""The rules that keep the code findable: ranks, sizes, names, one schema, complete contracts."""

import configparser
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine, inspect

import interlock
from interlock.core.errors import InterlockError
from interlock.db.database import control_metadata, tenant_metadata
from interlock.db.migrate import migrate
from interlock.events.model import EventData
from interlock.faces.http.problems import STATUS

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "interlock"
SLICES = sorted(
    path.name for path in SOURCE.iterdir() if (path / "model.py").exists() or ((path / "service.py").exists() and path.is_dir())
)
MAX_LINES = 500


def python_files() -> list[Path]:
    return [file for folder in ("src", "tests", "bench") for file in sorted((ROOT / folder).rglob("*.py"))]


def test_imports_keep_to_the_ranks() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_every_slice_and_adapter_is_named_in_the_contracts() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")

    def listed(contract: str, option: str) -> set[str]:
        return set(contracts[f"importlinter:contract:{contract}"][option].split())

    slices = {f"interlock.{name}" for name in SLICES}
    assert slices <= listed("inside-a-slice", "containers")
    assert slices <= listed("no-face-tech-inside", "source_modules")
    for name in SLICES:
        if (SOURCE / name / "store.py").exists():
            assert f"interlock.{name}.store" in listed(f"store-{name}", "protected_modules")
    for ring in ("adapters", "faces"):
        folders = {f"interlock.{ring}.{path.parent.name}" for path in (SOURCE / ring).glob("*/__init__.py")}
        assert folders == listed(ring, "modules")


@pytest.mark.parametrize("file", python_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_files_stay_short(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= MAX_LINES


def test_no_name_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "common", "misc", "stuff"}
    assert [file for file in python_files() if file.stem in empty or empty & set(file.parent.parts)] == []


@pytest.mark.parametrize(("kind", "metadata"), [("tenant", tenant_metadata), ("control", control_metadata)])
def test_migrations_make_the_schema_that_the_stores_use(kind: str, metadata: MetaData, tmp_path: Path) -> None:
    for module in pkgutil.walk_packages(interlock.__path__, "interlock."):
        if module.name.endswith(".store"):
            importlib.import_module(module.name)
    migrate(tmp_path / "migrated.db", kind)
    metadata.create_all(create_engine(f"sqlite:///{tmp_path / 'declared.db'}"))

    def schema(name: str) -> dict[str, list[tuple[str, str, bool]]]:
        inspector = inspect(create_engine(f"sqlite:///{tmp_path / name}"))
        tables = {table for table in inspector.get_table_names() if table != "alembic_version"}
        return {
            table: [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)]
            for table in tables
        }

    assert schema("migrated.db") == schema("declared.db")


def test_event_types_are_unique_and_belong_to_their_slice() -> None:
    for name in SLICES:
        if (SOURCE / name / "contracts.py").exists():
            importlib.import_module(f"interlock.{name}.contracts")
    types = [kind.event_type for kind in EventData.__subclasses__() if kind.__module__.startswith("interlock.")]
    assert len(types) == len(set(types))
    assert all(types)


def test_every_kind_of_error_is_mapped_by_the_http_face() -> None:
    assert {kind.kind for kind in InterlockError.__subclasses__()} == set(STATUS)


def test_the_project_names_no_registry_and_no_place_of_one_machine() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    # Written in parts, so that this file does not contain what it looks for.
    hosts = ["pypi." + "org", "registry." + "npmjs", "deb.debian" + ".org", "files.python" + "hosted"]
    for name in tracked:
        content = (ROOT / name).read_bytes()
        assert not [host for host in hosts if host.encode() in content], name
