"""Task graphs: what is refused, what a branch is by itself, how outputs reach inputs."""

import pytest

from harness.engine import task
from interlock.core.errors import Invalid
from interlock.runs.graph import TaskGraph, references, resolve


def graph(*tasks):
    return TaskGraph(tasks=tasks)


@pytest.mark.parametrize(
    ("broken", "place", "what"),
    [
        (graph(task("a"), task("a")), "task a", "used twice"),
        (graph(task("a", "b")), "task a", "'b', which is not in the graph"),
        (graph(task("a", "c"), task("b", "a"), task("c", "b")), "graph", "wait for each other"),
        (graph(task("a", "a")), "graph", "wait for each other"),
    ],
)
def test_a_broken_graph_is_refused_with_its_place(broken, place, what):
    with pytest.raises(Invalid, match=what) as refusal:
        broken.check()
    assert (refusal.value.code, refusal.value.where) == ("task_graph", place)


def test_a_chain_longer_than_the_interpreters_stack_is_checked():
    graph(task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 5000))).check()


def test_a_branch_is_a_graph_of_its_own_whose_entry_conditions_are_met():
    whole = graph(
        task("watch"),
        task("restore", "watch", when="failed", branch="rollback:prod"),
        task("settle", "restore", "watch", branch="rollback:prod"),
        task("page", "restore", when="failed", branch="rollback:prod"),
    )
    assert [(spec.id, spec.needs, spec.when) for spec in whole.branch("rollback:prod")] == [
        ("restore", (), "succeeded"),
        ("settle", ("restore",), "succeeded"),
        ("page", ("restore",), "failed"),
    ]


def test_what_follows_from_a_reaction_is_cleanup_too():
    whole = graph(task("a"), task("b", "a"), task("undo", "b", when="failed"), task("settle", "undo"))
    assert whole.cleanup == {"undo", "settle"}


def test_references_are_found_and_replaced_wherever_they_stand():
    inputs = {
        "port": {"$output": "start.port"},
        "all": [{"$output": "build.x.digest"}, {"deep": {"$output": "gone.by"}}],
        "n": 1,
    }
    assert sorted(references(inputs)) == ["build.x.digest", "gone.by", "start.port"]
    outputs = {"start": {"port": 8080}, "build.x": {"digest": "sha256:1"}}
    assert resolve(inputs, outputs) == {"port": 8080, "all": ["sha256:1", {"deep": None}], "n": 1}
