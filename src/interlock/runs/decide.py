"""`decide`: a command makes events. The scheduler, as a pure function."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from interlock.core.errors import Conflict, Invalid
from interlock.runs import model as m
from interlock.runs.evolve import evolve
from interlock.runs.graph import TaskSpec

C = TypeVar("C", bound=m.Command)
ROLLBACK = "rollback"
"""Branches whose name begins so bring things back; a failed run in which one ran to its end has been rolled back."""


def decide(state: m.RunState | None, command: m.RunCommand) -> list[m.RunEvent]:
    """The events that ``command`` leads to, each already folded into ``state`` (which is changed in place).

    An empty list means that the command comes too late or twice and changes nothing. Raises Conflict or Invalid where the
    caller must know.
    """
    if isinstance(command, m.Submit):
        command.run.graph.check()
        return [m.RunSubmitted(at=command.at, run=command.run)]
    if state is None:
        raise Invalid("no_run", "the first command of a run is its submission")
    decision = _Decision(state, command.at)
    if state.status not in m.RUN_ENDED:
        _rules[type(command)](decision, command)
        decision.settle()
    return decision.events


class _Decision:
    """The events decided so far, and the state with them folded in."""

    def __init__(self, state: m.RunState, at: str) -> None:
        self.state = state
        self.at = at
        self.events: list[m.RunEvent] = []
        self.specs = {spec.id: spec for spec in state.run.graph}

    def emit(self, event: m.RunEvent) -> None:
        self.events.append(event)
        evolve(self.state, event)

    def current(self, task: str, attempt: int) -> bool:
        """Whether a message of this attempt still counts: a late one, of an attempt given up long ago, does not."""
        found = self.state.tasks[task]
        return found.status is m.TaskStatus.RUNNING and found.attempt == attempt

    # --- what follows from the state, whatever the command was ---

    def settle(self) -> None:
        """Skip what can no longer run, start what can while there are slots, finish when nothing is left."""
        if self.state.status is not m.RunStatus.RUNNING:
            return
        while self._settle_once():
            pass
        self._start_ready()
        if all(task.status in m.TASK_ENDED for task in self.state.tasks.values()):
            status, error = _outcome(self.state, self.specs)
            self.emit(m.RunFinished(at=self.at, status=status, error=error))

    def _settle_once(self) -> bool:
        changed = False
        for spec in self._pending():
            verdict = _readiness(self.state, spec)
            if verdict == "never":
                self.emit(m.TaskSkipped(at=self.at, task=spec.id, reason=_why_skipped(self.state, spec)))
                changed = True
            elif self.state.cancel_requested and spec.when == "succeeded" and not is_cleanup(self.state, spec, self.specs):
                self.emit(m.TaskCancelled(at=self.at, task=spec.id, reason=self.state.cancel_requested))
                changed = True
        return changed

    def _start_ready(self) -> None:
        running = sum(task.status is m.TaskStatus.RUNNING for task in self.state.tasks.values())
        for spec in self._pending():
            if running >= self.state.run.limits.max_concurrent_tasks:
                return
            if _readiness(self.state, spec) == "ready":
                self.emit(m.TaskStarted(at=self.at, task=spec.id, attempt=self.state.tasks[spec.id].attempt + 1))
                running += 1

    def _pending(self) -> Iterator[TaskSpec]:
        for spec in self.state.run.graph:
            if self.state.tasks[spec.id].status is m.TaskStatus.PENDING:
                yield spec


def _readiness(state: m.RunState, spec: TaskSpec) -> str:
    """``ready``, ``never`` or ``wait``."""
    needs = [state.tasks[need] for need in spec.needs]
    if spec.when == "succeeded":
        if all(need.status is m.TaskStatus.COMPLETED for need in needs):
            return "ready"
        ended_badly = any(need.status in m.TASK_ENDED and need.status is not m.TaskStatus.COMPLETED for need in needs)
        return "never" if ended_badly else "wait"
    if not all(need.status in m.TASK_ENDED for need in needs):
        return "wait"
    return "ready" if any(_went_wrong(need) for need in needs) else "never"


def _went_wrong(task: m.TaskState) -> bool:
    return task.status is m.TaskStatus.FAILED or (task.status is m.TaskStatus.CANCELLED and task.began)


def is_cleanup(state: m.RunState, spec: TaskSpec, specs: dict[str, TaskSpec]) -> bool:
    """Whether the task belongs to a branch that reacts to a failure: such a branch is walked to its end, cancelled or not."""
    dead = {m.TaskStatus.SKIPPED, m.TaskStatus.CANCELLED}
    return bool(spec.branch) and any(
        other.branch == spec.branch and other.when == "failed" and state.tasks[other.id].status not in dead
        for other in specs.values()
    )


def _why_skipped(state: m.RunState, spec: TaskSpec) -> str:
    if spec.when == "failed":
        return "nothing went wrong before it"
    blocker = next(need for need in spec.needs if state.tasks[need].status in m.TASK_ENDED - {m.TaskStatus.COMPLETED})
    return f"{blocker} {state.tasks[blocker].status}"


def _outcome(state: m.RunState, specs: dict[str, TaskSpec]) -> tuple[m.RunStatus, m.ErrorData]:
    failed = [task for task in state.run.graph if state.tasks[task.id].status is m.TaskStatus.FAILED]
    branches = {spec.branch for spec in specs.values() if spec.branch.startswith(ROLLBACK)}
    rolled_back = any(_ran_to_its_end(state, specs, branch) for branch in branches)
    error = dict(state.tasks[failed[0].id].error, task=failed[0].id) if failed else {}
    if state.cancel_requested:
        return m.RunStatus.CANCELLED, error
    if not failed:
        return m.RunStatus.COMPLETED, {}
    broken_branch = any(spec.branch.startswith(ROLLBACK) for spec in failed)
    return (m.RunStatus.ROLLED_BACK if rolled_back and not broken_branch else m.RunStatus.FAILED), error


def _ran_to_its_end(state: m.RunState, specs: dict[str, TaskSpec], branch: str) -> bool:
    states = [state.tasks[spec.id] for spec in specs.values() if spec.branch == branch]
    return any(task.began for task in states) and all(task.status is m.TaskStatus.COMPLETED for task in states)


# --- one rule a command ------------------------------------------------------------------------------------------------------

_rules: dict[type[m.Command], Callable[[_Decision, Any], None]] = {}


def _rule(kind: type[C]) -> Callable[[Callable[[_Decision, C], None]], Callable[[_Decision, C], None]]:
    def register(rule: Callable[[_Decision, C], None]) -> Callable[[_Decision, C], None]:
        _rules[kind] = rule
        return rule

    return register


@_rule(m.Start)
def _start(decision: _Decision, command: m.Start) -> None:
    if decision.state.status is m.RunStatus.PENDING:
        decision.emit(m.RunStarted(at=command.at))


@_rule(m.Adopt)
def _adopt(decision: _Decision, command: m.Adopt) -> None:
    state = decision.state
    decision.emit(m.RunAdopted(at=command.at, owner=command.owner, epoch=command.epoch))
    if state.adoptions > state.run.limits.max_adoptions:
        error = {"kind": "limit", "code": "adopted_too_often", "message": f"adopted {state.adoptions} times without an end"}
        decision.emit(m.RunFinished(at=command.at, status=m.RunStatus.FAILED, error=error))
        return
    for spec in state.run.graph:
        task = state.tasks[spec.id]
        if task.status is m.TaskStatus.RUNNING:
            decision.emit(m.TaskStarted(at=command.at, task=spec.id, attempt=task.attempt + 1))


@_rule(m.RequestCancel)
def _request_cancel(decision: _Decision, command: m.RequestCancel) -> None:
    state = decision.state
    if state.cancel_requested:
        return
    decision.emit(m.RunCancelRequested(at=command.at, by=command.by, reason=command.reason))
    if state.status is m.RunStatus.PENDING:
        decision.emit(m.RunFinished(at=command.at, status=m.RunStatus.CANCELLED))
        return
    for spec in state.run.graph:
        # A task that waits has no body to stop.
        if state.tasks[spec.id].status is m.TaskStatus.WAITING and not is_cleanup(state, spec, decision.specs):
            decision.emit(m.TaskCancelled(at=command.at, task=spec.id, reason=command.reason))


@_rule(m.TimeOut)
def _time_out(decision: _Decision, command: m.TimeOut) -> None:
    limit = decision.state.run.limits.timeout_s
    _request_cancel(decision, m.RequestCancel(at=command.at, by="system:engine", reason=f"the run took over {limit:g} s"))


@_rule(m.Complete)
def _complete(decision: _Decision, command: m.Complete) -> None:
    if decision.current(command.task, command.attempt):
        decision.emit(m.TaskCompleted(at=command.at, task=command.task, output=command.output))


@_rule(m.Fail)
def _fail(decision: _Decision, command: m.Fail) -> None:
    if not decision.current(command.task, command.attempt):
        return
    retry = decision.specs[command.task].retry
    failures = decision.state.tasks[command.task].failures
    if command.is_transient and failures + 1 < retry.max_attempts and not decision.state.cancel_requested:
        delay_s = command.delay_s if command.delay_s is not None else retry_delay_s(decision.specs[command.task], failures)
        delay_s *= 1 + retry.jitter * command.jitter
        decision.emit(
            m.TaskRetryScheduled(
                at=command.at, task=command.task, error=command.error, delay_s=delay_s, retry_at=command.retry_at
            )
        )
    else:
        decision.emit(m.TaskFailed(at=command.at, task=command.task, error=command.error))


def retry_delay_s(spec: TaskSpec, failures: int) -> float:
    """Seconds to wait after ``failures`` earlier ones, without jitter: exponential backoff with a ceiling."""
    return min(spec.retry.max_delay_s, spec.retry.delay_s * spec.retry.factor**failures)


@_rule(m.RetryDue)
def _retry_due(decision: _Decision, command: m.RetryDue) -> None:
    task = decision.state.tasks[command.task]
    if task.status is m.TaskStatus.WAITING and not task.question:
        decision.emit(m.TaskStarted(at=command.at, task=command.task, attempt=task.attempt + 1))


@_rule(m.Stopped)
def _stopped(decision: _Decision, command: m.Stopped) -> None:
    if decision.current(command.task, command.attempt):
        decision.emit(m.TaskCancelled(at=command.at, task=command.task, reason=command.reason))


@_rule(m.Park)
def _park(decision: _Decision, command: m.Park) -> None:
    if decision.current(command.task, command.attempt):
        fields = {name: getattr(command, name) for name in ("at", "task", "question", "options", "evidence")}
        decision.emit(m.TaskParked(**fields))


@_rule(m.Answer)
def _answer(decision: _Decision, command: m.Answer) -> None:
    task = decision.state.tasks.get(command.task)
    if task is None or not task.question:
        raise Conflict("not_waiting", f"{command.task} is not waiting for an answer", where=decision.state.run.run_id)
    if command.answer not in task.question["options"]:
        choices = ", ".join(task.question["options"])
        raise Invalid("unknown_option", f"{command.answer!r} is not an answer here", hint=f"choose one of: {choices}")
    decision.emit(m.TaskAnswered(at=command.at, task=command.task, answer=command.answer, by=command.by))
    decision.emit(m.TaskStarted(at=command.at, task=command.task, attempt=task.attempt + 1))


@_rule(m.Note)
def _note(decision: _Decision, command: m.Note) -> None:
    for event in command.events:
        decision.emit(event)


def to_json(state: m.RunState) -> bytes:
    """The state as JSON: equal states give equal bytes, so that a replay can be compared."""
    return msgspec.json.encode(state, order="sorted")
