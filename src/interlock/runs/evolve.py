"""`evolve`: an event makes the next state. One function an event, registered by its type."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from interlock.core.clock import from_text
from interlock.runs import model as m
from interlock.runs.fanning import gathered, instance_id

E = TypeVar("E", bound=m.Event)
_steps: dict[type[m.Event], Callable[[m.RunState, Any], None]] = {}


def _on(kind: type[E]) -> Callable[[Callable[[m.RunState, E], None]], Callable[[m.RunState, E], None]]:
    def register(step: Callable[[m.RunState, E], None]) -> Callable[[m.RunState, E], None]:
        _steps[kind] = step
        return step

    return register


def evolve(state: m.RunState | None, event: m.RunEvent) -> m.RunState:
    """The state after ``event``. ``state`` is changed in place and returned; it is None before the first event."""
    if isinstance(event, m.RunSubmitted):
        tasks = {task.id: m.TaskState() for task in event.run.graph}
        state = m.RunState(run=event.run, tasks=tasks, submitted_at=event.at)
    state = cast("m.RunState", state)
    if step := _steps.get(type(event)):
        step(state, event)
    _keep_time(state, event)
    state.seq += 1
    return state


_CHANGES_TIME = (
    m.RunStarted,
    m.RunAdopted,
    m.RunPaused,
    m.RunContinued,
    m.TaskParked,
    m.TaskAnswered,
)
"""Events after which the run may count its time where it did not, or the other way round."""


def _keep_time(state: m.RunState, event: m.RunEvent) -> None:
    if isinstance(event, _CHANGES_TIME):
        # Of the time before an adoption nobody knows when it was that the control plane died.
        until = state.last_at if isinstance(event, m.RunAdopted) else event.at
        state.worked_s = worked_s(state, until)
        state.works_since = event.at if state.works else ""
    state.last_at = event.at


def worked_s(state: m.RunState, until: str) -> float:
    """How long the run has worked. A clock that was set back takes nothing away."""
    if not state.works_since:
        return state.worked_s
    return state.worked_s + max(0.0, (from_text(until) - from_text(state.works_since)).total_seconds())


def fold(events: Iterable[m.RunEvent]) -> m.RunState | None:
    """The state that a journal stands for; None for an empty one."""
    state: m.RunState | None = None
    for event in events:
        state = evolve(state, event)
    return state


@_on(m.RunStarted)
def _run_started(state: m.RunState, event: m.RunStarted) -> None:
    state.status = m.RunStatus.RUNNING
    state.started_at = event.at


@_on(m.RunAdopted)
def _run_adopted(state: m.RunState, _event: m.RunAdopted) -> None:
    state.adoptions += 1


@_on(m.RunPaused)
def _run_paused(state: m.RunState, event: m.RunPaused) -> None:
    state.status = m.RunStatus.PAUSED
    state.pause = m.Pause(by=event.by, reason=event.reason, at=event.at)


@_on(m.RunResumed)
def _run_resumed(state: m.RunState, _event: m.RunResumed) -> None:
    state.status, state.pause = m.RunStatus.PENDING, None


@_on(m.RunContinued)
def _run_continued(state: m.RunState, _event: m.RunContinued) -> None:
    state.status, state.pause = m.RunStatus.RUNNING, None


@_on(m.RunCancelRequested)
def _run_cancel_requested(state: m.RunState, event: m.RunCancelRequested) -> None:
    state.cancel_requested = event.reason or "cancelled"


@_on(m.RunFinished)
def _run_finished(state: m.RunState, event: m.RunFinished) -> None:
    state.status = event.status
    state.error = event.error
    state.summary = event.summary
    state.ended_at = event.at
    state.pause = None


@_on(m.TaskStarted)
def _task_started(state: m.RunState, event: m.TaskStarted) -> None:
    task = state.tasks[event.task]
    task.status = m.TaskStatus.RUNNING
    task.attempt = event.attempt
    task.began = True
    task.started_at = task.started_at or event.at
    task.since = event.at
    if event.task not in state.run.graph.specs:
        state.tasks[state.run.graph.base(event.task)].began = True


@_on(m.TaskExpanded)
def _task_expanded(state: m.RunState, event: m.TaskExpanded) -> None:
    task = state.tasks[event.task]
    task.status, task.items, task.started_at = m.TaskStatus.RUNNING, event.items, event.at
    task.since = event.at
    state.tasks.update((instance_id(event.task, number), m.TaskState()) for number in range(event.items))


def _gather(state: m.RunState, task_id: str) -> None:
    """Of a task for each item: what it gives is what its instances gave."""
    task = state.tasks[task_id]
    if task.items is not None:
        task.output = gathered(state, task_id)


@_on(m.TaskReported)
def _task_reported(state: m.RunState, event: m.TaskReported) -> None:
    state.tasks[event.task].note = event.message


@_on(m.TaskCompleted)
def _task_completed(state: m.RunState, event: m.TaskCompleted) -> None:
    task = state.tasks[event.task]
    task.status, task.output, task.ended_at, task.error = m.TaskStatus.COMPLETED, event.output, event.at, {}
    _gather(state, event.task)


@_on(m.TaskRetryScheduled)
def _task_retry_scheduled(state: m.RunState, event: m.TaskRetryScheduled) -> None:
    task = state.tasks[event.task]
    task.status, task.error, task.since = m.TaskStatus.WAITING, event.error, event.at
    task.retry_at, task.retry_delay_s = event.retry_at, event.delay_s
    task.failures += 1


@_on(m.TaskReady)
def _task_ready(state: m.RunState, event: m.TaskReady) -> None:
    task = state.tasks[event.task]
    task.status, task.retry_at, task.since = m.TaskStatus.PENDING, "", event.at


@_on(m.TaskFailed)
def _task_failed(state: m.RunState, event: m.TaskFailed) -> None:
    task = state.tasks[event.task]
    task.status, task.error, task.ended_at = m.TaskStatus.FAILED, event.error, event.at
    task.failures += 1
    _gather(state, event.task)


@_on(m.TaskSkipped)
def _task_skipped(state: m.RunState, event: m.TaskSkipped) -> None:
    task = state.tasks[event.task]
    task.status, task.reason, task.ended_at = m.TaskStatus.SKIPPED, event.reason, event.at
    needs = state.run.graph.specs[event.task].needs if event.task in state.run.graph.specs else ()
    task.left_out = all(_is_no_hurdle(state.tasks[need]) for need in needs)


def _is_no_hurdle(need: m.TaskState) -> bool:
    return need.left_out or need.status is m.TaskStatus.COMPLETED or need.status not in m.TASK_ENDED


@_on(m.TaskCancelled)
def _task_cancelled(state: m.RunState, event: m.TaskCancelled) -> None:
    task = state.tasks[event.task]
    task.status, task.reason, task.ended_at, task.retry_at = m.TaskStatus.CANCELLED, event.reason, event.at, ""
    _gather(state, event.task)


@_on(m.TaskParked)
def _task_parked(state: m.RunState, event: m.TaskParked) -> None:
    task = state.tasks[event.task]
    task.status, task.since = m.TaskStatus.WAITING, event.at
    question = {"question": event.question, "options": list(event.options), "evidence": event.evidence}
    task.question = {**question, "asked": state.seq + 1}


@_on(m.TaskAnswered)
def _task_answered(state: m.RunState, event: m.TaskAnswered) -> None:
    task = state.tasks[event.task]
    # A doubt about an effect is decided in the ledger: the answer to the task's own question stays what it was.
    asker = state.ledger.get(str(task.question["evidence"].get("key", ""))) or task
    asker.answer = event.answer
    task.status, task.question, task.since = m.TaskStatus.PENDING, {}, event.at


@_on(m.IntentRecorded)
def _intent_recorded(state: m.RunState, event: m.IntentRecorded) -> None:
    # Recorded again, once a person said that it did not happen: the next doubt is asked anew.
    state.ledger[event.key] = m.LedgerEntry(
        task=event.task,
        name=event.name,
        tool=event.tool,
        key=event.key,
        arguments=event.arguments,
        failures=state.tasks[event.task].failures,
    )


@_on(m.ReceiptRecorded)
def _receipt_recorded(state: m.RunState, event: m.ReceiptRecorded) -> None:
    entry = state.ledger[event.key]
    entry.outcome, entry.output, entry.error = event.outcome, event.output, event.error
