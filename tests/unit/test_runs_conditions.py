"""Conditions: what is refused before anything runs, what decides, and what follows from a task that is left out."""

import pytest

from harness.engine import task
from interlock.core.errors import Invalid
from interlock.runs import conditions
from interlock.runs import model as m
from interlock.runs.graph import TaskGraph, TaskSpec
from unit.test_runs_decide import Story


class Given(Story):
    """A story whose tasks give what ``outputs`` says."""

    def __init__(self, *tasks: TaskSpec) -> None:
        self.outputs: dict[str, dict[str, object]] = {}
        super().__init__(*tasks)

    def giving(self, **outputs: dict[str, object]) -> "Given":
        self.outputs = outputs
        return self

    def output(self, name: str) -> dict[str, object]:
        return self.outputs.get(name, {})

    def reason(self, name: str) -> str:
        return self.state.tasks[name].reason


def holds(expression: str, inputs: dict[str, object] | None = None, **outputs: dict[str, object]) -> bool:
    return conditions.holds(expression, inputs or {}, outputs)


@pytest.mark.parametrize(
    ("expression", "place", "what", "hint"),
    [
        ("outputs.a.x >", "column 14", "Syntax error", "written in CEL"),
        ("outputs.a.x >\n  >", "line 2, column 3", "Syntax error", "written in CEL"),
        ("outputs.a.x + 1", "column 1", "gives int, not true or false", "compare it"),
        ("'yes'", "column 1", "gives string", "compare it"),
        ("'a' > 1", "column 5", "no matching overload", "one type"),
        ("true && outputs.b.x > 1", "column 9", "looks at 'b', which is no need", "add b to its needs"),
        ("outputs['x-y'].x > 1", "column 1", "looks at 'x-y', which is not in the graph", "outputs['a-b'].x"),
        ("'b' in outputs", "column 8", "looks at 'b', which is no need", "add b"),
        ("size(outputs) > 1", "column 6", "does not say which output", "outputs.a.x"),
        ("outputs[inputs.x].y == 1", "column 1", "does not say which output", "outputs.a.x"),
        ("now() > timestamp('2026-01-01T00:00:00Z')", "column 4", "undeclared reference to 'now'", "written in CEL"),
        ("world.x == 1", "column 6", "undeclared reference to 'world", "over inputs and outputs"),
        ("outputs.a.t.getHours('Europe/Berlin') > 1", "column 13", "uses getHours", "there are all, bool"),
        ("outputs.a.l.map(x, x) == [1]", "column 13", "uses map", "there are all, bool"),
        ("outputs.a.l.all(x, x + x == x)", "column 22", "adds or joins for each item", ""),
        ("outputs.a.l.all(x, x == outputs.a.y)", "column 25", "only the item can be looked at", ""),
        ("outputs.a.l.all(x, x == inputs.y)", "column 25", "only the item can be looked at", ""),
        ("outputs.a.l.all(p, !'b'.matches(p))", "column 25", "a pattern that is not written there", ""),
        ("outputs.a.t.matches('a' + outputs.a.p)", "column 13", "a pattern that is not written there", ""),
        ("matches('b', outputs.a.p)", "column 1", "a pattern that is not written there", ""),
        ("outputs.a.t.matches('(\\\\pL{900}){9}')", "column 13", "is no pattern", ""),
        ("outputs.a.l.all(x, x.all(y, y > 1))", "column 22", "inside of another", ""),
        ("outputs.a.l.all(x, string(x) == '')", "column 20", "makes texts for each item", ""),
        ("outputs.a.s" + " + outputs.a.s" * 9 + " == ''", "column 125", "too often", ""),
        ("outputs.a.x > 1 ||" * 60 + "true", "condition", "characters, 1000 are allowed", "let a task work it out"),
        (r"outputs['\x61'].x > 1", "column 1", "does not say which output", "outputs.a.x"),
        ("true \ud800", "column 1", "letters that are none", ""),
        ("(" * 100 + "true" + ")" * 100, "column 1", "recursion limit", ""),
    ],
)
def test_an_expression_that_is_no_condition_is_refused_with_its_place_and_what_to_do(expression, place, what, hint):
    graph = TaskGraph(tasks=(task("a"), task("b"), task("c", "a", condition=expression)))
    with pytest.raises(Invalid) as refusal:
        graph.check()
    assert refusal.value.code == "task_graph"
    assert refusal.value.where.startswith("task c, condition")
    assert refusal.value.where.endswith(place)
    assert what in refusal.value.message
    assert hint in refusal.value.hint


@pytest.mark.parametrize(
    ("expression", "is_true"),
    [
        ("outputs.a.x > 3", True),
        ("outputs.a.x > 3.5 && outputs.a.x == 4.0", True),
        ('outputs["b-c"].ok', False),
        ("outputs['b-c'].names.exists(n, n.endsWith('.py'))", True),
        ("outputs['b-c'].names.all(n, n.matches('^[a-z]+$'))", False),
        ("size(outputs['b-c'].names.filter(n, n != 'x')) == 1", True),
        ("has(outputs.a.y) && outputs.a.y > 1", False),
        ("'gone' in outputs || has(outputs.gone) || 'b-c' in outputs", True),
        ("inputs.environment == 'production'", True),
        ("outputs.a.outputs.x == null", True),
        ("'outputs.zz' != ''  // outputs.zz", True),
    ],
)
def test_a_condition_is_told_from_inputs_and_outputs(expression, is_true):
    known = ("a", "b-c", "gone")
    assert conditions.fault(expression, known, known) is None
    given = {"a": {"x": 4, "outputs": {"x": None}}, "b-c": {"ok": False, "names": ["a.py", "x"]}}
    assert holds(expression, {"environment": "production"}, **given) is is_true


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("outputs.a.y > 1", 'Key not found in map : "y"'),
        ("outputs.b.x > 1", 'Key not found in map : "b"'),
        ("outputs.a.s > 1", "No matching overloads"),
        ("outputs.a.s", "it gives string, not true or false"),
        ("1 / outputs.a.zero > 1", "divide by zero"),
        ("outputs.a.huge > 1", "out of range"),
        ("outputs.a.many.all(x, x == 1)", "Iteration budget exceeded"),
        ("outputs.a.long == ''", "bytes, 1048576 are allowed"),
    ],
)
def test_a_condition_that_says_nothing_is_an_error_that_says_why(expression, why):
    given = {"x": 1, "s": "text", "zero": 0, "huge": 2**70, "many": [1] * 20_000, "long": "x" * 2_000_000}
    with pytest.raises(Invalid) as failure:
        holds(expression, a=given)
    assert failure.value.code == "condition_failed"
    assert why in failure.value.message
    assert len(failure.value.message) < 400, "it does not repeat the data"


def test_a_task_whose_condition_is_false_is_skipped_in_words_and_the_run_completes():
    story = Given(task("a"), task("b", "a", condition="outputs.a.x > 3"), task("c", "a", condition="outputs.a.x <= 3"))
    story.giving(a={"x": 3}).start().complete("a", "c")
    assert story.statuses() == {"a": "completed", "b": "skipped", "c": "completed"}
    assert story.reason("b") == "condition outputs.a.x > 3 is false"
    assert story.state.status is m.RunStatus.COMPLETED


def test_a_task_without_needs_is_decided_by_its_inputs():
    story = Given(task("a", inputs={"dry": True}, condition="!inputs.dry"), task("b")).start()
    assert story.statuses() == {"a": "skipped", "b": "running"}


def test_a_condition_sees_its_inputs_as_they_are_then():
    story = Given(task("a"), task("b", "a", inputs={"port": {"$output": "a.port"}}, condition="inputs.port == 80"))
    story.giving(a={"port": 80}).start().complete("a", "b")
    assert story.state.status is m.RunStatus.COMPLETED


def test_a_condition_that_cannot_be_told_fails_the_task_and_is_reacted_to():
    story = Given(
        task("a"), task("b", "a", condition="outputs.a.y > 3"), task("c", "b"), task("page", "b", when="failed"), task("d", "a")
    )
    story.giving(a={"x": 3}).start().complete("a")
    assert story.statuses() == {"a": "completed", "b": "failed", "c": "skipped", "page": "running", "d": "running"}
    error = story.state.tasks["b"].error
    assert (error["kind"], error["code"], error["where"]) == ("invalid", "condition_failed", "task b, condition")
    assert "has(outputs.a.x)" in error["hint"]
    story.complete("page", "d")
    assert (story.state.status, story.state.error["task"]) == (m.RunStatus.FAILED, "b")


def test_what_needs_a_task_that_was_left_out_is_left_out_with_it_and_nothing_is_undone():
    story = Given(
        task("a"),
        task("b", "a", condition="false"),
        task("c", "b"),
        task("d", "c", "a"),
        task("page", "b", "c", when="failed"),
        task("a-back", undoes="a"),
    ).start()
    story.complete("a")
    assert story.statuses() == dict.fromkeys(("b", "c", "d", "page", "a-back"), "skipped") | {"a": "completed"}
    assert [story.reason(n) for n in ("c", "d", "page")] == ["b skipped", "c skipped", "nothing went wrong before it"]
    assert story.state.status is m.RunStatus.COMPLETED


def test_a_join_runs_behind_the_branch_that_was_chosen():
    tasks = [
        task("a"),
        task("small", "a", condition="outputs.a.x < 3"),
        task("large", "a", condition="outputs.a.x >= 3"),
        task("large-2", "large"),
        task("join", "small", "large-2", when="any"),
        task("end", "join"),
    ]
    story = Given(*tasks).giving(a={"x": 1}).start()
    story.complete("a")
    assert story.statuses()["join"] == "pending", "it waits for all that was chosen"
    story.complete("small", "join", "end")
    assert story.statuses()["large-2"] == "skipped"
    assert story.state.status is m.RunStatus.COMPLETED


def test_a_join_of_which_nothing_completed_is_left_out_like_what_it_joins():
    story = Given(
        task("a"),
        task("b", "a", condition="false"),
        task("c", "a", condition="false"),
        task("join", "b", "c", when="any"),
        task("next", "join", "a", when="any"),
    ).start()
    story.complete("a")
    assert (story.statuses()["join"], story.reason("join")) == ("skipped", "nothing before it completed")
    assert story.statuses()["next"] == "running", "a join behind it does not mind"


@pytest.mark.parametrize("first", ["fine", "broken"])
def test_no_join_runs_over_a_failure_however_far_before_and_whenever_it_came(first):
    story = Given(
        task("fine"),
        task("broken"),
        task("left", condition="false"),
        task("behind", "broken", "left"),
        task("join", "fine", "behind", when="any"),
    ).start()
    story.fail("broken") if first == "broken" else story.complete("fine")
    story.complete("fine") if first == "broken" else story.fail("broken")
    assert (story.statuses()["behind"], story.reason("behind")) == ("skipped", "broken failed")
    assert (story.statuses()["join"], story.reason("join")) == ("skipped", "behind skipped")
    assert not story.state.tasks["join"].left_out


def test_a_join_of_the_work_and_of_what_reacts_to_its_failure_runs_when_nothing_failed():
    tasks = [task("work"), task("mend", "work", when="failed"), task("join", "work", "mend", when="any")]
    story = Given(*tasks).start()
    assert story.run.graph.reactions == {"mend"}
    story.complete("work", "join")
    assert story.state.status is m.RunStatus.COMPLETED
    story = Given(*tasks).start()
    story.fail("work")
    story.complete("mend")
    assert story.statuses()["join"] == "skipped"


def test_a_join_needs_something_to_join():
    with pytest.raises(Invalid, match="joins nothing"):
        TaskGraph(tasks=(task("a", when="any"),)).check()


def test_an_undo_has_no_condition():
    with pytest.raises(Invalid, match="no condition"):
        TaskGraph(tasks=(task("a"), task("back", undoes="a", condition="true"))).check()


def test_a_reaction_may_have_a_condition():
    story = Given(task("a"), task("page", "a", when="failed", condition="'a' in outputs")).start()
    story.fail("a")
    assert story.reason("page") == "condition 'a' in outputs is false"
    assert not story.state.tasks["page"].left_out, "something went wrong before it"


def test_a_way_back_of_which_a_condition_leaves_a_part_out_is_whole():
    story = Given(
        task("a"),
        task("back", "a", when="failed", branch="rollback:x"),
        task("page", "back", branch="rollback:x", condition="outputs.back.loud"),
    )
    story.giving(back={"loud": False}).start().fail("a")
    story.complete("back")
    assert story.statuses()["page"] == "skipped"
    assert story.state.status is m.RunStatus.ROLLED_BACK


def test_a_branch_by_itself_asks_nothing_of_tasks_outside_of_it():
    whole = TaskGraph(
        tasks=(
            task("a"),
            task("b", "a", branch="x", condition="outputs.a.x > 1"),
            task("c", "b", branch="x", condition="outputs.b.x > 1"),
        )
    )
    branch = whole.branch("x")
    assert [spec.condition for spec in branch] == ["", "outputs.b.x > 1"]
    branch.check()
