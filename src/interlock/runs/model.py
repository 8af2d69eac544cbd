"""A run as values: its state, the events that make the state, and the commands that ask for events.

The state is a fold of the events. `decide` (decide.py) turns a command into events, `evolve` (evolve.py) turns an event into
the next state; neither reads a clock, makes an id or does I/O, so a journal replays to the same state, byte for byte.
"""

from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from interlock.runs.graph import TaskGraph
from interlock.runs.order import upward_ranks
from interlock.tools.grants import Grant


class RunStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ROLLED_BACK = "rolled_back"


class TaskStatus(StrEnum):
    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    VALIDATING = "validating"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


RUN_ENDED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.ROLLED_BACK})
TASK_ENDED = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SKIPPED, TaskStatus.CANCELLED})

ErrorData = dict[str, Any]
"""An `InterlockError` as JSON data."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one run."""

    max_concurrent_tasks: int = 8
    timeout_s: float = 14400.0
    max_adoptions: int = 1000
    """A run that takes the control plane down each time it is adopted must not do so for ever."""


class Run(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a run is from its first event on: which plan (or part of it, ``role``) it executes, for whom, how far."""

    run_id: str
    plan_id: str
    role: str
    title: str
    requested_by: str
    correlation_id: str
    graph: TaskGraph
    grants: tuple[Grant, ...]
    """Minted from the approved plan; the only source of permission."""
    plan_hash: str = ""
    limits: Limits = Limits()
    estimates: dict[str, float] = {}
    """Seconds that tasks are likely to take, by id, as far as known. Beside the graph, not in it: what is measured must not
    make an approved plan another one."""

    @cached_property
    def ranks(self) -> dict[str, float]:
        """For each task how long the longest path behind it is likely to take, itself counted; see order.py."""
        return upward_ranks(self.graph, self.estimates)


# --- state ---------------------------------------------------------------------------------------------------------------


class LedgerEntry(msgspec.Struct, kw_only=True):
    """An effect: its intent, and its receipt once there is one. ``outcome`` is ``open``, ``done`` or ``failed``.

    ``failures`` is how often the task had failed when the intent was recorded, ``answer`` what a person said when it could not
    be told whether the effect happened.
    """

    task: str
    name: str
    tool: str
    key: str
    arguments: dict[str, Any]
    failures: int = 0
    answer: str = ""
    outcome: str = "open"
    output: dict[str, Any] = {}
    error: ErrorData = {}


class TaskState(msgspec.Struct, kw_only=True):
    """What is known of one task."""

    status: TaskStatus = TaskStatus.PENDING
    attempt: int = 0
    failures: int = 0
    began: bool = False
    output: dict[str, Any] = {}
    error: ErrorData = {}
    reason: str = ""
    retry_at: str = ""
    """When the next attempt is due; empty unless the task waits for that."""
    retry_delay_s: float = 0.0
    question: dict[str, Any] = {}
    """What the task asked last and nobody has answered: ``question``, ``options``, ``evidence``, and in ``asked`` the number of
    the event that asked it."""
    answer: str = ""
    started_at: str = ""
    ended_at: str = ""
    note: str = ""
    since: str = ""
    """When it came into the state in which it is, as long as it has not ended; empty for one that was never started."""
    items: int | None = None
    """Of a task for each item of a list: how many there are, once that is known."""
    left_out: bool = False
    """Skipped by choice: by its condition, or because what it needs was; nothing went wrong before it."""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A task whose effect was to be taken back and is still there, or may be; ``reason`` says why, in words."""

    task: str
    reason: str


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the tasks that change the world, in a run that did not complete; each in reading order.

    ``stands`` was done and is meant to stay, ``undone`` was taken back, ``left`` could not be, ``never_begun`` did nothing.
    """

    stands: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()
    never_begun: tuple[str, ...] = ()


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Who paused a run, why, and since when no further task starts."""

    by: str
    reason: str
    at: str


class RunState(msgspec.Struct, kw_only=True):
    """What is known of a run. `evolve` changes it in place; nobody else does."""

    run: Run
    status: RunStatus = RunStatus.PENDING
    tasks: dict[str, TaskState] = {}
    ledger: dict[str, LedgerEntry] = {}
    seq: int = 0
    adoptions: int = 0
    cancel_requested: str = ""
    pause: Pause | None = None
    """While it is paused."""
    error: ErrorData = {}
    summary: RunSummary | None = None
    """Of a run that ended without completing, where its graph says what undoes what."""
    submitted_at: str = ""
    started_at: str = ""
    ended_at: str = ""
    worked_s: float = 0.0
    """How long it had worked at ``works_since``: the time in which it waited for nobody and a control plane was there."""
    works_since: str = ""
    """Since when it works; empty before it has started, without a slot and while a person is asked."""
    last_at: str = ""
    """When the last event came."""

    @property
    def asks(self) -> bool:
        """Whether a person is asked something now."""
        return any(task.question for task in self.tasks.values())

    @property
    def works(self) -> bool:
        """Whether its time counts now: it has a slot and nobody is asked."""
        return self.status is RunStatus.RUNNING and not self.asks


# --- events --------------------------------------------------------------------------------------------------------------


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True):
    """The base: ``at`` is wall time for people; the order is the sequence number, never the time."""

    at: str


class RunSubmitted(Event, frozen=True, kw_only=True):
    run: Run


class RunStarted(Event, frozen=True, kw_only=True):
    pass


class RunAdopted(Event, frozen=True, kw_only=True):
    owner: str
    epoch: int


class RunPaused(Event, frozen=True, kw_only=True):
    """No further task starts, and the slot of the run is free for another; what is under way goes on to its end."""

    by: str
    reason: str


class RunResumed(Event, frozen=True, kw_only=True):
    """The pause is over; the run goes on as soon as there is a slot for it."""

    by: str
    reason: str


class RunContinued(Event, frozen=True, kw_only=True):
    """It has a slot again, or is cancelled and waits for none."""


class RunCancelRequested(Event, frozen=True, kw_only=True):
    by: str
    reason: str


class RunFinished(Event, frozen=True, kw_only=True):
    status: RunStatus
    error: ErrorData = {}
    summary: RunSummary | None = None


class TaskStarted(Event, frozen=True, kw_only=True):
    task: str
    attempt: int


class TaskExpanded(Event, frozen=True, kw_only=True):
    """The list of a task for each item is known: there are instances now, ``task[0]`` up to ``items`` of them."""

    task: str
    items: int


class TaskReported(Event, frozen=True, kw_only=True):
    """Progress worth keeping: a line for people and data for programs."""

    task: str
    message: str
    data: dict[str, Any] = {}


class TaskCompleted(Event, frozen=True, kw_only=True):
    task: str
    output: dict[str, Any]


class TaskRetryScheduled(Event, frozen=True, kw_only=True):
    task: str
    error: ErrorData
    delay_s: float
    retry_at: str


class TaskReady(Event, frozen=True, kw_only=True):
    """The wait before the next attempt is over, or a pause outlived the attempt: it starts as soon as there is a slot."""

    task: str


class TaskFailed(Event, frozen=True, kw_only=True):
    task: str
    error: ErrorData


class TaskSkipped(Event, frozen=True, kw_only=True):
    task: str
    reason: str


class TaskCancelled(Event, frozen=True, kw_only=True):
    task: str
    reason: str


class TaskParked(Event, frozen=True, kw_only=True):
    """The task waits for a person. Where an effect is in doubt, ``evidence`` holds its ``key`` in the ledger."""

    task: str
    question: str
    options: tuple[str, ...]
    evidence: dict[str, Any]


class TaskAnswered(Event, frozen=True, kw_only=True):
    task: str
    answer: str
    by: str


class IntentRecorded(Event, frozen=True, kw_only=True):
    """An effect is about to happen; durable before it does."""

    task: str
    name: str
    tool: str
    effect: str
    keying: str
    key: str
    arguments: dict[str, Any]
    arguments_digest: str


class ReceiptRecorded(Event, frozen=True, kw_only=True):
    """What became of an effect. ``by`` is ``act``, ``probe`` (found done after a crash) or a person."""

    task: str
    key: str
    outcome: str
    by: str
    output: dict[str, Any] = {}
    error: ErrorData = {}


class CallRefused(Event, frozen=True, kw_only=True):
    """A task asked for what its grant does not give."""

    task: str
    tool: str
    arguments: dict[str, Any]
    error: ErrorData


RunEvent = (
    RunSubmitted
    | RunStarted
    | RunAdopted
    | RunPaused
    | RunResumed
    | RunContinued
    | RunCancelRequested
    | RunFinished
    | TaskStarted
    | TaskExpanded
    | TaskReported
    | TaskCompleted
    | TaskRetryScheduled
    | TaskReady
    | TaskFailed
    | TaskSkipped
    | TaskCancelled
    | TaskParked
    | TaskAnswered
    | IntentRecorded
    | ReceiptRecorded
    | CallRefused
)


# --- commands ------------------------------------------------------------------------------------------------------------


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """The base: ``at`` is the wall time that its events will carry."""

    at: str


class Submit(Command, frozen=True, kw_only=True):
    run: Run


class Start(Command, frozen=True, kw_only=True):
    """A slot for the run is free."""


class Adopt(Command, frozen=True, kw_only=True):
    """Take over a run after a crash: what was under way is attempted again."""

    owner: str
    epoch: int


class PauseRun(Command, frozen=True, kw_only=True):
    by: str
    reason: str


class ResumeRun(Command, frozen=True, kw_only=True):
    by: str
    reason: str


class RequestCancel(Command, frozen=True, kw_only=True):
    by: str
    reason: str


class TimeOut(Command, frozen=True, kw_only=True):
    """The run's time is over."""


class Complete(Command, frozen=True, kw_only=True):
    task: str
    attempt: int
    output: dict[str, Any]


class Fail(Command, frozen=True, kw_only=True):
    """``jitter`` is a number in [0, 1) drawn by the caller; ``delay_s`` overrides the retry policy's wait."""

    task: str
    attempt: int
    error: ErrorData
    is_transient: bool
    jitter: float = 0.0
    delay_s: float | None = None


class RetryDue(Command, frozen=True, kw_only=True):
    task: str


class Stopped(Command, frozen=True, kw_only=True):
    """The body of a task has ended because its run is being cancelled."""

    task: str
    attempt: int
    reason: str


class Park(Command, frozen=True, kw_only=True):
    task: str
    attempt: int
    question: str
    options: tuple[str, ...]
    evidence: dict[str, Any]


class Answer(Command, frozen=True, kw_only=True):
    """``asked`` says which question is answered, by the number of its event; 0 for the one that is open."""

    task: str
    answer: str
    by: str
    asked: int = 0


class Note(Command, frozen=True, kw_only=True):
    """Write these events as they are: reports, intents, receipts, refusals of a running attempt, and of no other."""

    task: str
    attempt: int
    events: tuple[RunEvent, ...]


RunCommand = (
    Submit
    | Start
    | Adopt
    | PauseRun
    | ResumeRun
    | RequestCancel
    | TimeOut
    | Complete
    | Fail
    | RetryDue
    | Stopped
    | Park
    | Answer
    | Note
)
