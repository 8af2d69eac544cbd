"""Why a task does not run, in words that name the cause."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from harness.engine import task
from harness.examples import examples
from interlock.core.errors import NotFound
from interlock.runs import model as m
from interlock.runs.critical import Course
from interlock.runs.graph import Retry, TaskSpec
from interlock.runs.parts import Each
from interlock.runs.waiting import RunWhy, Waiting, Why
from unit.test_runs_decide import AT, Story, graphs

NOW = "2026-01-01T00:00:12.000Z"
DELIVERY = (
    task("start"),
    task("verify", "start"),
    task("switch", "verify"),
    task("smoke", "switch"),
    task("restore", "switch", "smoke", when="failed", branch="rollback:prod"),
    task("start-back", undoes="start"),
)


def why(story: Story, name: str, now: str = NOW) -> Why:
    return Waiting(story.state, now).why(name)


def why_run(story: Story, now: str = NOW, runs_with_slot: int = 0) -> RunWhy:
    return Waiting(story.state, now, runs_with_slot).why_run()


def test_a_need_is_followed_to_what_runs() -> None:
    story = Story(*DELIVERY).start()
    story.complete("start")
    found = why(story, "smoke")
    assert found.answer == "smoke waits for switch, which waits for verify, which runs since 12 s"
    assert [wait.task for wait in found.chain] == ["smoke", "switch", "verify"]
    assert why(story, "verify").answer == "verify runs since 12 s"
    assert why(story, "start").answer == "start completed after 0.0 s"


def test_what_is_in_reserve_says_what_for() -> None:
    story = Story(*DELIVERY).start()
    assert why(story, "restore").answer == (
        "restore runs only if something goes wrong before it; it waits for switch and, longest of all, smoke, which waits for "
        "switch, which waits for verify, which waits for start, which runs since 12 s"
    )
    answer = why(story, "start-back").answer
    assert answer.startswith("start-back takes back start if the run goes wrong, once all else has ended; it waits for ")
    assert answer.endswith("start, which runs since 12 s")


def test_an_item_of_a_list_waits_for_its_turn_and_what_needs_the_list_for_all_of_them() -> None:
    files = Each(items=["a", "b", "c", "d"], max_concurrent=2)
    story = Story(task("map", each=files, retry=Retry(max_attempts=2)), task("sum", "map"), max_concurrent_tasks=8).start()
    story.complete("map[0]")
    assert why(story, "map").answer == "map runs since 12 s: 1 of 4 items have ended"
    assert why(story, "sum").answer == "sum waits for map, which runs since 12 s: 1 of 4 items have ended"
    assert why(story, "map[1]").answer == "map[1] runs since 12 s"
    waits = why(story, "map[3]")
    assert waits.answer == "map[3] is an item of map and waits for its turn: 2 of 4 run now, 2 may"
    assert (waits.chain[0].waits_for, waits.chain[0].tasks) == ("slot", ("map[1]", "map[2]"))
    story.park("map[1]")
    story.fail("map[2]", is_transient=True)
    causes = why_run(story).causes
    assert [(cause.task, cause.waits_for) for cause in causes] == [
        ("map", "nothing"),
        ("map[1]", "person"),
        ("map[2]", "timer"),
    ]
    story.do(m.PauseRun, by="user:owner", reason="")
    story.do(m.RetryDue, task="map[2]")
    assert why(story, "map[2]").answer == "map[2] is ready; the run is paused since 12 s by user:owner"


def test_an_undo_waits_for_the_undos_of_what_rests_on_it() -> None:
    story = Story(task("a"), task("b", "a"), task("a-back", undoes="a"), task("b-back", undoes="b")).start()
    story.complete("a")
    story.fail("b")
    assert why(story, "a-back").answer == "a-back takes back a after b-back, which runs since 12 s"


def test_of_several_needs_the_one_that_takes_longest_is_followed() -> None:
    specs = (task("a"), task("b"), task("c", "b"), task("last", "a", "c"))
    story = Story(*specs, estimates={"a": 60.0, "b": 1.0, "c": 1.0}).start()
    assert why(story, "last").answer == "last waits for c and, longest of all, a, which runs since 12 s, usually 1 min"
    assert why(Story(*specs).start(), "last").answer == (
        "last waits for a and, longest of all, c, which waits for b, which runs since 12 s"
    )


def test_a_slot_says_what_has_them_and_what_goes_before() -> None:
    story = Story(task("a"), task("b"), task("c"), task("d", priority=9), max_concurrent_tasks=1).start()
    found = why(story, "c")
    assert found.answer == "c is ready and waits for a slot: 1 of 1 are taken (d); before it: a, b"
    assert (found.chain[0].before, found.chain[0].ahead) == (("a", "b"), 2)


def test_a_question_and_a_timer_are_causes() -> None:
    story = Story(task("a"), task("b", retry=Retry(max_attempts=2, delay_s=40.0)), task("last", "a", "b")).start()
    story.park("a")
    story.fail("b", is_transient=True)
    assert why(story, "a").answer == "a waits for a person since 12 s: Go on? (yes | no)"
    found = why(story, "b", AT)
    assert found.answer == "b is tried again in 40 s, after: it broke"
    assert found.chain[0].until == "2026-01-01T00:00:40.000Z"
    assert why(story, "last").answer.endswith("which waits for a person since 12 s: Go on? (yes | no)")
    told = why_run(story)
    assert [wait.waits_for for wait in told.causes] == ["person", "timer"]
    assert told.answer == (
        "a waits for a person since 12 s: Go on? (yes | no); b is tried again in 28 s, after: it broke; "
        "1 more task waits behind that"
    )


def test_a_pause_is_said_besides() -> None:
    story = Story(task("a"), task("b", "a"), task("c"), max_concurrent_tasks=1).start()
    story.do(m.PauseRun, by="user:maria", reason="lunch")
    paused = "the run is paused since 12 s by user:maria (lunch)"
    assert why(story, "b").answer == f"b waits for a, which runs since 12 s; {paused}"
    assert why(story, "c").answer == f"c is ready; {paused}"
    assert why_run(story).answer == f"{paused}; a runs since 12 s; 2 more tasks wait behind that"
    story.do(m.ResumeRun, by="user:maria", reason="")
    assert Waiting(story.state, NOW, 3).why("c").answer == "c is ready; the run waits for a slot: 3 runs have one now"


def test_a_run_that_has_not_begun_waits_for_its_slot() -> None:
    story = Story(task("a"), task("b", "a"))
    assert why(story, "b").answer == "b waits for a, which is ready; the run waits for a slot: 0 runs have one now"
    assert why_run(story, runs_with_slot=1).answer == (
        "the run waits for a slot: 1 run has one now; 2 more tasks wait behind that"
    )


def test_what_is_being_stopped_says_so() -> None:
    story = Story(task("a"), task("undo", "a", when="failed")).start()
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    assert why(story, "undo").answer == (
        "undo runs only if something goes wrong before it; it waits for a, which is being stopped: enough"
    )


def test_what_has_ended_says_how() -> None:
    story = Story(task("a"), task("b", "a"), task("c")).start()
    story.fail("a")
    story.complete("c")
    assert why(story, "a").answer == "a failed: it broke"
    assert why(story, "b").answer == "b was skipped: a failed"
    assert why_run(story).answer == "the run has ended: failed: it broke"
    assert why_run(story).waits == ()


def test_an_unknown_name_is_answered_with_the_names_near_it() -> None:
    story = Story(*DELIVERY).start()
    with pytest.raises(NotFound, match="run_1 has no task 'verfy'") as refusal:
        why(story, "verfy")
    assert refusal.value.details["nearest"] == ["verify"]
    assert refusal.value.hint == "did you mean verify?"


def _at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000Z"


def test_the_longest_path_counts_what_was_measured_and_what_is_estimated() -> None:
    specs = (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"), task("undo", "d", when="failed"))
    story = Story(*specs, estimates={"a": 1.0, "b": 5.0, "c": 2.0, "d": 4.0})
    for second, name in ((0, ""), (10, "a"), (13, "c")):
        command: Any = m.Complete(at=_at(second), task=name, attempt=1, output={}) if name else m.Start(at=_at(0))
        story.scheduler.decide(command)
    path = Course(story.state, _at(14)).critical_path()
    assert (path.tasks, path.length_s, path.left_s) == (("a", "b", "d"), 19.0, 5.0)
    steps = {step.task: (step.duration_s, step.basis, step.ends_s, step.slack_s) for step in path.steps}
    assert steps == {
        "a": (10.0, "measured", 10.0, 0.0),
        "b": (5.0, "estimated", 15.0, 0.0),
        "c": (3.0, "measured", 13.0, 2.0),
        "d": (4.0, "estimated", 19.0, 0.0),
    }


def test_where_nothing_is_known_the_path_with_the_most_tasks_is_the_longest() -> None:
    story = Story(task("a"), task("b"), task("c", "b")).start()
    path = Course(story.state, AT).critical_path()
    assert (path.tasks, path.length_s) == (("b", "c"), 0.0)
    assert {step.basis for step in path.steps} == {"unknown"}


@examples(80, suppress_health_check=[HealthCheck.too_slow])
@given(
    graphs(),
    st.integers(1, 3),
    st.dictionaries(st.sampled_from([f"t{n}" for n in range(7)]), st.floats(0, 100)),
    st.lists(st.integers(0, 10_000), max_size=25),
)
def test_whatever_happened_every_task_has_an_answer_that_ends_with_a_cause(
    specs: list[TaskSpec], slots: int, estimates: dict[str, float], choices: list[int]
) -> None:
    story = Story(*specs, estimates=estimates, max_concurrent_tasks=slots).start()
    for choice in choices:
        if story.state.status in m.RUN_ENDED:
            break
        story.act_at_random(choice)
        waiting = Waiting(story.state, NOW, 1)
        for spec in specs:
            found = waiting.why(spec.id)
            assert found.chain[-1].waits_for not in {"needs", "turn"}, found.answer
            assert all(wait.text.startswith(wait.task) for wait in found.chain)
        told = waiting.why_run()
        unended = {name for name, task in story.state.tasks.items() if task.status not in m.TASK_ENDED}
        assert {wait.task for wait in (*told.causes, *told.waits)} == unended
        if story.state.status is m.RunStatus.RUNNING:
            assert told.causes, "nothing can be the cause of the others"
        path = told.critical_path
        assert all(step.slack_s >= 0 for step in path.steps)
        needs = story.run.graph.specs
        assert all(before in needs[after].needs for before, after in zip(path.tasks, path.tasks[1:], strict=False))
