"""The way back of a failed run, carried out by the local driver on a real journal."""

import asyncio
from typing import Any

import pytest

from harness.engine import Engine, run_of, task
from harness.stores import ON_BOTH
from interlock.core.errors import Conflict
from interlock.runs import model as m
from service.test_driver import Bodies, forever, raises, statuses

pytestmark = ON_BOTH


@pytest.fixture
def bodies() -> Bodies:
    return Bodies()


@pytest.fixture
async def engine(database, scope, bodies):
    found = Engine(database, scope, executors={"work": bodies})
    yield found
    await found.driver.close()


async def test_a_failed_run_undoes_what_it_did_and_says_so(engine, bodies):
    async def migrate(_context):
        return {"from": 41}

    seen: dict[str, Any] = {}

    async def back(context):
        seen.update(context.inputs)
        return {}

    bodies.by_task = {"migrate": migrate, "migrate-back": back, "start": raises(Conflict("refused", "no room"))}
    graph = (
        task("migrate"),
        task("migrate-back", undoes="migrate", inputs={"to": {"$output": "migrate.from"}}),
        task("start", "migrate"),
        task("stop", undoes="start"),
        task("switch", "start"),
        task("return", undoes="switch"),
    )
    await engine.driver.submit(run_of(*graph))
    state = await engine.ended()
    assert bodies.started == ["migrate", "start", "stop", "migrate-back"]
    assert seen == {"to": 41}
    assert (state.status, state.error["task"]) == (m.RunStatus.FAILED, "start")
    assert state.summary == m.RunSummary(undone=("migrate", "start"), never_begun=("switch",))


async def test_a_cancelled_run_walks_its_undos_to_their_end(engine, bodies):
    going = asyncio.Event()

    async def back(_context):
        going.set()
        await asyncio.sleep(0.05)
        return {}

    bodies.by_task = {"deploy": forever, "back": back}
    await engine.driver.submit(run_of(task("deploy"), task("back", undoes="deploy")))
    await engine.when(lambda state: state.tasks["deploy"].status is m.TaskStatus.RUNNING)
    await engine.driver.cancel("run_1", "user:owner", "enough")
    await going.wait()
    await engine.driver.cancel("run_1", "user:owner", "enough, I said")
    state = await engine.ended()
    assert statuses(state) == {"deploy": "cancelled", "back": "completed"}
    assert state.summary == m.RunSummary(undone=("deploy",))


async def test_a_restart_in_the_midst_of_the_way_back_goes_on_with_it(engine, bodies, database, scope):
    bodies.by_task = {"b": raises(Conflict("refused", "no")), "b-back": forever}
    graph = (task("a"), task("a-back", undoes="a"), task("b", "a"), task("b-back", undoes="b"))
    await engine.driver.submit(run_of(*graph))
    await engine.when(lambda state: state.tasks["b-back"].status is m.TaskStatus.RUNNING)
    await engine.driver.close()

    bodies.by_task = {}
    bodies.started.clear()
    again = Engine(database, scope, executors={"work": bodies}, owner="second")
    await again.driver.recover()
    state = await again.ended()
    assert bodies.started == ["b-back", "a-back"]
    assert (state.tasks["b-back"].attempt, state.summary) == (2, m.RunSummary(undone=("a", "b")))
    await again.driver.close()
