"""A run that is paused: nothing further starts, nothing is lost, and it ends as it would have ended."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from harness.engine import task
from harness.examples import examples
from interlock.core.errors import Conflict
from interlock.runs import model as m
from interlock.runs.evolve import fold, worked_s
from interlock.runs.graph import Retry
from interlock.runs.parts import Each
from unit.test_runs_decide import AT, ENDINGS, Story, graphs

OWNER = {"by": "user:owner", "reason": "the mail server is down"}


def pause(story: Story) -> list[m.RunEvent]:
    return story.do(m.PauseRun, **OWNER)


def resume(story: Story) -> None:
    story.do(m.ResumeRun, by="user:owner", reason="")
    story.do(m.Start)


def test_no_further_task_starts_and_what_is_under_way_goes_on_to_its_end() -> None:
    story = Story(task("a"), task("b", "a"), task("c"), max_concurrent_tasks=1).start()
    assert [type(event) for event in pause(story)] == [m.RunPaused]
    assert story.state.pause == m.Pause(at=AT, **OWNER)
    story.complete("a")
    assert story.statuses() == {"a": "completed", "b": "pending", "c": "pending"}
    assert story.state.status is m.RunStatus.PAUSED
    resume(story)
    assert story.statuses() == {"a": "completed", "b": "running", "c": "pending"}
    assert (story.state.status, story.state.pause) == (m.RunStatus.RUNNING, None)


def test_pausing_and_resuming_twice_changes_nothing() -> None:
    story = Story(task("a")).start()
    assert story.do(m.ResumeRun, by="user:owner", reason="") == []
    pause(story)
    assert story.do(m.PauseRun, by="user:maria", reason="me too") == []
    resume(story)
    assert story.do(m.ResumeRun, by="user:owner", reason="") == []
    story.complete("a")
    assert pause(story) == [], "it has ended"


def test_a_resumed_run_waits_for_a_slot_of_its_own() -> None:
    story = Story(task("a"), task("b", "a")).start()
    pause(story)
    story.complete("a")
    story.do(m.ResumeRun, by="user:owner", reason="")
    assert (story.state.status, story.statuses()["b"]) == (m.RunStatus.PENDING, "pending")
    assert [type(event) for event in story.do(m.Start)] == [m.RunContinued, m.TaskStarted]
    assert story.state.started_at == AT


def test_one_that_has_not_begun_can_be_paused() -> None:
    story = Story(task("a"))
    pause(story)
    assert story.do(m.Start) == []
    story.do(m.ResumeRun, by="user:owner", reason="")
    assert story.state.status is m.RunStatus.PENDING
    assert isinstance(story.do(m.Start)[0], m.RunStarted)


@pytest.mark.parametrize("is_resumed", [False, True])
def test_one_that_has_not_begun_ends_at_once_when_it_is_cancelled(is_resumed: bool) -> None:
    story = Story(task("a"))
    pause(story)
    if is_resumed:
        story.do(m.ResumeRun, by="user:owner", reason="")
    story.do(m.RequestCancel, by="user:owner", reason="never mind")
    assert (story.state.status, story.state.pause) == (m.RunStatus.CANCELLED, None)


@pytest.mark.parametrize("is_resumed", [False, True])
def test_cancelling_works_at_once_and_walks_the_way_back_without_a_slot(is_resumed: bool) -> None:
    story = Story(task("a"), task("b", "a"), task("undo", "b", when="failed"), task("a-back", undoes="a")).start()
    story.complete("a")
    pause(story)
    if is_resumed:
        story.do(m.ResumeRun, by="user:owner", reason="")
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    assert story.state.status is m.RunStatus.RUNNING
    with pytest.raises(Conflict) as refusal:
        pause(story)
    assert refusal.value.code == "run_is_ending"
    story.stop("b")
    assert story.statuses()["undo"] == "running"
    story.complete("undo", "a-back")
    assert story.state.status is m.RunStatus.CANCELLED


def test_the_way_back_of_a_failure_waits_for_the_end_of_the_pause() -> None:
    story = Story(task("a"), task("b", "a"), task("undo", "a", when="failed")).start()
    pause(story)
    story.fail("a")
    assert story.statuses() == {"a": "failed", "b": "skipped", "undo": "pending"}
    resume(story)
    story.complete("undo")
    assert story.state.status is m.RunStatus.FAILED


def test_a_run_with_nothing_left_to_start_ends_while_it_is_paused() -> None:
    story = Story(task("a"), task("b")).start()
    pause(story)
    story.complete("a", "b")
    assert (story.state.status, story.state.pause) == (m.RunStatus.COMPLETED, None)


def test_what_falls_due_and_what_is_answered_waits() -> None:
    story = Story(task("a", retry=Retry(max_attempts=2)), task("b")).start()
    story.fail("a", is_transient=True)
    story.park("b")
    pause(story)
    story.do(m.RetryDue, task="a")
    story.do(m.Answer, task="b", answer="yes", by="user:owner")
    assert story.statuses() == {"a": "pending", "b": "pending"}
    resume(story)
    assert story.statuses() == {"a": "running", "b": "running"}


def test_after_a_crash_only_what_may_have_happened_is_looked_at_before_it_is_resumed() -> None:
    story = Story(task("idle"), task("done"), task("doubtful")).start()
    for name, has_receipt in (("done", True), ("doubtful", False)):
        intent: dict[str, Any] = {"tool": "t", "effect": "write", "keying": "keyed", "arguments": {}, "arguments_digest": ""}
        events: tuple[m.RunEvent, ...] = (m.IntentRecorded(at=AT, task=name, name="t", key=f"key-{name}", **intent),)
        if has_receipt:
            events += (m.ReceiptRecorded(at=AT, task=name, key=f"key-{name}", outcome="done", by="act"),)
        story.do(m.Note, task=name, attempt=1, events=events)
    pause(story)
    story.do(m.Adopt, owner="next", epoch=2)
    assert story.statuses() == {"idle": "pending", "done": "pending", "doubtful": "running"}
    assert story.state.status is m.RunStatus.PAUSED
    assert story.state.tasks["doubtful"].attempt == 2
    resume(story)
    assert {name: state.attempt for name, state in story.state.tasks.items()} == {"idle": 2, "done": 2, "doubtful": 2}


def test_what_a_crash_stopped_in_a_pause_is_brought_back_when_the_run_is_cancelled() -> None:
    story = Story(task("a"), task("undo", "a", when="failed")).start()
    pause(story)
    story.do(m.Adopt, owner="next", epoch=2)
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    story.stop("a")
    assert story.statuses() == {"a": "cancelled", "undo": "running"}


def test_cancelled_between_two_steps_it_comes_back_as_if_the_next_one_had_begun() -> None:
    specs = (task("start"), task("verify", "start"), task("discard", "start", "verify", when="failed"))
    story = Story(*specs, task("switch", "verify"), task("restore", "switch", when="failed"), task("other", "switch")).start()
    story.complete("start")
    pause(story)
    story.complete("verify")
    events = story.do(m.RequestCancel, by="user:owner", reason="enough")
    kinds = [type(event) for event in events]
    assert kinds == [m.RunContinued, m.TaskStarted, m.RunCancelRequested, m.TaskCancelled]
    story.stop("switch")
    assert story.statuses()["restore"] == "running", "what was started is not left behind"


def test_a_pause_takes_nothing_of_the_time_of_a_run() -> None:
    minute = [f"2026-01-01T00:{n:02}:00.000Z" for n in range(60)]
    events: list[m.RunEvent] = [
        *Story(task("a"), task("b")).events,
        m.RunStarted(at=minute[0]),
        m.TaskStarted(at=minute[0], task="a", attempt=1),
        m.RunPaused(at=minute[5], **OWNER),
        # Answered and asked meanwhile, and a restart.
        m.RunAdopted(at=minute[10], owner="next", epoch=2),
        m.RunResumed(at=minute[20], by="user:owner", reason=""),
        m.RunContinued(at=minute[30]),
        m.RunPaused(at=minute[33], **OWNER),
        m.RunContinued(at=minute[40]),
        m.RunCancelRequested(at=minute[40], by="user:owner", reason="enough"),
        m.TaskCancelled(at=minute[41], task="b", reason="enough"),
    ]
    minutes = [worked_s(state, event.at) / 60 for n, event in enumerate(events, 1) if (state := fold(events[:n]))]
    assert minutes == [0, 0, 0, 5, 5, 5, 5, 8, 8, 8, 9]


def test_a_run_is_not_late_while_it_is_paused() -> None:
    story = Story(task("a")).start()
    pause(story)
    assert story.do(m.TimeOut) == []
    story.do(m.ResumeRun, by="user:owner", reason="")
    assert story.do(m.TimeOut) == [], "nor while it waits for a slot"
    story.do(m.Start)
    assert story.do(m.TimeOut) != []


# --- with the items of a list ---------------------------------------------------------------------------------------------

LISTED = (
    task("list"),
    task("map", "list", each=Each(items={"$output": "list.files"}, max_concurrent=2), inputs={"file": {"$item": ""}}),
    task("sum", "map"),
)


class Listed(Story):
    def output(self, name: str) -> dict[str, Any]:
        return {"files": ["a", "b", "c"]} if name == "list" else {}


def test_no_further_item_starts_and_those_under_way_go_on_to_their_end() -> None:
    story = Listed(*LISTED).start()
    story.complete("list")
    pause(story)
    story.complete("map[1]")
    assert story.at(m.TaskStatus.RUNNING) == ["map", "map[0]"]
    assert story.at(m.TaskStatus.PENDING) == ["sum", "map[2]"]
    resume(story)
    assert story.at(m.TaskStatus.RUNNING) == ["map", "map[0]", "map[2]"]
    story.complete("map[2]", "map[0]", "sum")
    assert story.state.status is m.RunStatus.COMPLETED


def test_after_a_crash_only_the_item_in_doubt_is_begun_again_before_it_is_resumed() -> None:
    story = Listed(*LISTED).start()
    story.complete("list")
    intent = m.IntentRecorded(
        at=AT, task="map[1]", name="x", tool="x", effect="write", keying="keyed", key="k", arguments={}, arguments_digest=""
    )
    story.do(m.Note, task="map[1]", attempt=1, events=(intent,))
    pause(story)
    story.do(m.Adopt, owner="next", epoch=2)
    tasks = story.state.tasks
    assert [(tasks[f"map[{n}]"].status, tasks[f"map[{n}]"].attempt) for n in range(3)] == [
        (m.TaskStatus.PENDING, 1),
        (m.TaskStatus.RUNNING, 2),
        (m.TaskStatus.PENDING, 0),
    ]
    assert tasks["map"].items == 3
    story.finish()
    assert story.state.status is m.RunStatus.COMPLETED


# --- at random moments ----------------------------------------------------------------------------------------------------


class Fate:
    """What becomes of each task is fixed, whenever its turn comes."""

    def __init__(self, story: Story, fails: frozenset[str], choices: list[int]) -> None:
        self.story = story
        self._fails = fails
        self._choices = choices

    def run(self) -> None:
        for choice in [*self._choices, *[0] * 200]:
            if self.story.state.status in m.RUN_ENDED:
                return
            running = self.story.at(m.TaskStatus.RUNNING)
            if running:
                self._end(running[choice % len(running)])
        raise AssertionError("it does not end")

    def run_with_pauses(self, pauses: list[bool]) -> None:
        for choice, wants_pause in zip([*self._choices, *[0] * 400], [*pauses, *[False] * 400], strict=False):
            if self.story.state.status in m.RUN_ENDED:
                return
            running = self.story.at(m.TaskStatus.RUNNING)
            if wants_pause and self.story.state.status is m.RunStatus.RUNNING:
                pause(self.story)
            elif running and not wants_pause:
                self._end(running[choice % len(running)])
            else:
                resume(self.story)
        raise AssertionError("it does not end")

    def _end(self, name: str) -> None:
        before = self.story.state.status
        events = self.story.fail(name) if name in self._fails else None
        if events is None:
            attempt = self.story.state.tasks[name].attempt
            events = self.story.do(m.Complete, task=name, attempt=attempt, output={"by": name})
        if before is not m.RunStatus.RUNNING:
            assert not any(isinstance(event, m.TaskStarted) for event in events), "it started in a pause"


@examples(120, suppress_health_check=[HealthCheck.too_slow])
@given(
    graphs(),
    st.integers(1, 3),
    st.frozensets(st.integers(0, 6), max_size=3),
    st.lists(st.integers(0, 100), max_size=20),
    st.lists(st.booleans(), max_size=25),
)
def test_a_run_with_pauses_ends_like_one_without(specs, slots, failing, choices, pauses) -> None:
    fails = frozenset(f"t{number}" for number in failing)
    straight, paused = (Story(*specs, max_concurrent_tasks=slots).start() for _ in range(2))
    Fate(straight, fails, choices).run()
    Fate(paused, fails, choices).run_with_pauses(pauses)
    assert paused.statuses() == straight.statuses()
    assert paused.state.status is straight.state.status
    assert paused.state.summary == straight.state.summary
    ended: set[str] = set()
    for event in paused.events:
        if isinstance(event, m.TaskStarted):
            assert set(paused.run.graph.specs[event.task].needs) <= ended
        elif isinstance(event, ENDINGS):
            ended.add(event.task)
