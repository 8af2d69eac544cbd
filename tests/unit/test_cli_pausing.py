"""How a pause, and what a run waits for, are shown to people."""

from typing import Any

import msgspec

from harness.engine import task
from interlock.faces.cli.views.events import event_line
from interlock.faces.cli.views.run import Progress, run_paused, run_resumed
from interlock.faces.cli.views.waiting import run_waits, task_waits
from interlock.runs.waiting import Waiting
from unit.test_cli_views import shown
from unit.test_runs_decide import Story
from unit.test_runs_waiting import NOW


def test_a_pause_is_told_event_by_event_and_as_a_state() -> None:
    events: list[dict[str, Any]] = [
        {"type": "RunPaused", "by": "user:maria", "reason": "lunch"},
        {"type": "RunResumed", "by": "user:maria", "reason": ""},
        {"type": "RunContinued"},
    ]
    progress, states, lines = Progress(), list[str](), list[str]()
    for seq, event in enumerate(events, 1):
        whole = event | {"seq": seq, "at": "2026-07-30T12:00:00.000Z"}
        progress.apply(whole)
        states.append(progress.status)
        lines.append(event_line(whole).split(maxsplit=3)[3])
    assert states == ["paused", "pending", "running"]
    assert lines == ["paused by user:maria: lunch", "resumed by user:maria", "the run goes on"]


def test_a_paused_run_says_what_is_under_way_and_a_resumed_one_what_comes_next() -> None:
    pause = {"by": "user:maria", "reason": "lunch", "at": "2026-07-30T12:00:00.000Z"}
    run: dict[str, Any] = {"run_id": "run_1", "status": "paused", "paused": pause, "tasks": [{"id": "a", "status": "running"}]}
    assert shown(run_paused(run)).splitlines() == [
        "run_1  is paused by user:maria: lunch",
        "under way, and goes on to its end: a",
        "what goes wrong meanwhile is brought back once the run is resumed or cancelled",
        "go on: interlock resume run_1",
    ]
    idle = run | {"tasks": [], "paused": pause | {"reason": ""}}
    assert shown(run_paused(idle)).splitlines()[:2] == ["run_1  is paused by user:maria", "nothing is under way"]
    assert "goes on as soon as there is a slot for it" in shown(run_resumed(run | {"status": "pending"}))
    assert "run_1  is running" in shown(run_resumed(run | {"status": "running"}))


def waiting(*tasks: str, **estimates: float) -> tuple[Story, Waiting]:
    story = Story(*(task(name, *tasks[n - 1 : n] if n else ()) for n, name in enumerate(tasks)), estimates=estimates).start()
    return story, Waiting(story.state, NOW)


def test_what_a_run_waits_for_is_shown_with_its_longest_path() -> None:
    _, found = waiting("a", "b", a=20.0, b=5.0)
    lines = shown(run_waits(msgspec.to_builtins(found.why_run()))).splitlines()
    assert lines[0] == "run_1  a runs since 12 s, usually 20 s; 1 more task waits behind that"
    assert [line.strip() for line in lines[2:6]] == ["under way", "a runs since 12 s, usually 20 s", "", "waits"]
    assert "longest path: 25 s, about 13 s of it left" in lines
    assert lines[-1].split() == ["b", "○", "pending", "5", "s", "estimated", "nothing"]


def test_of_very_many_only_the_first_are_shown() -> None:
    _, found = waiting(*(f"t{number}" for number in range(50)))
    text = shown(run_waits(msgspec.to_builtins(found.why_run())))
    assert "and 29 more" in text
    assert "and 30 more" in text


def test_a_question_comes_with_the_command_that_answers_it() -> None:
    story, _ = waiting("a", "b")
    story.park("a")
    found = Waiting(story.state, NOW)
    for view in (run_waits(msgspec.to_builtins(found.why_run())), task_waits(msgspec.to_builtins(found.why("b")))):
        assert "answer: interlock inbox" in shown(view)


def test_why_a_step_does_not_run_is_one_sentence_and_its_place() -> None:
    _, found = waiting("a", "b", "c")
    assert shown(task_waits(msgspec.to_builtins(found.why("c")))).splitlines() == [
        "c waits for b, which waits for a, which runs since 12 s",
        "on the longest path",
    ]
