"""docs/settings.md names every setting that there is, with its default, and none that there is not."""

import re
from pathlib import Path

from interlock.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
NAME = re.compile(r"`INTERLOCK_([A-Z0-9_]+)(?:<NAME>)?`")
NO_SETTINGS = {"SECRET_", "URL", "TOKEN"}
"""Read elsewhere: the values of secrets, and what the command line alone reads."""


def documented() -> dict[str, str]:
    """Name -> default, row by row; a row may hold several names with their defaults in the same order."""
    found: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`INTERLOCK.*?) \| (.*?) ?\| ", PAGE, re.MULTILINE):
        written = NAME.findall(names)
        values = re.findall(r"`([^`]*)`", defaults)
        found |= dict(zip(written, values if len(written) > 1 else [defaults], strict=True))
    return found


def test_every_setting_is_documented_and_nothing_else() -> None:
    settings = {name.upper() for name in Settings.model_fields}
    assert set(documented()) - NO_SETTINGS == settings
    named = {name for name in NAME.findall(PAGE) if not name.startswith("SECRET_")}
    assert named - NO_SETTINGS <= settings


def test_the_documented_defaults_and_bounds_are_those_of_the_program() -> None:
    rows = documented()
    for name, field in Settings.model_fields.items():
        said = rows[name.upper()]
        if isinstance(field.default, tuple):
            written = ",".join(map(str, field.default))
            assert said == (f"`{written}`" if written else "") or name == "inherit"
        elif isinstance(field.default, int | float | str) and field.default is not None:
            assert said.strip("`").split("`")[0] == str(field.default), name
        lowest = next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), None)
        highest = next((bound.le for bound in field.metadata if hasattr(bound, "le")), None)
        if bounds := re.search(r"\((\d+)-(\d+)\)", said):
            assert (int(bounds[1]), int(bounds[2])) == (lowest, highest), name
