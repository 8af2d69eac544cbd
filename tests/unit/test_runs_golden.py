"""Histories of a deployment as the journal holds them. They stay readable: a new version goes on with the runs of an old one.

Where a change of the rules is meant, write them anew: ``PYTHONPATH=tests .venv/bin/python tests/unit/test_runs_golden.py``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.engine import run_of, task
from harness.replay import to_json
from interlock.runs import model as m
from interlock.runs.decide import Scheduler, decide
from interlock.runs.evolve import fold
from interlock.runs.graph import Retry

GOLDEN = Path(__file__).parents[1] / "golden"

DEPLOY = (
    task("build", retry=Retry(max_attempts=2, delay_s=5.0, jitter=0.0)),
    task("start", "build"),
    task("verify", "start"),
    task("discard", "start", "verify", when="failed", branch="cleanup:prod"),
    task("switch", "verify", inputs={"port": {"$output": "start.port"}}),
    task("watch", "switch"),
    task("retire", "watch"),
    task("restore", "switch", "watch", when="failed", branch="rollback:prod"),
    task("stop", "restore", branch="rollback:prod"),
)


class History:
    """A run driven by hand, a second passing with each command."""

    def __init__(self) -> None:
        self.seconds = 0
        self.events = decide(None, m.Submit(at=self._now(), run=run_of(*DEPLOY, role="main")))
        state = fold(self.events)
        assert state is not None
        self.state = state
        self._scheduler = Scheduler(state)
        self.do(m.Start)

    def _now(self) -> str:
        self.seconds += 1
        return f"2026-01-01T00:00:{self.seconds:02}.000Z"

    def do(self, kind: type[m.Command], **fields: Any) -> None:
        command: Any = kind(at=self._now(), **fields)
        self.events += self._scheduler.decide(command)

    def complete(self, *names: str, **output: Any) -> None:
        for name in names:
            self.do(m.Complete, task=name, attempt=self.state.tasks[name].attempt, output=output)

    def fail(self, name: str, code: str, *, is_transient: bool = False) -> None:
        error = {"kind": "unavailable" if is_transient else "conflict", "code": code, "message": f"{name} failed"}
        self.do(m.Fail, task=name, attempt=self.state.tasks[name].attempt, error=error, is_transient=is_transient)

    def effect(self, name: str, **output: Any) -> None:
        at, key = self._now(), f"run-1-{name}-0-1"
        intent = {"tool": "test.act", "effect": "deploy", "keying": "keyed", "arguments": {}, "arguments_digest": "sha256:0"}
        events = (
            m.IntentRecorded(at=at, task=name, name="test.act", key=key, **intent),
            m.ReceiptRecorded(at=at, task=name, key=key, outcome="done", by="act", output=output),
        )
        self.do(m.Note, task=name, attempt=self.state.tasks[name].attempt, events=events)


def success(history: History) -> None:
    history.fail("build", "no_network", is_transient=True)
    history.do(m.RetryDue, task="build")
    history.complete("build")
    history.effect("start", port=4001)
    history.complete("start", port=4001)
    history.complete("verify", "switch", "watch", "retire")


def failed_verify(history: History) -> None:
    history.complete("build", "start")
    history.fail("verify", "not_healthy")
    history.complete("discard")


def failed_watch(history: History) -> None:
    history.complete("build", "start", "verify", "switch")
    history.fail("watch", "threshold_crossed")
    history.complete("restore", "stop")


def cancelled_in_the_watch(history: History) -> None:
    history.complete("build", "start", "verify", "switch")
    history.do(m.RequestCancel, by="user:owner", reason="wrong window")
    history.do(m.Stopped, task="watch", attempt=1, reason="wrong window")
    history.complete("restore", "stop")


def crashed_and_asked(history: History) -> None:
    history.complete("build")
    history.do(m.Adopt, owner="pid 2", epoch=2)
    evidence = {"tool": "test.act", "key": "run-1-start-0-1"}
    asks = {"question": "Was it done?", "options": ("yes", "no"), "evidence": evidence}
    history.do(m.Park, task="start", attempt=2, **asks)
    history.do(m.Answer, task="start", answer="yes", by="user:owner")
    history.complete("start", "verify", "switch", "watch", "retire")


STORIES: dict[str, tuple[Callable[[History], None], m.RunStatus]] = {
    "success": (success, m.RunStatus.COMPLETED),
    "failed_verify": (failed_verify, m.RunStatus.FAILED),
    "failed_watch": (failed_watch, m.RunStatus.ROLLED_BACK),
    "cancelled_in_the_watch": (cancelled_in_the_watch, m.RunStatus.CANCELLED),
    "crashed_and_asked": (crashed_and_asked, m.RunStatus.COMPLETED),
}


def told(name: str) -> History:
    history = History()
    STORIES[name][0](history)
    return history


@pytest.mark.parametrize("name", STORIES)
def test_a_history_is_written_and_read_as_ever(name: str) -> None:
    lines = (GOLDEN / f"run_{name}.jsonl").read_bytes().splitlines()
    history = told(name)
    assert [msgspec.json.encode(event) for event in history.events] == lines
    assert history.state.status is STORIES[name][1]
    decoder = msgspec.json.Decoder(m.RunEvent)
    read_back = fold(decoder.decode(line) for line in lines)
    assert read_back is not None
    assert to_json(read_back) == to_json(history.state)


if __name__ == "__main__":
    for story in STORIES:
        lines = [msgspec.json.encode(event) + b"\n" for event in told(story).events]
        (GOLDEN / f"run_{story}.jsonl").write_bytes(b"".join(lines))
