"""The journal on a disk that is full: runs stand still, and go on."""

import asyncio

import pytest

from harness.engine import Engine, run_of, task, until
from interlock.core.errors import Unavailable
from interlock.runs import model as m


@pytest.fixture
def engine(database, scope) -> Engine:
    return Engine(database, scope)


async def set_page_limit(engine: Engine, pages: int) -> None:
    async with engine.database.write(engine.scope) as session:
        await session.connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


async def test_runs_stand_still_on_a_full_disk_and_go_on_by_themselves(engine, monkeypatch):
    monkeypatch.setattr("interlock.runs.driver.RELOAD_DELAY_S", 0.05)
    gate = asyncio.Event()
    started: list[tuple[str, int]] = []

    async def body(context):
        started.append((context.task_id, context.attempt))
        if context.task_id == "b":
            await gate.wait()
            for _ in range(40):
                await context.report("x" * 4000)
        return {}

    engine.executors["work"] = body
    await engine.driver.submit(run_of(task("a"), task("b", "a"), task("c", "b")))
    await engine.when(lambda state: state.tasks["b"].status is m.TaskStatus.RUNNING)
    await set_page_limit(engine, 1)
    gate.set()
    await until(lambda: engine.driver.storage_error)
    assert "full" in engine.driver.storage_error
    with pytest.raises(Unavailable) as suspended:
        await engine.driver.cancel("run_1", "user:owner", "now")
    assert suspended.value.code == "run_suspended"
    with pytest.raises(Unavailable) as full:
        await engine.driver.submit(run_of(task("a", inputs={"x": "x" * 100_000}), run_id="run_2"))
    assert full.value.code == "storage"
    await set_page_limit(engine, 2**30)
    state = await engine.ended()
    assert state.status is m.RunStatus.COMPLETED
    assert engine.driver.storage_error == ""
    assert [name for name, _ in started].count("a") == 1, "a completed task never runs again"
    assert state.tasks["c"].attempt == 1
    assert await engine.runs.listing(engine.scope, plan_id="plan_run_2") == []
    await engine.driver.close()
