"""Runs that are paused, on a real journal: slots, restarts, effects in flight, the run's time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from harness.engine import Engine, run_of, task, until
from harness.stores import ON_BOTH
from interlock.core.errors import Conflict, Unavailable
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.runs import model as m
from interlock.runs.feed import JournalFeed
from interlock.runs.graph import Retry
from interlock.testing.tools import CreateFile
from service.test_driver import Bodies, forever, raises, statuses

pytestmark = ON_BOTH

WHY = ("user:owner", "the mail server is down")


@pytest.fixture
def bodies() -> Bodies:
    return Bodies()


@pytest_asyncio.fixture
async def engine(database: Database, scope: Scope, bodies: Bodies) -> AsyncIterator[Engine]:
    found = Engine(database, scope, executors={"work": bodies}, max_concurrent_runs=1)
    yield found
    await found.driver.close()


def gated(bodies: Bodies, *names: str) -> dict[str, asyncio.Event]:
    """Bodies that go on once their gate is set."""
    gates = {name: asyncio.Event() for name in names}

    async def body(context: Any) -> dict[str, Any]:
        await gates[context.task_id].wait()
        return {}

    bodies.by_task |= dict.fromkeys(gates, body)
    return gates


async def row(engine: Engine, run_id: str = "run_1") -> str:
    """What the list of runs says."""
    return next(item.status for item in await engine.runs.listing(engine.scope) if item.run_id == run_id)


async def test_a_body_under_way_goes_on_and_the_next_task_waits(engine: Engine, bodies: Bodies) -> None:
    gates = gated(bodies, "a")
    await engine.driver.submit(run_of(task("a"), task("b", "a")))
    await until(lambda: bodies.running)
    await engine.driver.pause("run_1", *WHY)
    gates["a"].set()
    state = await engine.when(lambda state: state.tasks["a"].status is m.TaskStatus.COMPLETED)
    assert (state.status, statuses(state)["b"], await row(engine)) == (m.RunStatus.PAUSED, "pending", "paused")
    await engine.driver.resume("run_1", "user:owner", "")
    assert (await engine.ended()).status is m.RunStatus.COMPLETED
    told = [(type(event).__name__, event.by, event.reason) for event in await engine.events() if hasattr(event, "by")]
    assert told == [("RunPaused", *WHY), ("RunResumed", "user:owner", "")]


async def test_pausing_is_idempotent_and_refused_once_the_run_has_ended(engine: Engine, bodies: Bodies) -> None:
    gates = gated(bodies, "a")
    await engine.driver.submit(run_of(task("a")))
    await until(lambda: bodies.running)
    await asyncio.gather(*(engine.driver.pause("run_1", *WHY) for _ in range(3)))
    assert sum(isinstance(event, m.RunPaused) for event in await engine.events()) == 1
    gates["a"].set()
    await engine.ended()
    for ask in (engine.driver.pause, engine.driver.resume):
        with pytest.raises(Conflict) as over:
            await ask("run_1", *WHY)
        assert over.value.code == "run_not_active"


async def test_nobody_is_blocked_by_a_pause_and_who_resumes_waits_for_a_slot(engine: Engine, bodies: Bodies) -> None:
    gates = gated(bodies, "a", "b")
    await engine.driver.submit(run_of(task("a"), task("last", "a")))
    await engine.driver.submit(run_of(task("b"), run_id="run_2"))
    await until(lambda: bodies.started == ["a"])
    await engine.driver.pause("run_1", *WHY)
    await until(lambda: bodies.started == ["a", "b"])
    await engine.driver.resume("run_1", "user:owner", "")
    gates["a"].set()
    state = await engine.when(lambda state: state.tasks["a"].status is m.TaskStatus.COMPLETED)
    assert (state.status, await row(engine), engine.driver.active_runs()) == (m.RunStatus.PENDING, "pending", 1)
    gates["b"].set()
    assert (await engine.ended()).status is m.RunStatus.COMPLETED
    assert bodies.started == ["a", "b", "last"]


async def test_a_cancelled_pause_walks_the_way_back_at_once_beside_the_run_that_has_the_slot(
    engine: Engine, bodies: Bodies
) -> None:
    gates = gated(bodies, "a", "b")
    await engine.driver.submit(run_of(task("a"), task("c", "a"), task("a-back", undoes="a")))
    await engine.driver.submit(run_of(task("b"), run_id="run_2"))
    await until(lambda: bodies.started == ["a"])
    await engine.driver.pause("run_1", *WHY)
    await until(lambda: bodies.started == ["a", "b"])
    gates["a"].set()
    await engine.when(lambda state: state.tasks["a"].status is m.TaskStatus.COMPLETED)
    await engine.driver.cancel("run_1", "user:owner", "enough")
    state = await engine.ended()
    assert (state.status, statuses(state)["a-back"]) == (m.RunStatus.CANCELLED, "completed")
    gates["b"].set()
    await engine.ended("run_2")


async def test_what_falls_due_waits_until_the_run_is_resumed(engine: Engine, bodies: Bodies) -> None:
    bodies.by_task = {"a": raises(Unavailable("down", "down"), None)}
    await engine.driver.submit(run_of(task("a", retry=Retry(max_attempts=2, delay_s=0.05, jitter=0.0))))
    await engine.when(lambda state: state.tasks["a"].retry_at)
    await engine.driver.pause("run_1", *WHY)
    await engine.when(lambda state: not state.tasks["a"].retry_at)
    assert bodies.started == ["a"]
    await engine.driver.resume("run_1", "user:owner", "")
    assert (await engine.ended()).status is m.RunStatus.COMPLETED


@pytest.mark.parametrize("has_begun", [True, False])
async def test_a_paused_run_is_still_paused_after_a_restart(
    database: Database, scope: Scope, bodies: Bodies, *, has_begun: bool
) -> None:
    first = Engine(database, scope, executors={"work": bodies}, max_concurrent_runs=1)
    bodies.by_task = {"other": forever}
    if has_begun:
        bodies.by_task["a"] = forever
    else:
        await first.driver.submit(run_of(task("other"), run_id="run_0"))
    await first.driver.submit(run_of(task("a"), task("b", "a")))
    await until(lambda: bodies.running)
    await first.driver.pause("run_1", *WHY)
    await first.driver.close()
    bodies.by_task, bodies.started = {"other": forever}, []
    second = Engine(database, scope, executors={"work": bodies}, owner="second")
    await second.driver.recover()
    state = await second.when(lambda state: not has_begun or state.adoptions)
    assert (state.status, statuses(state)) == (m.RunStatus.PAUSED, {"a": "pending", "b": "pending"})
    assert "a" not in bodies.started, "what did nothing yet waits like all else"
    await second.driver.resume("run_1", "user:owner", "")
    state = await second.ended()
    assert (state.status, state.tasks["a"].attempt) == (m.RunStatus.COMPLETED, 2 if has_begun else 1)
    await second.driver.close()


async def test_an_effect_in_flight_is_looked_at_though_the_run_is_paused(
    database: Database, scope: Scope, bodies: Bodies, tmp_path: Any
) -> None:
    hangs = asyncio.Event()

    class Hanging(CreateFile):
        async def act(self, call: Any, arguments: Any) -> Any:
            done = await super().act(call, arguments)
            if not hangs.is_set():
                hangs.set()
                await asyncio.Event().wait()
            return done

    tool = Hanging(tmp_path / "files")

    async def effect(context: Any) -> dict[str, Any]:
        return await context.call(tool.name, {"label": context.task_id})

    bodies.by_task = {"a": effect, "b": effect}
    run = run_of(task("a"), task("b", "a"), tools=[tool.name])
    first = Engine(database, scope, executors={"work": bodies}, tools=[tool])
    await first.driver.submit(run)
    await hangs.wait()
    await first.driver.pause("run_1", *WHY)
    await first.driver.close()
    second = Engine(database, scope, executors={"work": bodies}, tools=[tool], owner="second")
    await second.driver.recover()
    state = await second.when(lambda state: state.tasks["a"].status is m.TaskStatus.COMPLETED)
    assert (state.status, statuses(state)["b"]) == (m.RunStatus.PAUSED, "pending")
    receipts = [event.by for event in await second.events() if isinstance(event, m.ReceiptRecorded)]
    assert receipts == ["probe"], "it was found, and not done again"
    await second.driver.resume("run_1", "user:owner", "")
    await second.ended()
    assert tool.labels() == ["a", "b"]
    await second.driver.close()


async def test_a_pause_takes_nothing_of_the_time_of_a_run(engine: Engine, bodies: Bodies) -> None:
    bodies.by_task = {"a": forever}
    await engine.driver.submit(run_of(task("a"), limits=m.Limits(timeout_s=0.3)))
    await until(lambda: bodies.running)
    await engine.driver.pause("run_1", *WHY)
    await asyncio.sleep(0.5)
    assert (await engine.state()).status is m.RunStatus.PAUSED
    await engine.driver.resume("run_1", "user:owner", "")
    assert (await engine.ended()).cancel_requested == "the run took over 0.3 s"


async def test_whatever_is_paused_and_resumed_no_more_runs_have_a_slot_than_there_are(
    database: Database, scope: Scope, bodies: Bodies
) -> None:
    engine = Engine(database, scope, executors={"work": bodies}, max_concurrent_runs=2)
    with_slot: list[int] = []

    async def body(_context: Any) -> dict[str, Any]:
        with_slot.append(engine.driver.active_runs())
        return {}

    chain = [task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 6))]
    bodies.by_task = {spec.id: body for spec in chain}
    runs = [f"run_{number}" for number in range(6)]

    async def meddle(run_id: str) -> None:
        with contextlib.suppress(Conflict):
            for _ in range(10):
                await engine.driver.pause(run_id, *WHY)
                await engine.driver.resume(run_id, *WHY)

    await asyncio.gather(*(engine.driver.submit(run_of(*chain, run_id=run_id)) for run_id in runs))
    await asyncio.gather(*(meddle(run_id) for run_id in runs))
    for run_id in runs:
        assert (await engine.ended(run_id)).status is m.RunStatus.COMPLETED
    assert max(with_slot) <= 2
    await engine.driver.close()


async def test_others_are_told_of_a_pause_and_once_of_a_start(engine: Engine, bodies: Bodies) -> None:
    gates = gated(bodies, "a")
    await engine.driver.submit(run_of(task("a")))
    await until(lambda: bodies.running)
    await engine.driver.pause("run_1", *WHY)
    await engine.driver.resume("run_1", "user:owner", "it is back")
    gates["a"].set()
    await engine.ended()
    told = [event for _, event in await JournalFeed(engine.database).after(engine.scope, 0, 100) if event]
    assert [event.event_type for event in told] == ["run.started", "run.paused", "run.resumed", "run.finished"]
    assert (told[1].data["by"], told[1].data["reason"], told[2].data["reason"]) == (*WHY, "it is back")
