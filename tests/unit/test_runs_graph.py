"""Task graphs: what is refused, what a branch is by itself, how outputs reach inputs."""

import pytest

from harness.engine import task
from interlock.core.errors import Invalid
from interlock.runs.graph import TaskGraph
from interlock.runs.references import references, resolve
from interlock.tools.model import Effect


def graph(*tasks):
    return TaskGraph(tasks=tasks)


@pytest.mark.parametrize(
    ("broken", "place", "what"),
    [
        (graph(task("a"), task("a")), "task a", "used twice"),
        (graph(task("a", "b")), "task a", "'b', which is not in the graph"),
        (graph(task("a", "c"), task("b", "a"), task("c", "b")), "graph", "wait for each other"),
        (graph(task("a", "a")), "graph", "wait for each other"),
        (graph(task("u", undoes="a")), "task u", "undoes 'a', which is not in the graph"),
        (graph(task("a"), task("u", undoes="a"), task("v", undoes="a")), "task u", "and so does 'v'"),
        (graph(task("a"), task("u", undoes="a"), task("v", undoes="u")), "task v", "brings things back itself"),
        (graph(task("a"), task("r", "a", when="failed"), task("u", undoes="r")), "task u", "brings things back itself"),
        (graph(task("a"), task("b"), task("u", "b", undoes="a")), "task u", "no needs, no condition"),
        (graph(task("a"), task("u", undoes="a", when="failed")), "task u", "no needs, no condition"),
        (graph(task("a"), task("u", undoes="a", one_way="no")), "task u", "no needs, no condition"),
        (graph(task("a"), task("u", undoes="a"), task("b", "u")), "task b", "needs 'u', which undoes"),
        (graph(task("a", one_way="lost"), task("u", undoes="a")), "task a", "is one-way, and 'u' undoes it"),
        (graph(task("a"), task("u", undoes="a", settled_by="x")), "task u", "is settled by 'x', which is no task"),
        (graph(task("a"), task("u", undoes="a", settled_by="u")), "task u", "is settled by 'u', which is no task"),
        (graph(task("a", settled_by="b"), task("b")), "task a", "says what settles it, and undoes nothing"),
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


def test_undos_are_cleanup_and_no_reaction():
    whole = graph(task("a"), task("back", undoes="a"), task("b", "a", when="failed"))
    assert (whole.cleanup, whole.reactions, whole.undos) == ({"back", "b"}, {"b"}, {"a": "back"})


def test_undos_of_what_lies_outside_are_a_branch_like_any_in_their_order():
    whole = graph(
        task("a"),
        task("a-back", undoes="a", settled_by="d", branch="rollback:prod"),
        task("b", "a"),
        task("c", "b"),
        task("c-back", undoes="c", branch="rollback:prod"),
        task("d", "c"),
        task("d-back", undoes="d"),
        task("e", "c"),
        task("e-back", undoes="e", branch="rollback:prod"),
    )
    branch = whole.branch("rollback:prod")
    assert [(spec.id, spec.needs, spec.undoes, spec.settled_by) for spec in branch] == [
        ("a-back", ("c-back",), "", ""),
        ("c-back", ("e-back",), "", ""),
        ("e-back", (), "", ""),
    ]
    branch.check()


def test_a_task_that_changes_the_world_without_a_word_of_its_way_back_is_named():
    whole = graph(
        task("look", effect=Effect.READ),
        task("a"),
        task("b"),
        task("b-back", undoes="b"),
        task("c", one_way="sends a message"),
        task("restore", "a", when="failed"),
        task("d"),
        task("discard", "d", when="failed", takes_back=("d",)),
        task("e"),
        task("clean-up", "e", takes_back=("e",)),
    )
    assert whole.undeclared == ("a",)
    assert whole.takers == {"d": ("discard",), "e": ("clean-up",)}


def test_a_branch_alone_takes_back_what_is_in_it():
    whole = graph(
        task("a"), task("b", "a"), task("back", "b", when="failed", branch="rollback:x", takes_back=("a", "b")), task("c", "b")
    )
    assert whole.branch("rollback:x").specs["back"].takes_back == ()


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([task("a", "b", takes_back=("x",)), task("b")], "takes back 'x', which is not in the graph"),
        ([task("a", takes_back=("a",))], "takes back 'a', which brings"),
        ([task("a"), task("b", "a", when="failed"), task("c", "b", takes_back=("b",))], "takes back 'b', which brings"),
        ([task("a", one_way="why"), task("b", "a", takes_back=("a",))], "is one-way, and 'b' undoes it"),
        ([task("a"), task("b", "a", takes_back=("a",), one_way="why")], "takes back, and is one-way"),
        ([task("a"), task("b", undoes="a", takes_back=("a",))], "undoes: it has no needs"),
        ([task("a", one_way="why", settled_by="x")], "is settled by 'x', which is no task that could"),
    ],
)
def test_a_word_of_what_is_taken_back_that_cannot_be_true_is_refused(tasks, said):
    with pytest.raises(Invalid, match=said):
        graph(*tasks).check()


def test_references_are_found_and_replaced_wherever_they_stand():
    inputs = {
        "port": {"$output": "start.port"},
        "all": [{"$output": "build.x.digest"}, {"deep": {"$output": "gone.by"}}],
        "n": 1,
    }
    assert sorted(references(inputs)) == ["build.x.digest", "gone.by", "start.port"]
    outputs = {"start": {"port": 8080}, "build.x": {"digest": "sha256:1"}}
    assert resolve(inputs, outputs) == {"port": 8080, "all": ["sha256:1", {"deep": None}], "n": 1}
