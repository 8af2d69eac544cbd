"""In which order ready tasks start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine import run_of, task
from harness.examples import examples
from interlock.core.errors import Invalid
from interlock.runs import model as m
from interlock.runs.graph import TaskGraph, TaskSpec
from interlock.runs.order import upward_ranks
from unit.test_runs_decide import Story, graphs


def started(story: Story) -> list[str]:
    """Everything that starts, one after the other, when each task completes at once."""
    while running := story.at(m.TaskStatus.RUNNING):
        story.complete(running[0])
    return [event.task for event in story.events if isinstance(event, m.TaskStarted)]


def story_of(*specs: TaskSpec, **estimates: float) -> Story:
    return Story(*specs, max_concurrent_tasks=1, estimates=estimates).start()


def test_the_highest_priority_starts_first() -> None:
    story = story_of(task("a"), task("low", priority=1), task("high", priority=10), task("b"))
    assert started(story) == ["high", "a", "b", "low"]


def test_of_one_priority_the_one_with_the_longest_path_behind_it() -> None:
    specs = (task("long"), task("short"), task("first"), task("second", "first"), task("third", "second"))
    story = story_of(*specs, long=5.0, short=1.0, first=1.0, second=2.0, third=3.0)
    assert story.run.ranks == {"long": 5.0, "short": 1.0, "first": 6.0, "second": 5.0, "third": 3.0}
    assert started(story) == ["first", "long", "second", "third", "short"]


def test_a_priority_counts_more_than_a_path() -> None:
    assert started(story_of(task("a"), task("b", priority=6), a=100.0, b=1.0)) == ["b", "a"]


def test_what_is_not_estimated_counts_nothing_and_stays_in_reading_order() -> None:
    assert started(story_of(task("a"), task("b"), task("c"), task("d"), c=1.0)) == ["c", "a", "b", "d"]


def test_what_falls_due_again_takes_its_place_in_the_order() -> None:
    story = story_of(task("a"), task("b"), task("c"), a=1.0, b=2.0, c=3.0)
    story.park("c")
    story.do(m.Answer, task="c", answer="yes", by="user:owner")
    assert started(story) == ["c", "b", "c", "a"]


@pytest.mark.parametrize("priority", [0, 11, -3])
def test_priorities_have_bounds(priority: int) -> None:
    with pytest.raises(Invalid, match=f"task a: has priority {priority}: it goes from 1 to 10"):
        TaskGraph(tasks=(task("a", priority=priority),)).check()


def test_a_chain_of_any_length_is_ranked() -> None:
    tasks = [task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 20_000))]
    ranks = upward_ranks(TaskGraph(tasks=tuple(tasks)), {"t19999": 1.0, "t0": 2.0})
    assert (ranks["t0"], ranks["t1"], ranks["t19999"]) == (3.0, 1.0, 1.0)


@examples(60)
@given(graphs(), st.dictionaries(st.sampled_from([f"t{n}" for n in range(7)]), st.floats(0, 100)))
def test_a_rank_is_the_longest_path_to_an_end(specs: list[TaskSpec], estimates: dict[str, float]) -> None:
    graph = run_of(*specs).graph

    def longest(task_id: str) -> float:
        return estimates.get(task_id, 0.0) + max((longest(each) for each in graph.successors[task_id]), default=0.0)

    ranks = upward_ranks(graph, estimates)
    assert all(ranks.get(spec.id, 0.0) == longest(spec.id) for spec in specs)
