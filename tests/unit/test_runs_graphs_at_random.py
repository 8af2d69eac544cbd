"""Graphs with conditions, joins and lists, over random things that happen: every task ends, and the journal says it all."""

from collections import Counter
from typing import Any

import msgspec
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from harness.engine import task
from harness.examples import examples
from harness.replay import to_json
from interlock.runs import model as m
from interlock.runs.decide import Scheduler
from interlock.runs.evolve import fold
from interlock.runs.graph import Retry, TaskGraph, TaskSpec
from interlock.runs.parts import Each
from unit.test_runs_decide import Story

LISTS = 5


class Chosen(Story):
    """Each task gives a number and a list, made of its name: the same whenever and however often it is done."""

    def output(self, name: str) -> dict[str, Any]:
        number = sum(name.encode())
        return {"n": number % 7, "list": list(range(number % LISTS)), "by": name}


@st.composite
def graphs(draw: st.DrawFn) -> list[TaskSpec]:
    specs: list[TaskSpec] = []
    for number in range(draw(st.integers(1, 7))):
        needs = draw(st.lists(st.sampled_from([spec.id for spec in specs]), max_size=3, unique=True)) if specs else []
        when = draw(st.sampled_from(["succeeded", "succeeded", "any", "failed"])) if needs else "succeeded"
        parts: dict[str, Any] = {"when": when, "condition": draw(conditions(needs, specs)), "each": draw(lists(needs, specs))}
        if parts["each"] is not None:
            parts["inputs"] = {"item": {"$item": ""}}
        branch = draw(st.sampled_from(["", "", "rollback:prod"]))
        retry = Retry(max_attempts=draw(st.integers(1, 2)))
        specs.append(task(f"t{number}", *needs, branch=branch, retry=retry, **parts))
    reactions = TaskGraph(tasks=tuple(specs)).reactions
    undone = [spec.id for spec in specs if spec.id not in reactions and draw(st.integers(0, 3)) == 0]
    return draw(st.permutations(specs + [task(f"u-{name}", undoes=name) for name in undone]))


@st.composite
def conditions(draw: st.DrawFn, needs: list[str], specs: list[TaskSpec]) -> str:
    if not needs or draw(st.booleans()):
        return draw(st.sampled_from(["", "", "", "false"]))
    need, bound = draw(st.sampled_from(needs)), draw(st.integers(0, 6))
    # The last say nothing of a need that was left out, nor of too short a list.
    of_one = [f"has(outputs.{need}.n) && outputs.{need}.n > {bound}", f"outputs.{need}.n <= {bound}"]
    of_each = [f"size(outputs.{need}.items) > 1", f"outputs.{need}.items[{bound}] != null", f"has(outputs.{need}.failures)"]
    return draw(st.sampled_from([f"'{need}' in outputs", *(of_each if is_spread(need, specs) else of_one)]))


def is_spread(name: str, specs: list[TaskSpec]) -> bool:
    return next(spec.each for spec in specs if spec.id == name) is not None


@st.composite
def lists(draw: st.DrawFn, needs: list[str], specs: list[TaskSpec]) -> Each | None:
    if draw(st.integers(0, 2)):
        return None
    items: Any = list(range(draw(st.integers(0, 4))))
    if needs and draw(st.booleans()):
        # Of a need that gave none there is no list, and that fails; so does a number.
        need = draw(st.sampled_from(needs))
        items = {
            "$output": f"{need}.items" if is_spread(need, specs) else need + draw(st.sampled_from([".list", ".list", ".n"]))
        }
    return Each(items=items, max_concurrent=draw(st.integers(0, 2)), tolerated=draw(st.sampled_from([0, 1, "50%", "100%"])))


CHOICES = st.lists(st.integers(0, 10_000), max_size=30)
SLOW = examples(200, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(graphs(), st.integers(1, 4), CHOICES)
def test_every_task_and_item_ends_once_and_the_journal_tells_the_same_story(specs, slots, choices):
    story = Chosen(*specs, max_concurrent_tasks=slots).start()
    go_on(story, choices)
    check(story)


@SLOW
@given(graphs(), CHOICES, st.integers(0, 200), CHOICES)
def test_a_run_that_is_cut_at_any_event_comes_to_an_end_by_the_same_rules(specs, before, cut, after):
    story = Chosen(*specs).start()
    go_on(story, before)
    kept = story.events[: 2 + cut % (len(story.events) - 1)]
    state = fold(kept)
    assert state is not None
    if state.status in m.RUN_ENDED:
        return
    story.events, story.scheduler = list(kept), Scheduler(state)
    story.do(m.Adopt, owner="next", epoch=2)
    go_on(story, after)
    check(story)


@SLOW
@given(graphs(), st.integers(1, 4), st.integers(0, 200))
def test_where_nothing_is_tried_twice_a_crash_changes_no_end(specs, slots, cut):
    whole = Chosen(*specs, max_concurrent_tasks=slots).start()
    whole.finish()
    kept = whole.events[: 2 + cut % (len(whole.events) - 1)]
    state = fold(kept)
    assert state is not None
    again = Chosen(*specs, max_concurrent_tasks=slots)
    again.events, again.scheduler = list(kept), Scheduler(state)
    again.do(m.Adopt, owner="next", epoch=2)
    again.finish()
    ends = [
        {name: (task.status, task.output, task.error, task.left_out) for name, task in story.state.tasks.items()}
        for story in (whole, again)
    ]
    assert ends[0] == ends[1]
    assert whole.state.status is again.state.status


def go_on(story: Story, choices: list[int]) -> None:
    for choice in choices:
        if story.state.status in m.RUN_ENDED:
            break
        story.act_at_random(choice)
    story.finish()


def check(story: Story) -> None:
    ended = Counter(
        e.task for e in story.events if isinstance(e, m.TaskCompleted | m.TaskFailed | m.TaskSkipped | m.TaskCancelled)
    )
    assert ended == dict.fromkeys(story.state.tasks, 1)
    for spec in story.run.graph:
        check_needs(story.state, spec)
        if story.state.tasks[spec.id].items is not None:
            check_items(story.state, spec)
    running_at_once(story)
    decoder = msgspec.json.Decoder(m.RunEvent)
    read_back = fold(decoder.decode(msgspec.json.encode(event)) for event in story.events)
    assert read_back is not None
    assert to_json(read_back) == to_json(story.state), "byte for byte"


def check_needs(state: m.RunState, spec: TaskSpec) -> None:
    """What ran was to run, by the letter of ``when``; what was left out by choice has nothing wrong before it."""
    found, needs = state.tasks[spec.id], [state.tasks[need] for need in spec.needs]
    completed = [need for need in needs if need.status is m.TaskStatus.COMPLETED]
    if found.began and spec.when == "succeeded" and not spec.undoes:
        assert len(completed) == len(needs)
    elif found.began and spec.when == "any":
        assert completed
        assert all(need.left_out or need in completed for need in needs)
    elif found.left_out and not spec.undoes:
        assert found.status is m.TaskStatus.SKIPPED
        reactions = state.run.graph.reactions
        fine = [
            need in completed or need.left_out for need, name in zip(needs, spec.needs, strict=True) if name not in reactions
        ]
        assert all(fine) or reactions.intersection(spec.needs)


def check_items(state: m.RunState, spec: TaskSpec) -> None:
    found = state.tasks[spec.id]
    tasks = [state.tasks[f"{spec.id}[{number}]"] for number in range(found.items or 0)]
    assert found.output["items"] == [task.output if task.status is m.TaskStatus.COMPLETED else None for task in tasks]
    assert all(task.output["by"] == f"{spec.id}[{n}]" for n, task in enumerate(tasks) if task.output), "each in its place"
    assert found.began == any(task.began for task in tasks)
    assert spec.each is not None
    failed = sum(task.status is m.TaskStatus.FAILED for task in tasks)
    if found.status is m.TaskStatus.COMPLETED:
        assert failed <= spec.each.allowed(len(tasks))
        assert {task.status for task in tasks} <= {m.TaskStatus.COMPLETED, m.TaskStatus.FAILED}
    elif found.status is m.TaskStatus.FAILED:
        assert failed > spec.each.allowed(len(tasks))


def running_at_once(story: Story) -> None:
    """At no event more instances of a task run than it allows, and the first starts are in the order of the list."""
    firsts: dict[str, list[int]] = {}
    for count, event in enumerate(story.events, 1):
        if isinstance(event, m.TaskStarted) and event.task not in story.run.graph.specs:
            base = story.run.graph.base(event.task)
            if event.attempt == 1:
                firsts.setdefault(base, []).append(int(event.task[len(base) + 1 : -1]))
            state = fold(story.events[:count])
            assert state is not None
            running = [
                name
                for name, task in state.tasks.items()
                if task.status is m.TaskStatus.RUNNING and task.items is None and story.run.graph.base(name) == base
            ]
            each = story.run.graph.specs[base].each
            assert each is not None
            assert not each.max_concurrent or len(running) <= each.max_concurrent
    assert all(numbers == sorted(numbers) for numbers in firsts.values())
