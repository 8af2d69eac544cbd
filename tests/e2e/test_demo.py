"""The demo, as somebody runs it."""

import json
import signal
from pathlib import Path

import pytest

from e2e.conftest import StartDemo, until_is
from interlock.demo.findings import Findings, expect
from interlock.demo.processes import living_off
from interlock.demo.story import tell
from interlock.demo.traffic import Answer, tally


@pytest.mark.timeout(300)
def test_the_demo_observes_every_check_and_leaves_nothing(start_demo: StartDemo, tmp_path: Path) -> None:
    process = start_demo("--once", "--json")
    printed, complaints = process.communicate(timeout=280)
    document = json.loads(printed)
    missed = [check for check in document["checks"] if not check["ok"]]
    assert not missed, f"{missed} {complaints}"
    assert document["ok"] is True
    assert process.returncode == 0
    assert set(document) == {"ok", "seconds", "checks"}
    assert len(document["checks"]) == 13
    assert all(set(check) == {"name", "ok", "observed"} and check["observed"] for check in document["checks"])
    assert list(tmp_path.iterdir()) == []
    assert not living_off(tmp_path)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_ends_all_that_it_started(start_demo: StartDemo, tmp_path: Path, number: signal.Signals) -> None:
    process = start_demo("--keep")
    until_is(lambda: any(tmp_path.glob("*/home/processes/*start-staging*/supervisor.json")), "a service was started")
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "leave nothing behind: " in printed
    assert list(tmp_path.iterdir()) == []
    assert not living_off(tmp_path)


def test_it_cannot_be_told_to_keep_and_to_leave_nothing() -> None:
    assert tell(once=True, as_json=False, keep=True) == 2


def test_a_step_that_fails_is_a_false_check_and_the_story_goes_on() -> None:
    findings = Findings()
    with findings.check("first", "whether it holds") as first:
        expect(False, "it did not hold")
    with findings.check("second", "whether it can be looked at"):
        raise FileNotFoundError("nothing there")
    with findings.check("third", "whether the story goes on") as third:
        third.observed = "it does"
    assert [check.ok for check in findings.checks] == [False, False, True]
    assert first.observed == "it did not hold"
    assert "nothing there" in findings.checks[1].observed
    assert not findings.ok


def test_answers_of_the_forwarder_alone_count_as_lost() -> None:
    answers = [Answer(0, 0, status, problem=problem) for status, problem in ((200, ""), (500, ""), (502, ""), (0, "refused"))]
    counted = tally(answers)
    assert (counted.requests, counted.good, counted.failed, counted.lost) == (4, 1, 1, 2)
    assert counted.first_problem == "status 502"
