"""Which run is meant: by its id, by its plan, or as the latest."""

from typing import Any, cast

import pytest

from interlock.core.errors import NotFound
from interlock.faces.cli.api import Api
from interlock.faces.cli.watching import run_named


class Answers:
    """What the API would answer: the newest plan that was approved and has not begun, and the runs."""

    def __init__(self, approved: list[str], runs: list[str]) -> None:
        self._approved = approved
        self._runs = runs

    def get(self, what: str, **query: Any) -> dict[str, Any]:
        if what == "plans":
            assert query == {"state": "approved", "limit": 1}
            return {"items": [{"plan_id": plan} for plan in self._approved]}
        if "plan" in query:
            return {"items": [{"run_id": query["plan"].replace("plan", "run"), "status": "pending"}]}
        return {"items": [{"run_id": run, "status": "completed"} for run in self._runs]}


def named(name: str, approved: list[str], runs: list[str]) -> str:
    return run_named(cast("Api", Answers(approved, runs)), name)


def test_an_id_stands_for_itself_and_a_plan_for_its_run() -> None:
    assert named("run_7", [], []) == "run_7"
    assert named("plan_3", [], []) == "run_3"


def test_the_latest_run_is_that_of_the_plan_approved_just_now() -> None:
    assert named("latest", ["plan_2"], ["run_1"]) == "run_2"
    assert named("latest", [], ["run_1"]) == "run_1"


def test_without_any_run_it_is_said_how_one_begins() -> None:
    with pytest.raises(NotFound) as refused:
        named("latest", [], [])
    assert "interlock approve" in refused.value.hint
