"""The worked examples of docs/graphs.md run as they stand, on the real driver and a real journal."""

import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.engine import Engine, run_of
from interlock.core.errors import Invalid
from interlock.runs import conditions
from interlock.runs.graph import TaskGraph
from interlock.runs.model import RunState
from interlock.runs.ports import Executor

PAGE = (Path(__file__).parents[2] / "docs" / "graphs.md").read_text()
NAMESPACE: dict[str, Any] = {"__name__": "example"}
exec("\n".join(re.findall(r"^```python example\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)), NAMESPACE)  # noqa: S102
TESTS = {name: value for name, value in NAMESPACE.items() if name.startswith("test_")}


@pytest.fixture
async def run(database, scope):
    engines: list[Engine] = []

    async def run(graph: TaskGraph, body: Executor) -> RunState:
        engine = Engine(database, scope, executors={"work": body})
        engines.append(engine)
        await engine.driver.submit(run_of(*graph))
        return await engine.ended()

    yield run
    for engine in engines:
        await engine.driver.close()


@pytest.mark.parametrize("name", TESTS)
async def test_the_example_works(name: str, run: Callable[..., Awaitable[RunState]]) -> None:
    test = TESTS[name]
    outcome = test(run) if inspect.signature(test).parameters else test()
    if inspect.isawaitable(outcome):
        await outcome


def test_every_expression_of_the_table_is_a_condition() -> None:
    section = PAGE.partition("## Conditions")[2].partition("\n## ")[0]
    expressions = re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)
    assert len(expressions) == 6
    for expression in expressions:
        assert conditions.fault(expression, ("sum", "find", "count", "list"), ()) is None


def test_the_refusal_that_the_page_quotes_is_the_one_that_is_made() -> None:
    step = NAMESPACE["step"]
    with pytest.raises(Invalid) as refusal:
        TaskGraph(tasks=(step("count"), step("large", condition="true && outputs.count.n > 1"))).check()
    assert str(refusal.value) in PAGE
