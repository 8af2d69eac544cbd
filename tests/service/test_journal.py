"""The journal: what is durable, in which order, and who may write."""

import asyncio

import pytest

from harness.engine import Engine, run_of, task
from harness.stores import ON_BOTH
from interlock.core.errors import Conflict, Unavailable
from interlock.db.database import Database
from interlock.runs import model as m
from interlock.runs.decide import decide

pytestmark = ON_BOTH

AT = "2026-01-01T00:00:00.000Z"


async def create(engine: Engine, run_id: str = "run_1", **fields: str) -> int:
    run = run_of(task("a"), run_id=run_id, **fields)
    return await engine.journal.create(run, decide(None, m.Submit(at=AT, run=run)), engine.owner)


def report(text: str) -> list[m.RunEvent]:
    return [m.TaskReported(at=AT, task="a", message=text)]


async def messages(engine: Engine, run_id: str = "run_1") -> list[str]:
    return [event.message for event in await engine.events(run_id) if isinstance(event, m.TaskReported)]


@pytest.fixture
def engine(database, scope) -> Engine:
    return Engine(database, scope)


async def test_what_waits_at_the_same_time_shares_a_commit(engine):
    epoch = await create(engine)
    engine.commits.clear()
    texts = [str(number) for number in range(100)]
    await asyncio.gather(*(engine.journal.append("run_1", epoch, 2 + n, report(text)) for n, text in enumerate(texts)))
    assert len(engine.commits) <= 3
    assert await messages(engine) == texts


async def test_what_arrives_during_a_commit_joins_the_next_one(engine):
    epochs = {run_id: await create(engine, run_id) for run_id in ("run_1", "run_2", "run_3")}
    engine.commits.clear()
    for number in range(30):
        for run_id, epoch in epochs.items():
            engine.journal.append(run_id, epoch, 2 + number, report(f"{run_id} {number}"))
        await asyncio.sleep(0)
    await engine.journal.drain()
    assert len(engine.commits) < 30
    for run_id in epochs:
        assert await messages(engine, run_id) == [f"{run_id} {number}" for number in range(30)]


async def test_it_is_durable_once_awaited(engine):
    epoch = await create(engine)
    await engine.journal.append("run_1", epoch, 2, report("kept"))
    other = Engine(Database(engine.database.store), engine.scope)
    assert await messages(other) == ["kept"]
    await other.database.close()


async def test_a_former_owner_is_refused_alone(engine):
    old = await create(engine)
    mine = await create(engine, "run_2")
    new = await engine.journal.take_over("run_1", "second")
    assert new > old
    late = engine.journal.append("run_1", old, 2, report("from the dead"))
    good = engine.journal.append("run_2", mine, 2, report("from the living"))
    better = engine.journal.append("run_1", new, 2, report("from the heir"))
    results = await asyncio.gather(late, good, better, return_exceptions=True)
    assert results[1:] == [None, None]
    assert isinstance(results[0], Conflict)
    assert results[0].code == "fenced"
    assert await messages(engine) == ["from the heir"]
    assert await messages(engine, "run_2") == ["from the living"]


async def test_nothing_is_written_behind_a_gap(engine):
    epoch = await create(engine)
    first = engine.journal.append("run_1", epoch, 3, report("its forerunner was lost"))
    second = engine.journal.append("run_1", epoch, 4, report("so was this one's"))
    for refused in await asyncio.gather(first, second, return_exceptions=True):
        assert isinstance(refused, Unavailable)
        assert refused.code == "journal_gap"
    await engine.journal.append("run_1", epoch, 2, report("in order"))
    assert await messages(engine) == ["in order"]


async def test_what_cannot_be_written_fails_its_own_run_alone(engine):
    epochs = [await create(engine), await create(engine, "run_2")]
    good = engine.journal.append("run_1", epochs[0], 2, report("good"))
    with pytest.raises(TypeError):
        engine.journal.append("run_2", epochs[1], 2, [m.TaskCompleted(at=AT, task="a", output={"x": object()})])
    await good


async def test_a_plan_has_one_run_for_each_role(engine):
    await create(engine, "run_1", plan_id="plan_1", role="main")
    with pytest.raises(Conflict) as twice:
        await create(engine, "run_2", plan_id="plan_1", role="main")
    assert twice.value.code == "run_exists"
    await create(engine, "run_3", plan_id="plan_1", role="rollback:prod")
    assert await engine.journal.unfinished() == ["run_1", "run_3"]


async def test_a_run_that_is_made_twice_keeps_on_while_the_second_one_is_refused(engine):
    epoch = await create(engine)
    outcomes = await asyncio.gather(
        create(engine), engine.journal.append("run_1", epoch, 2, report("kept")), create(engine), return_exceptions=True
    )
    assert [getattr(outcome, "code", outcome) for outcome in outcomes] == ["run_exists", None, "run_exists"]
    assert await messages(engine) == ["kept"]


async def test_the_list_of_runs_follows_the_journal(engine):
    epoch = await create(engine)
    await engine.journal.append("run_1", epoch, 2, [m.RunStarted(at=AT), *report("x")])
    [summary] = await engine.runs.listing(engine.scope)
    assert (summary.status, summary.ended_at) == ("running", "")
    await engine.journal.append("run_1", epoch, 4, [m.RunFinished(at="later", status=m.RunStatus.FAILED)])
    [summary] = await engine.runs.listing(engine.scope)
    assert (summary.status, summary.ended_at) == ("failed", "later")
    assert await engine.runs.counts(engine.scope) == {"failed": 1}
    assert await engine.journal.unfinished() == []
