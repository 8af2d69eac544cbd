"""What a run that went wrong takes back: exactly what may have had effects, in reverse, and never too early."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from harness.engine import run_of, task
from harness.examples import examples
from interlock.runs import model as m
from interlock.runs.decide import Scheduler, decide
from interlock.runs.evolve import fold
from interlock.runs.graph import Retry, TaskGraph, TaskSpec
from interlock.tools.model import Effect
from unit.test_runs_decide import AT, Story

BROKEN_OFF = {m.TaskStatus.FAILED, m.TaskStatus.CANCELLED}


@st.composite
def graphs(draw: st.DrawFn) -> list[TaskSpec]:
    """Forward tasks, some with undos, some of those settled by another task; reactions beside them. Undos stand anywhere."""
    work: list[TaskSpec] = []
    for number in range(draw(st.integers(1, 7))):
        needs = draw(st.lists(st.sampled_from([spec.id for spec in work]), max_size=3, unique=True)) if work else []
        when = draw(st.sampled_from(["succeeded", "succeeded", "succeeded", "failed"])) if needs else "succeeded"
        branch = draw(st.sampled_from(["", "rollback:prod"])) if when == "failed" else ""
        work.append(task(f"t{number}", *needs, when=when, branch=branch, retry=Retry(max_attempts=draw(st.integers(1, 2)))))
    reactions = TaskGraph(tasks=tuple(work)).reactions
    undos: list[TaskSpec] = []
    for spec in work:
        if spec.id not in reactions and draw(st.integers(0, 3)):
            settled_by = draw(st.sampled_from(["", "", *(other.id for other in work)]))
            branch = draw(st.sampled_from(["", "rollback:prod"]))
            retry = Retry(max_attempts=draw(st.integers(1, 2)))
            undos.append(task(f"u-{spec.id}", undoes=spec.id, settled_by=settled_by, branch=branch, retry=retry))
    return draw(st.permutations(work + undos))


CHOICES = st.lists(st.integers(0, 10_000), max_size=30)
SLOW = examples(200, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(graphs(), st.integers(1, 3), CHOICES)
def test_exactly_what_may_have_had_effects_is_undone_in_reverse_after_all_else(specs, slots, choices):
    story = Story(*specs, max_concurrent_tasks=slots).start()
    go_on(story, choices)
    check(story.run.graph, story.events)


@SLOW
@given(graphs(), CHOICES, st.integers(0, 200), CHOICES)
def test_a_run_that_is_cut_at_any_event_is_undone_as_if_nothing_had_happened(specs, before, cut, after):
    story = Story(*specs).start()
    go_on(story, before)
    kept = story.events[: 2 + cut % (len(story.events) - 1)]
    state = fold(kept)
    assert state is not None
    if state.status in m.RUN_ENDED:
        return
    story.events, story.scheduler = list(kept), Scheduler(state)
    story.do(m.Adopt, owner="next", epoch=2)
    go_on(story, after)
    check(story.run.graph, story.events)


def go_on(story: Story, choices: list[int]) -> None:
    for choice in choices:
        if story.state.status in m.RUN_ENDED:
            break
        story.act_at_random(choice)
    story.finish()


def check(graph: TaskGraph, events: list[m.RunEvent]) -> None:
    """The rules by the letter: with the whole closure of the needs, at each start of an undo and at the end."""
    above = rests_on(graph)
    state = fold(events[:1])
    assert state is not None
    for count, event in enumerate(events):
        if isinstance(event, m.TaskStarted) and (spec := graph.specs[event.task]).undoes:
            state = fold(events[:count])
            assert state is not None
            tasks = state.tasks
            assert all(tasks[other.id].status in m.TASK_ENDED for other in graph if not other.undoes), "never too early"
            assert all(tasks[undo].status in m.TASK_ENDED for undo in above[spec.undoes]), "in reverse"
            assert not blockers(state, above[spec.undoes])
    state = fold(events)
    assert state is not None
    for spec in graph:
        if spec.undoes:
            assert state.tasks[spec.id].began == is_to_run(graph, state, spec, above), spec.id
            assert state.tasks[spec.id].began or state.tasks[spec.id].status is m.TaskStatus.SKIPPED
    check_summary(graph, state)


def rests_on(graph: TaskGraph) -> dict[str, set[str]]:
    """For each task the undos of everything that needs it, directly or through others."""
    found: dict[str, set[str]] = {}
    for spec in sorted((spec for spec in graph if not spec.undoes), key=lambda spec: spec.id, reverse=True):
        found[spec.id] = set()
        for successor in graph.successors[spec.id]:
            found[spec.id] |= found[successor]
            found[spec.id] |= {graph.undos[successor]} if successor in graph.undos else set()
    return found


def blockers(state: m.RunState, undos: set[str]) -> set[str]:
    return {undo for undo in undos if state.tasks[undo].status in BROKEN_OFF}


def is_to_run(graph: TaskGraph, state: m.RunState, spec: TaskSpec, above: dict[str, set[str]]) -> bool:
    target = state.tasks[spec.undoes]
    went_wrong = any(
        state.tasks[other.id].status is m.TaskStatus.FAILED
        or (state.tasks[other.id].status is m.TaskStatus.CANCELLED and state.tasks[other.id].began)
        for other in graph
        if not other.undoes
    )
    settles = state.tasks[spec.settled_by].status if spec.settled_by else None
    is_settled = settles is m.TaskStatus.COMPLETED and target.status is m.TaskStatus.COMPLETED
    is_wanted = went_wrong or bool(state.cancel_requested)
    return is_wanted and target.began and not is_settled and not blockers(state, above[spec.undoes])


def check_summary(graph: TaskGraph, state: m.RunState) -> None:
    if state.status is m.RunStatus.COMPLETED or not graph.undos:
        assert state.summary is None
        return
    assert state.summary is not None
    told = state.summary
    left = [item.task for item in told.left]
    mentioned = [*told.stands, *told.undone, *left, *told.never_begun]
    assert sorted(mentioned) == sorted(spec.id for spec in graph if spec.id not in graph.cleanup), "each task once"
    for name in told.never_begun:
        assert not state.tasks[name].began
    for name in told.stands:
        assert state.tasks[name].status is m.TaskStatus.COMPLETED
        assert state.tasks.get(graph.undos.get(name, ""), m.TaskState()).status in {m.TaskStatus.PENDING, m.TaskStatus.SKIPPED}
    for name, undo in graph.undos.items():
        if state.tasks[undo].status is m.TaskStatus.COMPLETED:
            assert name in told.undone
        if state.tasks[undo].status in BROKEN_OFF:
            assert name in left or any(graph.specs[other].when == "failed" for other in graph.successors[name])
            assert state.status is not m.RunStatus.ROLLED_BACK


def rollout() -> tuple[TaskSpec, ...]:
    """Two environments, one after the other, each with its undo beside what it does."""
    return (
        task("build", effect=Effect.READ),
        task("staging", "build"),
        task("staging-back", undoes="staging"),
        task("prod", "staging"),
        task("prod-back", undoes="prod"),
        task("watch", "prod", effect=Effect.READ),
    )


def test_a_run_that_completes_undoes_nothing():
    story = Story(*rollout()).start()
    story.complete("build", "staging", "prod", "watch")
    assert (story.state.status, story.state.summary) == (m.RunStatus.COMPLETED, None)
    assert story.statuses()["prod-back"] == "skipped"
    assert story.state.tasks["prod-back"].reason == "nothing went wrong"


def test_what_broke_off_half_way_is_undone_before_what_it_rests_on():
    story = Story(*rollout()).start()
    story.complete("build", "staging")
    story.fail("prod")
    assert (story.statuses()["prod-back"], story.statuses()["staging-back"]) == ("running", "pending")
    story.complete("prod-back")
    assert story.statuses()["staging-back"] == "running"
    story.complete("staging-back")
    assert story.state.status is m.RunStatus.FAILED
    assert story.state.summary == m.RunSummary(undone=("staging", "prod"))


def test_an_undo_that_fails_leaves_in_place_what_its_target_rests_on():
    story = Story(*rollout()).start()
    story.complete("build", "staging", "prod")
    story.fail("watch")
    story.fail("prod-back")
    assert story.statuses()["staging-back"] == "skipped"
    assert story.state.error["task"] == "watch", "what went wrong first is what is told"
    assert story.state.summary == m.RunSummary(
        left=(
            m.Left(task="staging", reason="staging-back skipped: prod-back failed, and prod rests on staging"),
            m.Left(task="prod", reason="prod-back failed: it broke"),
        )
    )


def test_an_undo_is_tried_again_like_any_task():
    specs = (task("a"), task("a-back", undoes="a", retry=Retry(max_attempts=2)), task("b", "a"))
    story = Story(*specs).start()
    story.complete("a")
    story.fail("b")
    story.fail("a-back", is_transient=True)
    assert story.statuses()["a-back"] == "waiting"
    story.do(m.RetryDue, task="a-back")
    story.complete("a-back")
    assert story.state.summary == m.RunSummary(
        undone=("a",), left=(m.Left(task="b", reason="failed half-way, and nothing undoes it"),)
    )


def test_undos_that_do_not_rest_on_each_other_go_together():
    specs = [task("base"), task("base-back", undoes="base")]
    for name in ("left", "right"):
        specs += [task(name, "base"), task(f"{name}-back", undoes=name)]
    story = Story(*specs, task("end", "left", "right")).start()
    story.complete("base", "left", "right")
    story.fail("end")
    assert story.at(m.TaskStatus.RUNNING) == ["left-back", "right-back"]
    story.complete("left-back")
    assert story.at(m.TaskStatus.RUNNING) == ["right-back"]
    story.complete("right-back")
    assert story.at(m.TaskStatus.RUNNING) == ["base-back"]


def test_nothing_is_undone_while_anything_else_is_under_way():
    story = Story(task("a"), task("a-back", undoes="a"), task("b", "a"), task("slow"), task("later", "slow")).start()
    story.complete("a")
    story.fail("b")
    assert story.statuses()["a-back"] == "pending"
    story.complete("slow")
    assert story.statuses()["a-back"] == "pending"
    story.complete("later")
    assert story.statuses()["a-back"] == "running"


def test_a_rollback_branch_comes_first_and_the_undos_after_it():
    story = Story(
        task("config"),
        task("config-back", undoes="config"),
        task("switch", "config"),
        task("restore", "switch", when="failed", branch="rollback:prod"),
        task("settle", "restore", branch="rollback:prod"),
    ).start()
    story.complete("config")
    story.fail("switch")
    assert story.at(m.TaskStatus.RUNNING) == ["restore"]
    story.complete("restore")
    assert story.at(m.TaskStatus.RUNNING) == ["settle"]
    story.complete("settle")
    assert story.at(m.TaskStatus.RUNNING) == ["config-back"]
    story.complete("config-back")
    assert story.state.status is m.RunStatus.ROLLED_BACK
    assert story.state.summary == m.RunSummary(undone=("config", "switch"))


@pytest.mark.parametrize(("branch", "status"), [("", "failed"), ("cleanup:prod", "failed"), ("rollback:prod", "rolled_back")])
def test_a_run_is_rolled_back_where_its_undos_are_a_branch_that_brings_things_back(branch: str, status: str):
    story = Story(
        task("a"),
        task("a-back", undoes="a", branch=branch),
        task("b", "a"),
        task("c", "b"),
        task("c-back", undoes="c", branch=branch),
    ).start()
    story.complete("a")
    story.fail("b")
    story.complete("a-back")
    assert story.state.status == status


def test_what_is_settled_stays_when_something_later_fails():
    story = Story(
        task("staging"),
        task("staging-back", undoes="staging", settled_by="approve"),
        task("approve", "staging", effect=Effect.READ),
        task("prod", "approve"),
        task("prod-back", undoes="prod", settled_by="watch"),
        task("watch", "prod", effect=Effect.READ),
    ).start()
    story.complete("staging", "approve", "prod")
    story.fail("watch")
    story.complete("prod-back")
    assert story.state.tasks["staging-back"].reason == "staging is accepted: approve completed"
    assert story.state.summary == m.RunSummary(stands=("staging",), undone=("prod",))


def test_a_one_way_step_is_told_and_what_came_before_it_is_undone_all_the_same():
    story = Story(
        task("a"), task("a-back", undoes="a"), task("drop", "a", one_way="drops a column"), task("b", "drop"), task("c", "b")
    ).start()
    story.complete("a", "drop")
    story.fail("b")
    story.complete("a-back")
    assert story.state.summary == m.RunSummary(
        undone=("a",),
        left=(
            m.Left(task="drop", reason="cannot be undone: drops a column"),
            m.Left(task="b", reason="failed half-way, and nothing undoes it"),
        ),
        never_begun=("c",),
    )


def test_a_cancelled_run_undoes_what_was_completed_though_nothing_broke_off():
    story = Story(*rollout()).start()
    story.complete("build")
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    story.complete("staging")
    assert story.at(m.TaskStatus.RUNNING) == ["staging-back"]
    story.complete("staging-back")
    assert story.state.status is m.RunStatus.CANCELLED
    assert story.state.summary == m.RunSummary(undone=("staging",), never_begun=("prod",))


def test_a_long_chain_is_undone_step_by_step():
    length = 3000
    specs = [task("t0")]
    specs += [task(f"t{number}", f"t{number - 1}") for number in range(1, length)]
    specs += [task(f"u{number}", undoes=f"t{number}") for number in range(length)]
    state = fold(decide(None, m.Submit(at=AT, run=run_of(*specs))))
    assert state is not None
    scheduler = Scheduler(state)
    scheduler.decide(m.Start(at=AT))
    for number in range(length - 1):
        scheduler.decide(m.Complete(at=AT, task=f"t{number}", attempt=1, output={}))
    scheduler.decide(m.Fail(at=AT, task=f"t{length - 1}", attempt=1, error={}, is_transient=False))
    for number in reversed(range(length)):
        [done, *_] = scheduler.decide(m.Complete(at=AT, task=f"u{number}", attempt=1, output={}))
        assert isinstance(done, m.TaskCompleted)
    assert state.status is m.RunStatus.FAILED
    assert state.summary is not None
    assert len(state.summary.undone) == length


def way_back() -> list[TaskSpec]:
    """A migration beneath a candidate, and two clean-ups for that: one before it has traffic, and one in a branch."""
    return [
        task("migrate"),
        task("unmigrate", undoes="migrate", settled_by="watch"),
        task("drop", "migrate", one_way="drops a column", settled_by="watch"),
        task("start", "drop"),
        task("verify", "start", effect=Effect.READ),
        task("discard", "start", "verify", when="failed", takes_back=("start",)),
        task("switch", "verify"),
        task("watch", "switch", effect=Effect.READ),
        task("restore", "switch", "watch", when="failed", branch="rollback:x", takes_back=("switch",)),
        task("take-out", "restore", branch="rollback:x", takes_back=("start",)),
        task("retire", "watch"),
    ]


def fails(broken: str, *done: str, then: tuple[str, ...] = ()) -> Story:
    """The story of `way_back` in which these are done, ``broken`` fails, and ``then`` these are done."""
    story = Story(*way_back()).start()
    story.complete(*done)
    story.fail(broken)
    story.complete(*then)
    return story


DROPPED = m.Left(task="drop", reason="cannot be undone: drops a column")
SERVING = ("migrate", "drop", "start", "verify", "switch")


def test_what_takes_a_step_back_counts_whichever_of_several_it_was():
    early = fails("verify", "migrate", "drop", "start", then=("discard", "unmigrate"))
    expected = m.RunSummary(undone=("migrate", "start"), left=(DROPPED,), never_begun=("switch", "retire"))
    assert (early.state.status, early.state.summary) == (m.RunStatus.FAILED, expected)
    late = fails("watch", *SERVING, then=("restore", "take-out", "unmigrate"))
    expected = m.RunSummary(undone=("migrate", "start", "switch"), left=(DROPPED,), never_begun=("retire",))
    assert (late.state.status, late.state.summary) == (m.RunStatus.ROLLED_BACK, expected)


@pytest.mark.parametrize("broken", ["restore", "take-out"])
def test_nothing_is_pulled_away_from_under_what_could_not_be_taken_back(broken):
    story = fails("watch", *SERVING, then=() if broken == "restore" else ("restore",))
    story.fail(broken)
    reason = f"{broken} failed, and start rests on migrate"
    assert (story.state.status, story.state.tasks["unmigrate"].reason) == (m.RunStatus.FAILED, reason)
    assert story.state.summary is not None
    left = {item.task: item.reason for item in story.state.summary.left}
    assert left["migrate"] == f"unmigrate skipped: {reason}"
    assert left["start"].startswith(f"{broken} failed")
    assert ("switch" in left) == (broken == "restore")


def test_what_was_settled_stands_also_where_it_is_one_way():
    story = fails("retire", *SERVING, "watch")
    left = m.Left(task="retire", reason="failed half-way, and nothing undoes it")
    expected = m.RunSummary(stands=("migrate", "drop", "start", "switch"), left=(left,))
    assert (story.state.status, story.state.summary) == (m.RunStatus.FAILED, expected)
