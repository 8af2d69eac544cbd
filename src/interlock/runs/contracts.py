"""Events of runs that concern others; the subject is ``run:<id>``. They are read from the journal, never written twice."""

from typing import Any

from interlock.events.model import EventData


class RunBegan(EventData, frozen=True, kw_only=True):
    event_type = "run.started"
    run_id: str
    plan_id: str
    role: str


class RunHeld(EventData, frozen=True, kw_only=True):
    """No further task of the run starts until it is resumed."""

    event_type = "run.paused"
    run_id: str
    plan_id: str
    role: str
    by: str
    reason: str


class RunReleased(EventData, frozen=True, kw_only=True):
    """The pause is over."""

    event_type = "run.resumed"
    run_id: str
    plan_id: str
    role: str
    by: str
    reason: str


class RunEnded(EventData, frozen=True, kw_only=True):
    """``status`` is completed, failed, cancelled or rolled_back."""

    event_type = "run.finished"
    run_id: str
    plan_id: str
    role: str
    status: str
    error: dict[str, Any]


class TaskAsks(EventData, frozen=True, kw_only=True):
    """A task waits for a person; ``asked`` is the number of the event in the run's journal."""

    event_type = "run.task_asks"
    run_id: str
    plan_id: str
    role: str
    task: str
    question: str
    options: list[str]
    evidence: dict[str, Any]
    asked: int
