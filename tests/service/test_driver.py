"""The local driver: graphs carried out on a real journal."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from harness.engine import Engine, run_of, task, until
from harness.stores import ON_BOTH
from interlock.core.clock import from_text
from interlock.core.errors import Conflict, Invalid, Unavailable
from interlock.core.signals import Cancel, NeedsApproval, RetryLater
from interlock.runs import model as m
from interlock.runs.graph import Retry
from interlock.testing.clocks import ManualClock
from interlock.testing.tools import CreateFile

pytestmark = ON_BOTH

QUICK = Retry(max_attempts=3, delay_s=0.01, jitter=0.0)


class Bodies:
    """Bodies by task name; what has none ends at once. Counts what runs."""

    def __init__(self) -> None:
        self.by_task: dict[str, Any] = {}
        self.started: list[str] = []
        self.running = 0
        self.most_running = 0

    async def __call__(self, context: Any) -> dict[str, Any]:
        self.started.append(context.task_id)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            return await self.by_task[context.task_id](context) if context.task_id in self.by_task else {}
        finally:
            self.running -= 1


@pytest.fixture
def bodies() -> Bodies:
    return Bodies()


@pytest.fixture
async def engine(database, scope, bodies):
    found = Engine(database, scope, executors={"work": bodies})
    yield found
    await found.driver.close()


async def forever(_context: Any) -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


def raises(*errors: BaseException | None):
    """A body that raises one after the other, and is done at None."""
    left = list(errors)

    async def body(_context: Any) -> dict[str, Any]:
        if error := left.pop(0):
            raise error
        return {}

    return body


def statuses(state: m.RunState) -> dict[str, str]:
    return {name: str(task.status) for name, task in state.tasks.items()}


async def test_outputs_flow_along_the_graph(engine, bodies):
    async def start(context):
        return {"port": 4000 + context.attempt}

    async def use(context):
        return {"got": context.inputs}

    bodies.by_task = {"a": start, "b": use}
    graph = (task("a"), task("b", "a", inputs={"port": {"$output": "a.port"}, "no": {"$output": "a.nothing"}, "n": [1]}))
    await engine.driver.submit(run_of(*graph))
    state = await engine.ended()
    assert state.tasks["b"].output == {"got": {"port": 4001, "no": None, "n": [1]}}
    assert state.status is m.RunStatus.COMPLETED
    assert engine.driver.active_runs() == 0


async def test_a_wide_graph_uses_its_slots_and_no_more(engine, bodies):
    middle = [f"m{n}" for n in range(60)]
    graph = (task("first"), *(task(name, "first") for name in middle), task("last", *middle))
    await engine.driver.submit(run_of(*graph, limits=m.Limits(max_concurrent_tasks=7)))
    assert (await engine.ended()).status is m.RunStatus.COMPLETED
    assert bodies.most_running == 7
    assert sorted(bodies.started) == sorted(["first", *middle, "last"])
    assert len(engine.commits) < 62, "tasks that end together share a commit"


async def test_runs_beyond_the_limit_wait_in_the_order_of_their_submission(database, scope, bodies):
    engine = Engine(database, scope, executors={"work": bodies}, max_concurrent_runs=2)
    gates = {f"t{n}": asyncio.Event() for n in range(5)}

    async def body(context):
        await gates[context.task_id].wait()
        return {}

    bodies.by_task = dict.fromkeys(gates, body)
    for number in range(5):
        await engine.driver.submit(run_of(task(f"t{number}"), run_id=f"run_{number}"))
    await until(lambda: bodies.started == ["t0", "t1"])
    await engine.driver.cancel("run_2", "user:owner", "never mind")
    assert (await engine.ended("run_2")).status is m.RunStatus.CANCELLED
    gates["t1"].set()
    await until(lambda: bodies.started == ["t0", "t1", "t3"])
    for gate in gates.values():
        gate.set()
    await engine.ended("run_4")
    assert bodies.started == ["t0", "t1", "t3", "t4"]
    assert bodies.most_running == 2
    await engine.driver.close()


async def test_a_second_run_in_a_role_and_a_broken_graph_are_refused(engine):
    await engine.driver.submit(run_of(task("a")))
    with pytest.raises(Conflict) as twice:
        await engine.driver.submit(run_of(task("a")))
    assert twice.value.code == "run_exists"
    with pytest.raises(Invalid):
        await engine.driver.submit(run_of(task("a", "b"), run_id="run_2"))
    await engine.ended()


async def test_a_submitter_who_goes_away_leaves_a_run_that_runs(engine):
    submitting = asyncio.create_task(engine.driver.submit(run_of(task("a"))))
    await asyncio.sleep(0)
    submitting.cancel()
    await asyncio.gather(submitting, return_exceptions=True)
    await until(lambda: engine.commits)
    assert (await engine.ended()).status is m.RunStatus.COMPLETED


async def test_transient_failures_are_tried_again_and_others_not(engine, bodies):
    bodies.by_task = {
        "transient": raises(Unavailable("down", "down"), RetryLater("not yet", 0.01), None),
        "terminal": raises(Conflict("broken", "it broke", where="here", hint="mend it", exit_code=3)),
        "crash": raises(ValueError("a defect")),
        "exhausted": raises(*[Unavailable("down", "down")] * 3),
        "cancelled_inside": raises(asyncio.CancelledError()),
    }
    await engine.driver.submit(run_of(*(task(name, retry=QUICK) for name in bodies.by_task)))
    state = await engine.ended()
    assert statuses(state) == dict.fromkeys(bodies.by_task, "failed") | {"transient": "completed"}
    assert {name: task.attempt for name, task in state.tasks.items()} == {
        "transient": 3,
        "terminal": 1,
        "crash": 1,
        "exhausted": 3,
        "cancelled_inside": 1,
    }
    assert state.tasks["terminal"].error == {
        "kind": "conflict",
        "code": "broken",
        "message": "it broke",
        "where": "here",
        "hint": "mend it",
        "exit_code": 3,
    }
    assert state.tasks["crash"].error["message"] == "ValueError: a defect"


async def test_a_wall_clock_that_jumps_neither_hurries_nor_strands_a_retry(database, scope, bodies):
    clock = ManualClock()
    engine = Engine(database, scope, executors={"work": bodies}, clock=clock)

    async def fail_once(context):
        if context.attempt == 1:
            clock.jump(-86_400)
            raise Unavailable("down", "down")
        return {}

    bodies.by_task = {"a": fail_once}
    await engine.driver.submit(run_of(task("a", retry=Retry(max_attempts=2, delay_s=0.05, jitter=0.0))))
    await engine.when(lambda state: state.tasks["a"].retry_at)
    clock.jump(-86_400)
    assert (await engine.ended()).status is m.RunStatus.COMPLETED
    await engine.driver.close()


async def test_a_retry_is_not_forgotten_over_a_restart_with_a_clock_set_back(database, scope, bodies):
    clock = ManualClock()
    first = Engine(database, scope, executors={"work": bodies}, clock=clock)
    bodies.by_task = {"a": raises(Unavailable("down", "down"), None)}
    await first.driver.submit(run_of(task("a", retry=Retry(max_attempts=2, delay_s=0.2, jitter=0.0))))
    await first.when(lambda state: state.tasks["a"].retry_at)
    await first.driver.close()
    clock.jump(-86_400)
    second = Engine(database, scope, executors={"work": bodies}, clock=clock, owner="second")
    await second.driver.recover()
    assert (await second.ended()).status is m.RunStatus.COMPLETED
    assert bodies.started == ["a", "a"]
    await second.driver.close()


async def test_a_task_that_takes_too_long_is_ended(engine, bodies):
    bodies.by_task = {"a": forever}
    await engine.driver.submit(run_of(task("a", timeout_s=0.02, retry=QUICK), task("b", "a", when="failed")))
    state = await engine.ended()
    assert state.tasks["a"].error["code"] == "task_timeout"
    assert (state.tasks["a"].attempt, statuses(state)["b"]) == (3, "completed")
    assert bodies.running == 0


async def test_a_run_that_takes_too_long_is_cancelled_and_brought_back(engine, bodies):
    bodies.by_task = {"a": forever}
    graph = (task("a"), task("b", "a"), task("undo", "a", when="failed"))
    await engine.driver.submit(run_of(*graph, limits=m.Limits(timeout_s=0.05)))
    state = await engine.ended()
    assert statuses(state) == {"a": "cancelled", "b": "cancelled", "undo": "completed"}
    assert (state.status, state.cancel_requested) == (m.RunStatus.CANCELLED, "the run took over 0.05 s")


async def test_cancelling_stops_bodies_and_is_idempotent(engine, bodies):
    bodies.by_task = {"a": forever, "b": forever}
    await engine.driver.submit(run_of(task("a"), task("b"), task("c", "b"), task("undo", "b", when="failed")))
    await until(lambda: bodies.running == 2)
    await asyncio.gather(*(engine.driver.cancel("run_1", "user:owner", "enough") for _ in range(3)))
    state = await engine.ended()
    assert statuses(state) == {"a": "cancelled", "b": "cancelled", "c": "cancelled", "undo": "completed"}
    assert sum(isinstance(event, m.RunCancelRequested) for event in await engine.events()) == 1
    with pytest.raises(Conflict) as over:
        await engine.driver.cancel("run_1", "user:owner", "again")
    assert over.value.code == "run_not_active"


async def test_a_body_that_reacts_to_a_failure_is_not_stopped_by_a_cancellation(engine, bodies):
    gate = asyncio.Event()

    async def slowly(_context):
        await gate.wait()
        return {}

    bodies.by_task = {"a": raises(Conflict("broken", "it broke")), "undo": slowly, "other": forever}
    await engine.driver.submit(run_of(task("a"), task("undo", "a", when="failed"), task("settle", "undo"), task("other")))
    await until(lambda: "undo" in bodies.started and "other" in bodies.started)
    await engine.driver.cancel("run_1", "user:owner", "enough")
    gate.set()
    assert statuses(await engine.ended()) == {"a": "failed", "undo": "completed", "settle": "completed", "other": "cancelled"}


async def test_a_task_may_ask_for_the_end_of_its_run(engine, bodies):
    bodies.by_task = {"a": raises(Cancel("nothing to do")), "b": forever}
    await engine.driver.submit(run_of(task("a"), task("b")))
    state = await engine.ended()
    assert (state.status, statuses(state)) == (m.RunStatus.CANCELLED, {"a": "cancelled", "b": "cancelled"})


async def test_a_task_waits_for_a_person_and_goes_on_with_the_answer(engine, bodies):
    async def ask(context):
        if not context.answer:
            raise NeedsApproval("Go on?", ("yes", "no"), {"seen": [1, 2]})
        return {"answer": context.answer}

    bodies.by_task = {"a": ask}
    await engine.driver.submit(run_of(task("a")))
    state = await engine.when(lambda state: state.tasks["a"].question)
    assert state.tasks["a"].question == {
        "question": "Go on?",
        "options": ["yes", "no"],
        "evidence": {"seen": [1, 2]},
        "asked": 4,
    }
    with pytest.raises(Invalid):
        await engine.driver.answer("run_1", "a", "perhaps", "user:owner")
    await engine.driver.answer("run_1", "a", "yes", "user:owner")
    assert (await engine.ended()).tasks["a"].output == {"answer": "yes"}


async def test_a_question_survives_a_restart(database, scope, bodies):
    first = Engine(database, scope, executors={"work": bodies})
    bodies.by_task = {"a": raises(NeedsApproval("Go on?", ("yes", "no")), None)}
    await first.driver.submit(run_of(task("a")))
    await first.when(lambda state: state.tasks["a"].question)
    await first.driver.close()
    second = Engine(database, scope, executors={"work": bodies}, owner="second")
    await second.driver.recover()
    assert bodies.started == ["a"], "a task that waits is not run again"
    await second.driver.answer("run_1", "a", "yes", "user:owner")
    assert (await second.ended()).status is m.RunStatus.COMPLETED
    await second.driver.close()


@pytest.mark.parametrize("restarts", [False, True])
async def test_waiting_for_a_person_takes_nothing_of_the_time_of_a_run(database, scope, bodies, restarts):
    limit_s, waited_s = 0.6, 0.5

    async def ask(context):
        if not context.answer:
            raise NeedsApproval("Go on?", ("yes",))
        return await forever(context)

    bodies.by_task = {"a": ask}
    engine = Engine(database, scope, executors={"work": bodies})
    await engine.driver.submit(run_of(task("a"), limits=m.Limits(timeout_s=limit_s)))
    for _ in range(2):
        await engine.when(lambda state: state.tasks["a"].question)
        if restarts:
            await engine.driver.close()
            engine = Engine(database, scope, executors={"work": bodies}, owner="the next one")
            await engine.driver.recover()
        await asyncio.sleep(waited_s)
    await engine.driver.answer("run_1", "a", "yes", "user:owner")
    await engine.ended()
    at = {type(event): from_text(event.at) for event in await engine.events()}
    worked = at[m.TaskParked] - at[m.RunStarted] + (at[m.RunCancelRequested] - at[m.TaskAnswered])
    assert worked.total_seconds() > limit_s - waited_s / 2, "what it waited does not count, whatever a commit takes"
    await engine.driver.close()


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ({"x": object()}, "result_not_serialisable"),
        ({"x": "y" * 2**21}, "result_too_large"),
        ({"x": "\ud800"}, "result_not_serialisable"),
    ],
)
async def test_a_result_that_the_journal_cannot_carry_fails_its_task(engine, bodies, output, code):
    async def body(_context):
        return output

    bodies.by_task = {"a": body}
    await engine.driver.submit(run_of(task("a")))
    assert (await engine.ended()).tasks["a"].error["code"] == code


async def test_reports_and_evidence_that_cannot_be_written_fail_their_task_alone(engine, bodies):
    async def report(context):
        await context.report("half way", data=object())
        return {}

    bodies.by_task = {
        "report": report,
        "ask": raises(NeedsApproval("Go on?", ("yes",), {"x": object()})),
        "error": raises(Conflict("broken", "it broke", details=object())),
    }
    await engine.driver.submit(run_of(*(task(name) for name in bodies.by_task), task("good")))
    state = await engine.ended()
    assert statuses(state) == dict.fromkeys(bodies.by_task, "failed") | {"good": "completed"}
    assert state.tasks["error"].error["code"] == "broken"


async def test_an_unknown_kind_of_task_fails(engine):
    await engine.driver.submit(run_of(task("a", kind="unheard of")))
    assert (await engine.ended()).tasks["a"].error["code"] == "unknown_kind"


async def test_what_was_under_way_is_done_again_and_what_was_done_is_not(database, scope, bodies):
    first = Engine(database, scope, executors={"work": bodies})
    bodies.by_task = {"b": forever}
    await first.driver.submit(run_of(task("a"), task("b", "a"), task("c", "b")))
    await first.driver.submit(run_of(task("d"), run_id="run_2"))
    await first.ended("run_2")
    await until(lambda: bodies.running == 1)
    await first.driver.close()
    assert bodies.running == 0
    bodies.by_task = {}
    second = Engine(database, scope, executors={"work": bodies}, owner="second")
    await second.driver.recover()
    state = await second.ended()
    assert {name: task.attempt for name, task in state.tasks.items()} == {"a": 1, "b": 2, "c": 1}
    assert sorted(bodies.started) == ["a", "b", "b", "c", "d"]
    assert state.adoptions == 1
    await second.driver.close()


async def test_a_driver_that_lost_its_run_stops_working_on_it(database, scope, bodies):
    first = Engine(database, scope, executors={"work": bodies})
    gate = asyncio.Event()

    async def wait(context):
        await gate.wait()
        await context.report("still here")
        raise AssertionError("it was let go on")

    bodies.by_task = {"a": wait}
    await first.driver.submit(run_of(task("a"), task("b", "a")))
    await until(lambda: bodies.running == 1)
    await first.journal.take_over("run_1", "second")
    gate.set()
    await until(lambda: bodies.running == 0)
    await until(lambda: first.driver.active_runs() == 0)
    assert not any(isinstance(event, m.TaskReported | m.TaskFailed) for event in await first.events())
    await first.driver.close()


async def test_one_journal_that_cannot_be_read_does_not_keep_the_others_from_going_on(database, scope, bodies):
    first = Engine(database, scope, executors={"work": bodies})
    bodies.by_task = {"a": forever, "b": forever}
    await first.driver.submit(run_of(task("a"), run_id="run_1"))
    await first.driver.submit(run_of(task("b"), run_id="run_2"))
    await until(lambda: bodies.running == 2)
    await first.driver.close()
    async with database.write(scope) as session:
        await session.connection.execute(
            text("UPDATE run_events SET event = :bytes WHERE run_id = 'run_1'"), {"bytes": b"\x00"}
        )
    bodies.by_task = {}
    second = Engine(database, scope, executors={"work": bodies}, owner="second")
    await second.driver.recover()
    assert (await second.ended("run_2")).status is m.RunStatus.COMPLETED
    assert second.driver.storage_error
    await second.driver.close()


async def test_effects_under_way_are_given_up_when_their_task_is_stopped(database, scope, tmp_path):
    class Endless(CreateFile):
        name = "test.endless"

        async def act(self, call, arguments):
            await asyncio.Event().wait()
            raise AssertionError

    class Stubborn(Endless):
        name = "test.stubborn"

        async def abort(self, call, arguments):
            raise Unavailable("down", "the target does not answer")

    endless, stubborn = Endless(tmp_path / "endless"), Stubborn(tmp_path / "stubborn")

    async def body(context):
        await context.call(context.inputs["tool"], {"label": context.task_id})
        return {}

    engine = Engine(database, scope, executors={"work": body}, tools=[endless, stubborn])
    graph = (
        task("slow", timeout_s=0.1, inputs={"tool": "test.endless"}),
        task("stopped", inputs={"tool": "test.endless"}),
        task("stubborn", inputs={"tool": "test.stubborn"}),
    )
    await engine.driver.submit(run_of(*graph, tools=["test.endless", "test.stubborn"]))
    await engine.when(lambda state: state.tasks["slow"].status is m.TaskStatus.FAILED)
    await engine.driver.cancel("run_1", "user:owner", "enough")
    state = await engine.ended()
    assert statuses(state) == {"slow": "failed", "stopped": "cancelled", "stubborn": "cancelled"}
    outcomes = {entry.task: entry.outcome for entry in state.ledger.values()}
    assert outcomes == {"slow": "failed", "stopped": "failed", "stubborn": "open"}
    assert sorted(endless.aborted) == sorted(key for key, entry in state.ledger.items() if entry.tool == "test.endless")
    await engine.driver.close()


async def test_an_effect_left_by_a_crash_is_given_up_when_its_run_was_cancelled(database, scope, tmp_path):
    tool = CreateFile(tmp_path)

    async def hang(call: Any, arguments: Any) -> Any:
        await asyncio.Event().wait()

    async def body(context):
        await context.call("test.create", {"label": "x"})
        return {}

    tool.act = hang  # type: ignore[method-assign]
    first = Engine(database, scope, executors={"work": body}, tools=[tool])
    await first.driver.submit(run_of(task("a"), tools=["test.create"]))
    state = await first.when(lambda state: state.ledger)
    epoch = await first.journal.take_over("run_1", "nobody")
    cancelled = [m.RunCancelRequested(at="2026-01-01T00:00:00.000Z", by="user:owner", reason="enough")]
    await first.journal.append("run_1", epoch, state.seq + 1, cancelled)
    await first.driver.close()
    second = Engine(database, scope, executors={"work": body}, tools=[tool], owner="second")
    await second.driver.recover()
    state = await second.ended()
    assert state.status is m.RunStatus.CANCELLED
    assert tool.aborted == list(state.ledger)
    await second.driver.close()
