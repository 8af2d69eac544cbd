"""Histories of a deployment as the journal holds them. They stay readable: a new version goes on with the runs of an old one.

The first ones were written before a task could say what it undoes: they stay as they are, and lead to the same events. Where a
change of the rules is meant, write the others anew: ``PYTHONPATH=tests .venv/bin/python tests/unit/test_runs_golden.py``.
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
from interlock.runs.graph import Retry, TaskSpec

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

MIGRATE = (
    task("migrate"),
    task("migrate-back", undoes="migrate", settled_by="notify", inputs={"to": {"$output": "migrate.from"}}),
    task("drop", "migrate", one_way="drops a column"),
    task("start", "migrate"),
    task("stop", undoes="start", branch="cleanup:prod"),
    task("switch", "start", "drop"),
    task("return", undoes="switch", branch="rollback:prod"),
    task("notify", "switch"),
    task("unsay", undoes="notify"),
)


class History:
    """A run driven by hand, a second passing with each command."""

    def __init__(self, *tasks: TaskSpec) -> None:
        self.seconds = 0
        self.events = decide(None, m.Submit(at=self._now(), run=run_of(*tasks, role="main")))
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


def undone(history: History) -> None:
    history.complete("migrate", **{"from": 41})
    history.complete("drop", "start")
    history.fail("switch", "refused")
    history.complete("return", "stop", "migrate-back")


def undone_in_part(history: History) -> None:
    history.complete("migrate", "drop", "start", "switch")
    history.do(m.RequestCancel, by="user:owner", reason="wrong window")
    history.do(m.Stopped, task="notify", attempt=1, reason="wrong window")
    history.complete("unsay")
    history.fail("return", "no_forwarder")


def paused(history: History) -> None:
    history.complete("migrate", **{"from": 41})
    history.do(m.PauseRun, by="user:owner", reason="the mail server is down")
    history.complete("start")
    history.do(m.Adopt, owner="pid 2", epoch=2)
    history.do(m.ResumeRun, by="user:maria", reason="it is back")
    history.do(m.Start)
    history.complete("drop", "switch")
    history.do(m.PauseRun, by="user:owner", reason="")
    history.do(m.RequestCancel, by="user:owner", reason="wrong window")
    history.do(m.Stopped, task="notify", attempt=1, reason="wrong window")
    history.complete("unsay", "return", "stop", "migrate-back")


OLDER: dict[str, tuple[Callable[[History], None], m.RunStatus]] = {
    "success": (success, m.RunStatus.COMPLETED),
    "failed_verify": (failed_verify, m.RunStatus.FAILED),
    "failed_watch": (failed_watch, m.RunStatus.ROLLED_BACK),
    "cancelled_in_the_watch": (cancelled_in_the_watch, m.RunStatus.CANCELLED),
    "crashed_and_asked": (crashed_and_asked, m.RunStatus.COMPLETED),
}
STORIES: dict[str, tuple[Callable[[History], None], m.RunStatus]] = {
    "undone": (undone, m.RunStatus.ROLLED_BACK),
    "undone_in_part": (undone_in_part, m.RunStatus.CANCELLED),
    "paused": (paused, m.RunStatus.CANCELLED),
}
decoder = msgspec.json.Decoder(m.RunEvent)


def told(name: str) -> History:
    tasks, stories = (DEPLOY, OLDER) if name in OLDER else (MIGRATE, STORIES)
    history = History(*tasks)
    stories[name][0](history)
    assert history.state.status is stories[name][1]
    return history


def golden(name: str) -> list[bytes]:
    return (GOLDEN / f"run_{name}.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("name", STORIES)
def test_a_history_is_written_as_ever(name: str) -> None:
    assert [msgspec.json.encode(event) for event in told(name).events] == golden(name)


@pytest.mark.parametrize("name", [*OLDER, *STORIES])
def test_a_history_is_read_as_ever_and_leads_to_the_same_events(name: str) -> None:
    history = told(name)
    events = [decoder.decode(line) for line in golden(name)]
    assert events == history.events
    read_back = fold(events)
    assert read_back is not None
    assert to_json(read_back) == to_json(history.state)


if __name__ == "__main__":
    for story in STORIES:
        lines = [msgspec.json.encode(event) + b"\n" for event in told(story).events]
        (GOLDEN / f"run_{story}.jsonl").write_bytes(b"".join(lines))
