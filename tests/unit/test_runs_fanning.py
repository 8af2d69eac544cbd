"""A task for each item of a list: what is refused, what runs at once, what failures do, what is told at the end."""

from typing import Any

import pytest

from harness.engine import run_of, task
from harness.replay import to_json
from interlock.core.errors import Invalid
from interlock.runs import model as m
from interlock.runs.decide import Scheduler, decide
from interlock.runs.evolve import fold
from interlock.runs.fanning import inputs_of
from interlock.runs.graph import Retry, TaskGraph, TaskSpec
from interlock.runs.parts import Each
from unit.test_runs_decide import AT, TERMINAL, Story

FILES = {"$output": "list.files"}


def each(items: Any = FILES, **fields: Any) -> Each:
    return Each(items=items, **fields)


class Mapped(Story):
    """``list`` gives ``files``; ``map`` is done for each; ``sum`` takes what that gave."""

    def __init__(self, files: Any, *more: TaskSpec, slots: int = 8, spec: dict[str, Any] | None = None, **fan: Any) -> None:
        self.files = files
        mapped: dict[str, Any] = {"inputs": {"file": {"$item": ""}, "n": 1}, "each": each(**fan)} | (spec or {})
        reduce = task("sum", "map", inputs={"all": {"$output": "map.items"}})
        super().__init__(task("list"), task("map", "list", **mapped), reduce, *more, max_concurrent_tasks=slots)

    def output(self, name: str) -> dict[str, Any]:
        return {"files": self.files} if name == "list" else {"by": name}

    def begin(self) -> "Mapped":
        self.start().complete("list")
        return self

    def items(self, *numbers: int) -> list[str]:
        return [f"map[{number}]" for number in numbers]


def test_each_item_is_a_task_with_its_inputs_and_the_results_come_in_order():
    story = Mapped(["a", "b", "c"]).begin()
    [expanded] = [event for event in story.events if isinstance(event, m.TaskExpanded)]
    assert (expanded.task, expanded.items) == ("map", 3)
    assert story.at(m.TaskStatus.RUNNING) == ["map", *story.items(0, 1, 2)]
    assert inputs_of(story.state, "map[1]") == {"file": "b", "n": 1}
    story.complete(*story.items(2, 0, 1))
    assert story.state.tasks["map"].output == {"items": [{"by": name} for name in story.items(0, 1, 2)]}
    assert inputs_of(story.state, "sum") == {"all": [{"by": name} for name in story.items(0, 1, 2)]}
    story.complete("sum")
    assert story.state.status is m.RunStatus.COMPLETED
    ending = next(event for event in story.events if isinstance(event, m.TaskCompleted) and event.task == "map")
    assert ending.output == {}, "what the instances gave is not written twice"


def test_an_empty_list_is_done_at_once():
    story = Mapped([]).begin()
    assert story.statuses() == {"list": "completed", "map": "completed", "sum": "running"}
    assert story.state.tasks["map"].output == {"items": []}
    assert not story.state.tasks["map"].began


def test_a_list_of_the_plan_itself_is_done_too():
    story = Story(task("map", each=each(["x", {"y": 1}]), inputs={"it": {"$item": ""}})).start()
    assert [inputs_of(story.state, f"map[{n}]") for n in (0, 1)] == [{"it": "x"}, {"it": {"y": 1}}]
    story.complete("map[0]", "map[1]")
    assert story.state.status is m.RunStatus.COMPLETED


def test_fields_of_items_are_inputs_wherever_they_stand():
    inputs = {"deep": [{"path": {"$item": "path"}}], "whole": {"$item": ""}}
    story = Mapped([{"path": "a", "n": 1}], spec={"inputs": inputs}).begin()
    assert inputs_of(story.state, "map[0]") == {"deep": [{"path": "a"}], "whole": {"path": "a", "n": 1}}


@pytest.mark.parametrize(
    ("files", "inputs", "what"),
    [
        (None, {}, "list.files is null, not a list"),
        ({"a": 1}, {}, "list.files is an object, not a list"),
        ("abc", {}, "list.files is a text, not a list"),
        (3.5, {}, "list.files is a number, not a list"),
        (True, {}, "list.files is a truth value, not a list"),
        ([0] * 10_001, {}, "10001 items are more than 10000"),
        ([{"path": "a"}, {"other": 1}], {"p": {"$item": "path"}}, "item 1 has no 'path', which the inputs refer to"),
        ([{"path": "a"}, "b"], {"p": [{"$item": "path"}]}, "item 1 has no 'path', which the inputs refer to"),
    ],
)
def test_what_is_no_list_of_such_items_fails_the_task_with_the_place(files, inputs, what):
    story = Mapped(files, spec={"inputs": inputs}).begin()
    assert story.state.status is m.RunStatus.FAILED
    assert story.state.error == {
        "kind": "invalid",
        "code": "fan_out",
        "message": what,
        "where": "task map, each.items",
        "task": "map",
    }
    assert list(story.state.tasks) == ["list", "map", "sum"]


@pytest.mark.parametrize(
    ("spec", "place", "what"),
    [
        (task("x", "a", each=each("a.files")), "each.items", "'a.files' is no list"),
        (task("x", "a", each=each([0] * 10_001)), "each.items", "10001 items are more than 10000"),
        (task("x", "a", each=each({"$output": "b.files"})), "each.items", "'b', which is no need of this task"),
        (task("x", "a", each=each({"$output": "zz.files"})), "each.items", "'zz', which is no need of this task"),
        (task("x", "a", each=each({"l": {"$output": "a.files"}})), "each.items", "is no list"),
        (task("x", "a", each=each([], tolerated=-1)), "each.tolerated", "-1 is no number of failures"),
        (task("x", "a", each=each([], tolerated="many")), "each.tolerated", "'many' is no number"),
        (task("x", "a", each=each([], tolerated="101%")), "each.tolerated", "'101%' is no number"),
        (task("x", "a", each=each([], max_concurrent=-2)), "each.max_concurrent", "-2 is no number"),
        (task("x", "a", inputs={"p": [{"$item": ""}]}), "inputs.p[0]", "is not done for each of a list"),
        (task("x", "a", inputs={"$item": ""}), "inputs", "is not done for each of a list"),
        (task("x", "a", each=each([]), inputs={"$item": ""}), "inputs", "are an item, not an object"),
        (task("x", "a", each=each([]), condition="inputs.p == 1"), "condition, column 1", "inputs, which differ for each item"),
        (task("fan[0]", "a"), "id", "has the name of an instance of 'fan'"),
    ],
)
def test_a_list_that_cannot_be_is_refused_with_its_place(spec, place, what):
    with pytest.raises(Invalid) as refusal:
        TaskGraph(tasks=(task("a"), task("b"), task("fan", each=each([])), spec)).check()
    assert (refusal.value.code, refusal.value.where) == ("task_graph", f"task {spec.id}, {place}")
    assert what in refusal.value.message


def test_an_undo_is_one_task():
    with pytest.raises(Invalid, match="no list"):
        TaskGraph(tasks=(task("a"), task("back", undoes="a", each=each([])))).check()


def test_no_more_run_at_once_than_are_allowed_and_than_there_are_slots():
    story = Mapped(list(range(10)), task("other"), slots=4, max_concurrent=2).start()
    story.complete("list")
    assert story.at(m.TaskStatus.RUNNING) == ["map", "other", *story.items(0, 1)]
    story.complete("map[1]", "other")
    assert story.at(m.TaskStatus.RUNNING) == ["map", *story.items(0, 2)]
    story = Mapped(list(range(10)), task("other"), slots=3).start()
    story.complete("list")
    assert story.at(m.TaskStatus.RUNNING) == ["map", "other", *story.items(0, 1)], "the task itself takes no slot"


def test_a_failure_ends_what_is_under_way_and_skips_the_rest():
    story = Mapped(list(range(6)), task("page", "map", when="failed"), max_concurrent=3).begin()
    story.complete("map[0]")
    story.fail("map[1]")
    assert story.statuses()["map"] == "running"
    assert [story.statuses()[name] for name in story.items(2, 3, 4, 5)] == ["running", "running", "skipped", "skipped"]
    story.complete("map[2]", "map[3]")
    failed = story.state.tasks["map"]
    assert failed.status is m.TaskStatus.FAILED
    assert failed.error == {
        "kind": "conflict",
        "code": "fan_out_failed",
        "message": "1 of 6 items failed, 0 may; 3 completed. Item 1: it broke",
        "where": "map",
        "items": 6,
        "completed": 3,
        "skipped": 2,
        "failed": [1],
    }
    done = [{"by": "map[0]"}, None, {"by": "map[2]"}, {"by": "map[3]"}, None, None]
    assert failed.output == {"items": done, "failures": [{"item": 1, "error": TERMINAL}]}
    assert story.statuses()["sum"] == "skipped"
    story.complete("page")
    assert story.state.status is m.RunStatus.FAILED


@pytest.mark.parametrize(
    ("tolerated", "count", "allowed"), [(0, 5, 0), (2, 5, 2), ("10%", 29, 2), ("10%", 30, 3), ("0%", 9, 0), ("100%", 7, 7)]
)
def test_as_many_may_fail_as_is_said(tolerated, count, allowed):
    assert each(tolerated=tolerated).allowed(count) == allowed


def test_a_success_in_part_is_told_as_such():
    story = Mapped(["a", "b", "c", "d"], tolerated="50%").begin()
    story.fail("map[0]")
    story.fail("map[2]")
    story.complete("map[1]", "map[3]")
    output = story.state.tasks["map"].output
    assert story.statuses()["map"] == "completed"
    assert output["items"] == [None, {"by": "map[1]"}, None, {"by": "map[3]"}]
    assert [(failure["item"], failure["error"]["code"]) for failure in output["failures"]] == [(0, "broken"), (2, "broken")]
    story.complete("sum")
    assert story.state.status is m.RunStatus.COMPLETED


def test_an_item_is_tried_again_asks_and_is_answered_by_itself():
    story = Mapped(["a", "b"], slots=2, spec={"retry": Retry(max_attempts=2)}).begin()
    story.fail("map[0]", is_transient=True)
    story.park("map[1]")
    assert story.statuses() == {"list": "completed", "map": "running", "sum": "pending"} | dict.fromkeys(
        story.items(0, 1), "waiting"
    )
    story.do(m.RetryDue, task="map[0]")
    story.do(m.Answer, task="map[1]", answer="yes", by="user:owner")
    assert [story.state.tasks[name].attempt for name in story.items(0, 1)] == [2, 2]
    story.complete("map[0]", "map[1]")
    assert story.statuses()["map"] == "completed"


def test_a_retry_under_way_comes_to_its_end_after_a_failure():
    story = Mapped(["a", "b", "c"], spec={"retry": Retry(max_attempts=2)}, max_concurrent=2).begin()
    story.fail("map[0]", is_transient=True)
    story.fail("map[1]")
    assert story.statuses()["map[2]"] == "running", "the wait before a retry holds no place"
    story.do(m.RetryDue, task="map[0]")
    story.complete("map[2]", "map[0]")
    assert story.statuses()["map"] == "failed"
    assert story.state.tasks["map"].output["items"] == [{"by": "map[0]"}, None, {"by": "map[2]"}]


def test_nobody_completes_the_task_from_outside():
    story = Mapped(["a"]).begin()
    assert story.do(m.Complete, task="map", attempt=0, output={}) == []
    assert story.do(m.Fail, task="map", attempt=0, error=TERMINAL, is_transient=False) == []


def test_cancelling_stops_what_runs_and_what_was_done_is_given_to_the_undo():
    back = task("map-back", undoes="map", inputs={"done": {"$output": "map.items"}})
    story = Mapped(["a", "b", "c"], back, max_concurrent=2).begin()
    story.complete("map[0]")
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    assert story.at(m.TaskStatus.RUNNING) == ["map", "map[1]", "map[2]"]
    story.stop("map[1]")
    story.complete("map[2]")
    assert story.statuses()["map"] == "cancelled"
    assert story.at(m.TaskStatus.RUNNING) == ["map-back"]
    assert inputs_of(story.state, "map-back") == {"done": [{"by": "map[0]"}, None, {"by": "map[2]"}]}
    story.complete("map-back")
    assert story.state.summary == m.RunSummary(undone=("map",), stands=("list",), never_begun=("sum",))


def test_a_list_that_was_cancelled_before_any_item_began_has_nothing_to_undo():
    tasks = [task("busy"), task("map", each=each(["a"])), task("map-back", undoes="map")]
    story = Story(*tasks, max_concurrent_tasks=1).start()
    assert story.at(m.TaskStatus.RUNNING) == ["busy", "map"]
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    assert story.statuses()["map"] == "cancelled"
    story.stop("busy")
    assert story.state.tasks["map-back"].reason == "map never began"


def test_adoption_starts_each_item_that_was_running_again():
    story = Mapped(["a", "b", "c"], max_concurrent=2).begin()
    story.complete("map[0]")
    story.do(m.Adopt, owner="next", epoch=2)
    assert [story.state.tasks[name].attempt for name in ("map", *story.items(0, 1, 2))] == [0, 1, 2, 2]
    assert story.do(m.Complete, task="map[1]", attempt=1, output={}) == [], "the former attempt has no say any more"


def test_a_run_that_is_given_up_ends_its_items_too():
    story = Mapped(["a", "b"], max_concurrent=1)
    story.run = run_of(*story.run.graph, limits=m.Limits(max_adoptions=1))
    story.events = decide(None, m.Submit(at=AT, run=story.run))
    story.scheduler = Scheduler(story._folded())
    story.begin()
    for epoch in (2, 3):
        story.do(m.Adopt, owner="next", epoch=epoch)
    assert story.state.status is m.RunStatus.FAILED
    assert {story.statuses()[name] for name in ("map", *story.items(0, 1))} == {"cancelled"}


def test_what_brings_back_may_be_done_for_each_and_walks_on_when_the_run_is_cancelled():
    story = Story(
        task("a"), task("back", "a", when="failed", each=each([1, 2], max_concurrent=1), branch="rollback:x"), task("b", "a")
    ).start()
    story.fail("a")
    story.do(m.RequestCancel, by="user:owner", reason="enough")
    story.complete("back[0]", "back[1]")
    assert (story.statuses()["back"], story.state.status) == ("completed", m.RunStatus.CANCELLED)


def test_a_list_of_results_is_a_list_like_any():
    second = task("again", "map", each=each({"$output": "map.items"}), inputs={"by": {"$item": "by"}})
    story = Mapped(["a", "b"], second).begin()
    story.complete(*story.items(0, 1))
    assert inputs_of(story.state, "again[1]") == {"by": "map[1]"}


def test_a_fan_out_of_ten_thousand_items_is_decided_and_kept_within_bounds():
    story = Mapped(list(range(10_000)), max_concurrent=1)
    events = decide(None, m.Submit(at=AT, run=story.run))
    state = fold(events)
    assert state is not None
    scheduler = Scheduler(state)
    scheduler.decide(m.Start(at=AT))
    events = scheduler.decide(m.Complete(at=AT, task="list", attempt=1, output={"files": list(range(10_000))}))
    assert [type(event).__name__ for event in events] == ["TaskCompleted", "TaskExpanded", "TaskStarted"]
    assert len(to_json(state)) < 10_000 * 400
    events = scheduler.decide(m.Fail(at=AT, task="map[0]", attempt=1, error=TERMINAL, is_transient=False))
    assert sum(isinstance(event, m.TaskSkipped) for event in events) == 9_999 + 1
    assert len(state.error["message"]) < 200
    assert state.status is m.RunStatus.FAILED


def test_the_same_end_comes_from_every_place_at_which_it_may_die():
    story = Mapped(["a", "b", "c", "d"], task("page", "map", when="failed"), max_concurrent=2, tolerated=1).begin()
    story.fail("map[1]")
    story.complete("map[0]")
    story.fail("map[3]")
    story.complete("map[2]", "page")
    outcome = ({n: t.status for n, t in story.state.tasks.items()}, story.state.tasks["map"].output)
    for cut in range(2, len(story.events)):
        again = Mapped(["a", "b", "c", "d"], task("page", "map", when="failed"), max_concurrent=2, tolerated=1)
        again.events = list(story.events[:cut])
        again.scheduler = Scheduler(again._folded())
        again.do(m.Adopt, owner="next", epoch=2)
        for _ in range(20):
            for name in again.at(m.TaskStatus.RUNNING):
                again.fail(name) if name in {"map[1]", "map[3]"} else again.complete(name)
        assert again.state.status is m.RunStatus.FAILED
        assert ({n: t.status for n, t in again.state.tasks.items()}, again.state.tasks["map"].output) == outcome, cut
