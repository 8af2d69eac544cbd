"""The rules of a run, over random graphs and random things that happen to them."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from harness.engine import run_of, task
from harness.examples import examples
from harness.replay import to_json
from interlock.core.errors import Conflict, Invalid
from interlock.runs import model as m
from interlock.runs.decide import Scheduler, decide, retry_delay_s
from interlock.runs.evolve import fold, worked_s
from interlock.runs.graph import Retry, TaskSpec

AT = "2026-01-01T00:00:00.000Z"
ENDINGS = (m.TaskCompleted, m.TaskFailed, m.TaskSkipped, m.TaskCancelled)
TERMINAL = {"kind": "conflict", "code": "broken", "message": "it broke"}


class Story:
    """A run, the events that it is made of, and what must hold after each command."""

    def __init__(self, *tasks: TaskSpec, estimates: dict[str, float] | None = None, **limits: Any) -> None:
        self.run = run_of(*tasks, limits=m.Limits(**limits), estimates=estimates or {})
        self.events: list[m.RunEvent] = decide(None, m.Submit(at=AT, run=self.run))
        self.scheduler = Scheduler(self._folded())

    @property
    def state(self) -> m.RunState:
        return self.scheduler.state

    def _folded(self) -> m.RunState:
        state = fold(self.events)
        assert state is not None
        return state

    def do(self, kind: type[m.Command], **fields: Any) -> list[m.RunEvent]:
        command: Any = kind(at=AT, **fields)
        replayed = self._folded()
        events = self.scheduler.decide(command)
        assert decide(replayed, command) == events, "what is kept beside the state must not decide anything"
        self.events += events
        assert to_json(replayed) == to_json(self.state) == to_json(self._folded())
        self._check(events)
        return events

    def _check(self, events: list[m.RunEvent]) -> None:
        running = [name for name in self.at(m.TaskStatus.RUNNING) if self.state.tasks[name].items is None]
        assert len(running) <= self.run.limits.max_concurrent_tasks
        for event in events:
            if isinstance(event, m.TaskStarted):
                needs = [self.state.tasks[need].status for need in self.run.graph.spec(event.task).needs]
                assert all(status in m.TASK_ENDED for status in needs)
        if self.state.status is m.RunStatus.RUNNING:
            assert self.at(m.TaskStatus.RUNNING) or self.at(m.TaskStatus.WAITING), "a run that nothing can move any more"

    def at(self, status: m.TaskStatus) -> list[str]:
        return [name for name, task in self.state.tasks.items() if task.status is status]

    def start(self) -> "Story":
        self.do(m.Start)
        return self

    def complete(self, *names: str) -> None:
        for name in names:
            self.do(m.Complete, task=name, attempt=self.state.tasks[name].attempt, output=self.output(name))

    def output(self, name: str) -> dict[str, Any]:
        """What ``name`` gives."""
        return {"by": name}

    def fail(self, name: str, *, is_transient: bool = False, **fields: Any) -> list[m.RunEvent]:
        attempt = self.state.tasks[name].attempt
        return self.do(m.Fail, task=name, attempt=attempt, error=TERMINAL, is_transient=is_transient, **fields)

    def park(self, name: str, **evidence: Any) -> None:
        fields = {"question": "Go on?", "options": ("yes", "no"), "evidence": evidence}
        self.do(m.Park, task=name, attempt=self.state.tasks[name].attempt, **fields)

    def stop(self, name: str) -> None:
        self.do(m.Stopped, task=name, attempt=self.state.tasks[name].attempt, reason="stopped")

    def statuses(self) -> dict[str, str]:
        return {name: str(task.status) for name, task in self.state.tasks.items()}

    def act_at_random(self, choice: int) -> None:
        """One thing that may happen now, chosen by ``choice``."""
        moves: list[Any] = []
        for name in self.at(m.TaskStatus.RUNNING):
            moves += [
                lambda name=name: self.complete(name),
                lambda name=name: self.fail(name),
                lambda name=name: self.fail(name, is_transient=True, jitter=0.5),
                lambda name=name: self.park(name),
                lambda name=name: self.do(m.Complete, task=name, attempt=self.state.tasks[name].attempt - 1, output={}),
            ]
            if self.state.cancel_requested and not self.run.graph.cleans_up(name):
                moves.append(lambda name=name: self.stop(name))
        for name in self.at(m.TaskStatus.WAITING):
            moves.append(lambda name=name: self.go_on(name))
        moves += [
            lambda: self.do(m.Adopt, owner="next", epoch=2),
            lambda: self.do(m.RequestCancel, by="user:owner", reason="enough"),
            lambda: self.do(m.TimeOut),
            lambda: self.do(m.ResumeRun, by="user:owner", reason=""),
            lambda: self.do(m.Start),
        ]
        if not self.state.cancel_requested:
            moves.append(lambda: self.do(m.PauseRun, by="user:owner", reason="wait"))
        moves[choice % len(moves)]()

    def go_on(self, name: str) -> None:
        if self.state.tasks[name].retry_at:
            self.do(m.RetryDue, task=name)
        else:
            self.do(m.Answer, task=name, answer="yes", by="user:owner")

    def finish(self) -> None:
        """Let everything that is left come to a good end."""
        for _ in range(1000):
            if self.state.status in m.RUN_ENDED:
                return
            if self.state.status is not m.RunStatus.RUNNING:
                self.do(m.ResumeRun, by="user:owner", reason="")
                self.do(m.Start)
            for name in self.at(m.TaskStatus.RUNNING):
                if self.state.cancel_requested and not self.run.graph.cleans_up(name):
                    self.stop(name)
                else:
                    self.complete(name)
            for name in self.at(m.TaskStatus.WAITING):
                self.go_on(name)
        raise AssertionError("it does not end")


@st.composite
def graphs(draw: st.DrawFn) -> list[TaskSpec]:
    specs: list[TaskSpec] = []
    for number in range(draw(st.integers(1, 7))):
        needs = draw(st.lists(st.sampled_from([spec.id for spec in specs]), max_size=3, unique=True)) if specs else []
        when = draw(st.sampled_from(["succeeded", "succeeded", "failed"])) if needs else "succeeded"
        branch = draw(st.sampled_from(["", "", "rollback:prod"]))
        retry = Retry(max_attempts=draw(st.integers(1, 3)))
        specs.append(task(f"t{number}", *needs, when=when, branch=branch, retry=retry))
    return specs


@examples(120, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(), st.integers(1, 3), st.lists(st.integers(0, 10_000), max_size=25))
def test_whatever_happens_every_task_ends_once_and_the_journal_tells_the_same_story(specs, slots, choices):
    story = Story(*specs, max_concurrent_tasks=slots).start()
    for choice in choices:
        if story.state.status in m.RUN_ENDED:
            break
        story.act_at_random(choice)
    story.finish()

    endings = Counter(event.task for event in story.events if isinstance(event, ENDINGS))
    assert endings == {spec.id: 1 for spec in specs}
    assert sum(isinstance(event, m.RunFinished) for event in story.events) == 1
    _check_conditions(story)
    _check_outcome(story)
    before = to_json(story.state)
    assert story.do(m.RequestCancel, by="user:owner", reason="late") == []
    assert to_json(story.state) == before


def _check_conditions(story: Story) -> None:
    for spec in story.run.graph:
        needs = [story.state.tasks[need] for need in spec.needs]
        went_wrong = any(n.status is m.TaskStatus.FAILED or (n.status is m.TaskStatus.CANCELLED and n.began) for n in needs)
        began = story.state.tasks[spec.id].began
        if spec.when == "failed":
            assert began == went_wrong
        elif began:
            assert all(need.status is m.TaskStatus.COMPLETED for need in needs)


def _check_outcome(story: Story) -> None:
    failed = story.at(m.TaskStatus.FAILED)
    status = story.state.status
    if story.state.cancel_requested:
        assert status is m.RunStatus.CANCELLED
    elif not failed:
        assert status is m.RunStatus.COMPLETED
    else:
        branch = [name for name, spec in story.run.graph.specs.items() if spec.branch]
        is_whole = bool(branch) and all(story.state.tasks[name].status is m.TaskStatus.COMPLETED for name in branch)
        assert status is (m.RunStatus.ROLLED_BACK if is_whole else m.RunStatus.FAILED)
        assert story.state.error["task"] in failed


def test_tasks_start_in_reading_order_as_far_as_there_are_slots():
    story = Story(task("a"), task("b"), task("c"), task("d", "a"), max_concurrent_tasks=2).start()
    assert story.at(m.TaskStatus.RUNNING) == ["a", "b"]
    story.complete("a")
    assert story.at(m.TaskStatus.RUNNING) == ["b", "c"]
    story.complete("b")
    assert story.at(m.TaskStatus.RUNNING) == ["c", "d"]


def test_a_run_waits_for_its_start():
    story = Story(task("a"))
    assert story.state.status is m.RunStatus.PENDING
    assert story.statuses() == {"a": "pending"}


def test_a_run_that_is_cancelled_before_its_start_does_nothing():
    story = Story(task("a"), task("b", "a"))
    story.do(m.RequestCancel, by="user:owner", reason="")
    assert story.state.status is m.RunStatus.CANCELLED
    assert story.statuses() == {"a": "cancelled", "b": "cancelled"}


def test_what_needs_a_failed_task_is_skipped_at_once_with_its_reason():
    story = Story(task("a"), task("slow"), task("b", "a", "slow"), task("c", "b")).start()
    story.fail("a")
    assert story.statuses() == {"a": "failed", "slow": "running", "b": "skipped", "c": "skipped"}
    assert story.state.tasks["b"].reason == "a failed"
    story.complete("slow")
    assert story.state.status is m.RunStatus.FAILED
    assert story.state.error == TERMINAL | {"task": "a"}


def test_a_terminal_failure_is_not_tried_again_and_a_transient_one_as_often_as_allowed():
    policy = Retry(max_attempts=3, delay_s=1.0, factor=3.0, jitter=0.5)
    story = Story(task("a", retry=policy), task("b", retry=policy)).start()
    story.fail("b")
    assert story.statuses()["b"] == "failed"
    [first] = story.fail("a", is_transient=True, jitter=0.4)
    assert isinstance(first, m.TaskRetryScheduled)
    assert (first.delay_s, first.retry_at) == (1.2, "2026-01-01T00:00:01.200Z")
    story.do(m.RetryDue, task="a")
    [second] = story.fail("a", is_transient=True)
    assert isinstance(second, m.TaskRetryScheduled)
    assert second.delay_s == 3.0
    story.do(m.RetryDue, task="a")
    assert isinstance(story.fail("a", is_transient=True)[0], m.TaskFailed)
    assert story.state.tasks["a"].attempt == 3


def test_backoff_has_a_ceiling_however_often_it_failed():
    policy = Retry(delay_s=1.0, factor=2.0, max_delay_s=30.0)
    assert [retry_delay_s(policy, failures) for failures in (0, 1, 4, 5, 5000)] == [1.0, 2.0, 16.0, 30.0, 30.0]


def test_a_retry_that_is_due_waits_for_a_slot():
    story = Story(task("a", retry=Retry(max_attempts=2)), task("b"), max_concurrent_tasks=1).start()
    story.fail("a", is_transient=True)
    assert story.statuses() == {"a": "waiting", "b": "running"}
    story.do(m.RetryDue, task="a")
    assert story.statuses() == {"a": "pending", "b": "running"}
    assert story.do(m.RetryDue, task="a") == []
    story.complete("b")
    assert story.statuses() == {"a": "running", "b": "completed"}


def test_an_answered_task_waits_for_a_slot():
    story = Story(task("a"), task("b"), max_concurrent_tasks=1).start()
    story.park("a")
    story.do(m.Answer, task="a", answer="yes", by="user:owner")
    assert story.statuses() == {"a": "pending", "b": "running"}
    story.complete("b")
    assert (story.state.tasks["a"].attempt, story.state.tasks["a"].answer) == (2, "yes")


def test_answers_are_checked_and_count_once():
    story = Story(task("a"), task("b")).start()
    story.park("a")
    asked = story.state.tasks["a"].question["asked"]
    assert isinstance(story.events[asked - 1], m.TaskParked)
    with pytest.raises(Invalid, match="choose one of: yes, no") as unknown:
        story.do(m.Answer, task="a", answer="maybe", by="user:owner")
    assert unknown.value.code == "unknown_option"
    for other in ({"task": "b"}, {"task": "nobody"}, {"task": "a", "asked": asked + 1}):
        with pytest.raises(Conflict) as refusal:
            story.do(m.Answer, answer="yes", by="user:owner", **other)
        assert refusal.value.code == "not_waiting"
    story.do(m.Answer, task="a", answer="yes", by="user:owner", asked=asked)
    with pytest.raises(Conflict):
        story.do(m.Answer, task="a", answer="no", by="user:owner")


def test_a_cancelled_question_takes_no_answer_any_more():
    story = Story(task("a"), task("undo", "a", when="failed")).start()
    story.park("a")
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    assert story.statuses() == {"a": "cancelled", "undo": "running"}
    with pytest.raises(Conflict):
        story.do(m.Answer, task="a", answer="yes", by="user:owner")


def test_a_body_that_asks_while_its_run_is_cancelled_is_cancelled_with_it():
    story = Story(task("a")).start()
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    story.park("a")
    assert story.state.status is m.RunStatus.CANCELLED


def test_cancelling_stops_the_work_and_walks_the_way_back_to_its_end():
    story = Story(
        task("deploy"),
        task("watch", "deploy"),
        task("notify", "watch"),
        task("restore", "watch", when="failed", branch="rollback:prod", retry=Retry(max_attempts=2)),
        task("settle", "restore", branch="rollback:prod"),
    ).start()
    story.complete("deploy")
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    assert story.statuses() == {
        "deploy": "completed",
        "watch": "running",
        "notify": "cancelled",
        "restore": "pending",
        "settle": "pending",
    }
    story.stop("watch")
    story.fail("restore", is_transient=True)
    assert story.statuses()["restore"] == "waiting", "the way back is tried again, cancelled or not"
    story.do(m.RetryDue, task="restore")
    story.complete("restore", "settle")
    assert story.state.status is m.RunStatus.CANCELLED


def test_a_task_that_never_began_has_nothing_to_bring_back():
    story = Story(task("a"), task("b", "a"), task("undo", "b", when="failed")).start()
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    story.stop("a")
    assert story.statuses() == {"a": "cancelled", "b": "cancelled", "undo": "skipped"}


def test_a_way_back_that_fails_is_a_failure():
    story = Story(task("watch"), task("restore", "watch", when="failed", branch="rollback:prod")).start()
    story.fail("watch")
    story.fail("restore")
    assert story.state.status is m.RunStatus.FAILED


def test_adoption_starts_again_what_was_running_and_nothing_else():
    story = Story(task("a"), task("b"), task("c"), task("d", "a"), retry := task("r", retry=Retry(max_attempts=2))).start()
    story.complete("a")
    story.park("b")
    story.fail(retry.id, is_transient=True)
    story.do(m.Adopt, owner="next", epoch=2)
    attempts = {name: (str(state.status), state.attempt) for name, state in story.state.tasks.items()}
    assert attempts == {
        "a": ("completed", 1),
        "b": ("waiting", 1),
        "c": ("running", 2),
        "d": ("running", 2),
        "r": ("waiting", 1),
    }
    assert story.do(m.Complete, task="c", attempt=1, output={}) == [], "the former attempt has no say any more"


def test_a_run_that_is_adopted_without_end_is_ended():
    story = Story(task("a"), task("b", "a"), max_adoptions=2).start()
    for epoch in (2, 3, 4):
        story.do(m.Adopt, owner="next", epoch=epoch)
    assert story.state.status is m.RunStatus.FAILED
    assert story.state.error["code"] == "adopted_too_often"
    assert story.statuses() == {"a": "cancelled", "b": "cancelled"}


def test_only_the_running_attempt_may_write_to_the_record():
    story = Story(task("a")).start()
    report = m.TaskReported(at=AT, task="a", message="half way")
    story.do(m.Note, task="a", attempt=1, events=(report,))
    assert story.state.tasks["a"].note == "half way"
    with pytest.raises(Conflict) as stale:
        story.do(m.Note, task="a", attempt=2, events=(report,))
    assert stale.value.code == "attempt_over"
    story.complete("a")
    with pytest.raises(Conflict):
        story.do(m.Note, task="a", attempt=1, events=(report,))


def test_a_graph_without_tasks_is_completed_at_once():
    assert Story().start().state.status is m.RunStatus.COMPLETED


def test_every_event_survives_the_journal():
    story = Story(task("a"), task("undo", "a", when="failed")).start()
    story.park("a", reason="why")
    story.do(m.Answer, task="a", answer="yes", by="user:owner")
    story.fail("a")
    story.complete("undo")
    decoder = msgspec.json.Decoder(m.RunEvent)
    read_back = fold(decoder.decode(msgspec.json.encode(event)) for event in story.events)
    assert read_back is not None
    assert to_json(read_back) == to_json(story.state)


def _at(minutes: int) -> str:
    return f"2026-01-01T{minutes // 60:02}:{minutes % 60:02}:00.000Z"


def test_a_run_has_worked_while_it_was_there_and_nobody_was_asked():
    """From its events alone, so that it is the same after every restart."""
    run = run_of(task("a"), task("b"))
    parked: dict[str, Any] = {"question": "Go on?", "options": ("yes",), "evidence": {}}
    events: list[m.RunEvent] = [
        m.RunSubmitted(at=_at(0), run=run),
        m.RunStarted(at=_at(10)),
        m.TaskStarted(at=_at(10), task="a", attempt=1),
        m.TaskStarted(at=_at(10), task="b", attempt=1),
        m.TaskReported(at=_at(15), task="a", message="half"),
        # It died, and was adopted after an hour.
        m.RunAdopted(at=_at(75), owner="pid 2", epoch=2),
        m.TaskParked(at=_at(77), task="a", **parked),
        m.TaskParked(at=_at(80), task="b", **parked),
        m.RunAdopted(at=_at(90), owner="pid 3", epoch=3),
        m.TaskAnswered(at=_at(100), task="a", answer="yes", by="user:owner"),
        m.TaskAnswered(at=_at(120), task="b", answer="yes", by="user:owner"),
        m.TaskStarted(at=_at(121), task="b", attempt=2),
    ]
    minutes = [worked_s(state, event.at) / 60 for n, event in enumerate(events, 1) if (state := fold(events[:n]))]
    assert minutes == [0, 0, 0, 0, 5, 5, 7, 7, 7, 7, 7, 8]
    state = fold(events)
    assert state is not None
    assert worked_s(state, _at(0)) == 7 * 60, "a clock that was set back takes nothing away"
