"""Who has a slot, and who is next: also after an append that failed, or was durable and reported as failed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from harness.engine import Engine, run_of, task, until
from harness.stores import ON_BOTH
from interlock.core.errors import Conflict, Unavailable
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.runs import model as m
from service.test_driver import Bodies

pytestmark = ON_BOTH

WHY = ("user:owner", "")


@pytest.fixture
def bodies() -> Bodies:
    return Bodies()


@pytest_asyncio.fixture
async def engine(database: Database, scope: Scope, bodies: Bodies, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    monkeypatch.setattr("interlock.runs.driver.RELOAD_DELAY_S", 0.05)
    found = Engine(database, scope, executors={"work": bodies}, max_concurrent_runs=1)
    yield found
    await found.driver.close()


async def submit(engine: Engine, *names: str) -> None:
    """Runs of one task each, both of that name."""
    for name in names:
        await engine.driver.submit(run_of(task(name), run_id=name))


def holds(bodies: Bodies, name: str) -> asyncio.Event:
    """A body that goes on once its gate is set."""
    gate = asyncio.Event()

    async def body(_context: Any) -> dict[str, Any]:
        await gate.wait()
        return {}

    bodies.by_task[name] = body
    return gate


def fails_once(engine: Engine, monkeypatch: pytest.MonkeyPatch, event: type[m.Event], *, is_durable: bool) -> None:
    """The next append with such an event is told as failed, after it was made durable or instead."""
    write, failures = engine.journal.append, list[str]()

    async def failing(run_id: str, epoch: int, seq: int, events: Sequence[m.RunEvent]) -> None:
        is_it = not failures and any(isinstance(item, event) for item in events)
        if is_it:
            failures.append(run_id)
        if is_durable or not is_it:
            await write(run_id, epoch, seq, events)
        if is_it:
            raise Unavailable("storage", "the answer never came")

    def append(*arguments: Any) -> asyncio.Future[None]:
        return asyncio.ensure_future(failing(*arguments))

    monkeypatch.setattr(engine.journal, "append", append)


async def test_a_run_whose_end_was_durable_though_told_as_failed_has_no_slot(
    engine: Engine, bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_once(engine, monkeypatch, m.RunFinished, is_durable=True)
    await submit(engine, "first")
    await until(lambda: engine.driver.storage_error)
    await until(lambda: not engine.driver.storage_error)
    await submit(engine, "second")
    assert (await engine.ended("second")).status is m.RunStatus.COMPLETED
    with pytest.raises(Conflict) as over:
        await engine.driver.pause("first", *WHY)
    assert (over.value.code, bodies.started) == ("run_not_active", ["first", "second"])


async def test_who_waits_has_the_slot_of_a_run_that_was_taken_over(engine: Engine, bodies: Bodies) -> None:
    gate = holds(bodies, "first")
    await submit(engine, "first", "second")
    await until(lambda: bodies.running)
    await engine.journal.take_over("first", "another")
    gate.set()
    assert (await engine.ended("second")).status is m.RunStatus.COMPLETED
    assert (await engine.state("first")).status is m.RunStatus.RUNNING, "it is another's now"


async def test_a_run_that_stood_still_keeps_its_place_in_the_line(
    engine: Engine, bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = holds(bodies, "first")
    await submit(engine, "first", "second", "third")
    fails_once(engine, monkeypatch, m.RunPaused, is_durable=False)
    with pytest.raises(Unavailable):
        await engine.driver.pause("second", *WHY)
    await until(lambda: not engine.driver.storage_error)
    gate.set()
    await engine.ended("third")
    assert bodies.started == ["first", "second", "third"]


async def test_whoever_is_resumed_waits_in_the_order_of_submission(engine: Engine, bodies: Bodies) -> None:
    gate = holds(bodies, "first")
    await submit(engine, "first", "second", "third", "fourth")
    for name in ("third", "second"):
        await engine.driver.pause(name, *WHY)
        await engine.driver.resume(name, *WHY)
    gate.set()
    await engine.ended("fourth")
    assert bodies.started == ["first", "second", "third", "fourth"]


async def test_after_a_restart_what_runs_has_its_slot_before_what_waits(
    database: Database, scope: Scope, bodies: Bodies
) -> None:
    gates = {name: holds(bodies, name) for name in ("ends", "first", "second")}
    before = Engine(database, scope, executors={"work": bodies}, max_concurrent_runs=2)
    await submit(before, "first")
    await before.driver.submit(run_of(task("ends"), run_id="ends", limits=m.Limits(max_adoptions=0)))
    await submit(before, "second", "third")
    await until(lambda: bodies.running == 2)
    await before.driver.pause("first", *WHY)
    await until(lambda: bodies.running == 3)
    await before.driver.resume("first", *WHY)
    await before.driver.close()
    bodies.started.clear()
    after = Engine(database, scope, executors={"work": bodies}, max_concurrent_runs=1, owner="second")
    await after.driver.recover()
    assert (await after.state("ends")).status is m.RunStatus.FAILED, "it gives its slot back while others are not adopted yet"
    for name in ("second", "first"):
        gates[name].set()
        await after.ended(name)
    await after.ended("third")
    assert bodies.started == ["second", "first", "third"]
    await after.driver.close()
