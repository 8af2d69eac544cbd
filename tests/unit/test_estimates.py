"""How long a plan takes: the longest way on which nothing goes wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine import run_of, task
from harness.examples import examples
from interlock.plans.blueprints.layout import lay_out
from interlock.plans.drafting import estimates
from interlock.plans.drafting.estimates import durations
from interlock.runs import model as m
from interlock.runs.decide import decide
from interlock.runs.evolve import fold
from interlock.runs.graph import TaskGraph
from unit.plan_facts import environment, facts, release

V1 = release("v1")
BROKEN = {"code": "broken", "message": "", "kind": "conflict"}


def graph(*tasks):
    return TaskGraph(tasks=tasks)


def estimate_s(graph, history, watch_s):
    return estimates.estimate_s(graph, estimates.estimates(graph, history, watch_s))


def test_tasks_one_after_the_other_add_up_and_beside_each_other_the_longest_counts():
    diamond = graph(task("a"), task("quick", "a"), task("slow", "a"), task("end", "quick", "slow"))
    history = {"a": 1.0, "quick": 2.0, "slow": 30.0, "end": 4.0}
    assert estimate_s(diamond, history, 0.0) == 35.0


def test_what_only_runs_after_a_failure_takes_no_time():
    way_back = graph(
        task("a"), task("undo", "a", when="failed"), task("settle", "undo", branch="rollback:staging"), task("b", "a")
    )
    assert estimate_s(way_back, {"a": 1.0, "b": 2.0, "undo": 100.0, "settle": 100.0}, 0.0) == 3.0


def test_the_watch_takes_its_window_whatever_it_took_last_time():
    watched = graph(task("start", kind="delivery.start"), task("watch", "start", kind="delivery.watch"))
    assert estimate_s(watched, {"start": 2.0, "watch": 9.0}, 60.0) == 62.0


def test_where_there_is_no_history_a_step_takes_what_such_steps_usually_take():
    command = graph(task("install", kind="delivery.command"))
    assert estimate_s(command, {}, 0.0) == 15.0
    assert estimate_s(command, {"install": 3.25, "other": 99.0}, 0.0) == 3.2
    assert estimate_s(graph(task("new", kind="somebody.else")), {}, 0.0) == 1.0


def test_a_plan_without_tasks_takes_no_time():
    assert estimate_s(graph(), {}, 60.0) == 0.0


def test_environments_are_watched_one_after_the_other():
    one = estimate_s(lay_out(facts(environments=(environment("staging", V1),)))[0], {}, 600.0)
    both = (environment("staging", V1), environment("production", V1))
    two = estimate_s(lay_out(facts(environments=both))[0], {}, 600.0)
    assert 600.0 < one < 660.0
    assert 1200.0 < two < 2 * one, "it is built once"


@examples(25)
@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=6), st.data())
def test_an_estimate_lies_between_the_longest_task_and_all_of_them(seconds, data):
    history = {f"t{number}": value for number, value in enumerate(seconds)}
    tasks = []
    for number, name in enumerate(history):
        needs = data.draw(st.sets(st.sampled_from(sorted(history)[:number]))) if number else ()
        tasks.append(task(name, *needs))
    assert max(seconds) - 0.1 <= estimate_s(graph(*tasks), history, 0.0) <= sum(seconds) + 0.1


def at(second):
    return f"2026-01-01T00:00:{second:06.3f}Z"


@pytest.fixture
def run():
    events = decide(None, m.Submit(at=at(0), run=run_of(task("a"), task("b", "a"), task("c", "b"))))

    def do(command):
        state = fold(events)
        assert state is not None
        events.extend(decide(state, command))

    do(m.Start(at=at(1)))
    do(m.Complete(at=at(3.5), task="a", attempt=1, output={}))
    do(m.Fail(at=at(9), task="b", attempt=1, error=BROKEN, is_transient=False))
    return fold(events)


def test_only_what_was_completed_says_how_long_it_takes(run):
    assert durations(run) == {"a": 2.5}


def test_a_clock_that_was_set_back_makes_no_negative_times(run):
    run.tasks["a"].ended_at = at(0)
    assert durations(run) == {"a": 0.0}
