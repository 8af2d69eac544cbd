"""docs/bad-days.md names tests that there are, and every test of a bad day is named there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "bad-days.md").read_text()
NAMED = re.findall(r"`([a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", PAGE)


def names_in(file: Path) -> set[str]:
    return set(re.findall(r"^ *(?:async )?def (test_[a-z0-9_]+)\(", file.read_text(), re.MULTILINE))


def test_every_test_that_the_page_names_exists() -> None:
    assert NAMED
    assert {f"{file}::{name}" for file, name in NAMED if name not in names_in(TESTS / file)} == set()


def test_every_row_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| what happens")]
    assert [row for row in rows if "::" not in row] == []


def test_every_bad_day_that_is_tested_is_on_the_page() -> None:
    written = {(f"e2e/{file.name}", name) for file in (TESTS / "e2e").glob("test_bad_days_*.py") for name in names_in(file)}
    assert written - set(NAMED) == set()
