"""Tasks for each item of a list, on the real driver and a real journal."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.engine import Engine, run_of, task, until
from harness.mapping import FILES, SCOPE, TOOLS, Bodies
from harness.replay import to_json
from interlock.core.signals import NeedsApproval
from interlock.db.database import Database
from interlock.db.sqlite import SqliteFiles
from interlock.runs import model as m
from interlock.runs.evolve import fold
from interlock.runs.parts import Each
from interlock.testing.tools import CreateFile
from interlock.tools.grants import Grant, Rule

TESTS = Path(__file__).parents[1]


def process(folder: Path, *passes: int) -> int:
    """Let an engine work on the run in ``folder``; returns its exit code."""
    told = subprocess.run(
        [sys.executable, "-m", "harness.mapping", str(folder), *map(str, passes)],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert told.returncode in {0, -signal.SIGKILL}, told.stderr.decode()[-3000:]
    return told.returncode


async def test_a_map_and_its_reduce_are_killed_in_the_middle_and_come_to_the_same_end(tmp_path):
    assert process(tmp_path, 150) == -signal.SIGKILL
    assert process(tmp_path, 300) == -signal.SIGKILL
    assert process(tmp_path) == 0
    bodies = Bodies(tmp_path)
    for tool, name in zip(bodies.tools, TOOLS, strict=True):
        assert tool.labels() == sorted(f"f{number}/{name}" for number in range(FILES)), "each effect once for each item"
    database = Database(SqliteFiles(tmp_path / "data"))
    engine = Engine(database, SCOPE)
    state, events = await engine.state(), await engine.events()
    await database.close()
    assert (state.status, state.adoptions) == (m.RunStatus.COMPLETED, 2)
    assert state.tasks["count"].output == {"items": [{"path": f"f{n}", "lines": n} for n in range(FILES)]}
    assert state.tasks["sum"].output == {"lines": sum(range(FILES))}
    assert state.tasks["none"].reason == "condition size(outputs.count.items) == 0 is false"
    assert Counter(type(event).__name__ for event in events)["TaskExpanded"] == 1
    ended = Counter(event.task for event in events if isinstance(event, m.TaskCompleted))
    assert ended == dict.fromkeys(["list", "count", "sum", *(f"count[{n}]" for n in range(FILES))], 1)
    assert len({entry.key for entry in state.ledger.values()}) == FILES * len(TOOLS)
    read_back = fold(events)
    assert read_back is not None
    assert to_json(read_back) == to_json(state)


@pytest.fixture
def started() -> list[str]:
    return []


async def test_an_item_has_the_rights_of_its_task_and_no_others(database, scope, tmp_path):
    tool = CreateFile(tmp_path)

    async def body(context: Any) -> dict[str, Any]:
        return await context.call("test.create", {"label": context.inputs["label"]})

    engine = Engine(database, scope, executors={"work": body}, tools=[tool])
    spec = task("make", each=Each(items=["a", "b", "x"], tolerated=1), inputs={"label": {"$item": ""}})
    granted = Grant(task="make", tool="test.create", arguments={"label": Rule(rule="one_of", value=["a", "b"])})
    await engine.driver.submit(msgspec.structs.replace(run_of(spec), grants=(granted,)))
    state = await engine.ended()
    assert tool.labels() == ["a", "b"]
    assert state.tasks["make"].output["items"] == [{"label": "a"}, {"label": "b"}, None]
    assert state.tasks["make[2]"].error["code"] == "not_granted"
    await engine.driver.close()


async def test_items_are_late_cancelled_and_answered_each_by_itself(database, scope, started):
    async def body(context: Any) -> dict[str, Any]:
        started.append(context.task_id)
        if context.inputs["what"] == "ask" and not context.answer:
            raise NeedsApproval("Go on?", ("yes",), {})
        if context.inputs["what"] in {"hang", "late"}:
            await asyncio.Event().wait()
        return {"answer": context.answer}

    engine = Engine(database, scope, executors={"work": body})
    late = task("late", each=Each(items=["late", "quick"], tolerated="50%"), inputs={"what": {"$item": ""}}, timeout_s=0.05)
    asks = task("asks", "late", each=Each(items=["ask"]), inputs={"what": {"$item": ""}})
    hangs = task("hangs", "asks", each=Each(items=["hang", "never"], max_concurrent=1), inputs={"what": {"$item": ""}})
    await engine.driver.submit(run_of(late, asks, hangs))
    state = await engine.when(lambda state: state.tasks["asks"].items and state.tasks["asks[0]"].question)
    assert state.tasks["late"].output["failures"][0]["error"]["code"] == "task_timeout"
    await engine.driver.answer("run_1", "asks[0]", "yes", "user:owner")
    await until(lambda: "hangs[0]" in started)
    await engine.driver.cancel("run_1", "user:owner", "enough")
    state = await engine.ended()
    assert state.tasks["asks"].output == {"items": [{"answer": "yes"}]}
    assert {name: str(state.tasks[name].status) for name in ("hangs", "hangs[0]", "hangs[1]")} == dict.fromkeys(
        ("hangs", "hangs[0]", "hangs[1]"), "cancelled"
    )
    assert "hangs[1]" not in started
    await engine.driver.close()


async def test_inputs_that_are_not_what_was_asked_for_do_not_reach_the_body(database, scope, started):
    async def body(context: Any) -> dict[str, Any]:
        started.append(context.task_id)
        return {"n": "three"}

    engine = Engine(database, scope, executors={"work": body})
    asks = {"properties": {"n": {"type": "integer"}}}
    await engine.driver.submit(run_of(task("a"), task("b", "a", inputs={"n": {"$output": "a.n"}}, input_schema=asks)))
    state = await engine.ended()
    assert started == ["a"]
    assert state.error["code"] == "inputs_invalid"
    assert state.error["where"] == "b, inputs $.n"
    await engine.driver.close()
