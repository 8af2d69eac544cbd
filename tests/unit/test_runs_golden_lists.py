"""The history of a run that chooses, spreads and joins, as the journal holds it: it stays readable, and is written as ever.

Where a change of the rules is meant, write it anew: ``PYTHONPATH=tests .venv/bin/python tests/unit/test_runs_golden_lists.py``.
"""

from pathlib import Path

import msgspec

from harness.engine import task
from harness.replay import to_json
from interlock.runs import model as m
from interlock.runs.evolve import fold
from interlock.runs.graph import Retry
from interlock.runs.parts import Each
from unit.test_runs_golden import History, decoder

GOLDEN = Path(__file__).parents[1] / "golden" / "run_spread.jsonl"
COUNT = Each(items={"$output": "list.files"}, max_concurrent=2, tolerated="50%")

SPREAD = (
    task("list", output_schema={"required": ["files"]}),
    task("count", "list", each=COUNT, inputs={"path": {"$item": "path"}}, retry=Retry(max_attempts=2, jitter=0.0)),
    task("short", "count", condition="size(outputs.count.items) < 3"),
    task("long", "count", condition="size(outputs.count.items) >= 3"),
    task("wrong", "count", condition="outputs.count.items[9].lines > 1"),
    task("told", "short", "long", when="any"),
    task("page", "wrong", when="failed", each=Each(items=["owner"])),
    task("uncount", undoes="count", inputs={"counted": {"$output": "count.items"}}),
)


def spread() -> History:
    history = History(*SPREAD)
    history.complete("list", files=[{"path": "a"}, {"path": "b"}, {"path": "c"}])
    history.effect("count[0]", lines=1)
    history.fail("count[0]", "busy", is_transient=True)
    history.do(m.Adopt, owner="pid 2", epoch=2)
    history.fail("count[1]", "gone")
    history.do(m.RetryDue, task="count[0]")
    history.complete("count[2]", "count[0]", lines=2)
    history.complete("long", "page[0]", "told", "uncount")
    return history


def test_a_history_with_lists_is_written_and_read_as_ever() -> None:
    history = spread()
    assert history.state.status is m.RunStatus.FAILED
    assert history.state.error["code"] == "condition_failed"
    assert [msgspec.json.encode(event) for event in history.events] == GOLDEN.read_bytes().splitlines()
    read_back = fold(decoder.decode(line) for line in GOLDEN.read_bytes().splitlines())
    assert read_back is not None
    assert to_json(read_back) == to_json(history.state)


if __name__ == "__main__":
    GOLDEN.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in spread().events))
