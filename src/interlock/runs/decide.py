"""`decide`: a command makes events. The scheduler, as a pure function."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from interlock.core.clock import from_text, to_text
from interlock.core.errors import Conflict, Invalid
from interlock.runs import model as m
from interlock.runs import schemas
from interlock.runs.evolve import evolve
from interlock.runs.fanning import FanOut, expansion
from interlock.runs.graph import Retry, TaskSpec
from interlock.runs.order import ReadyTasks
from interlock.runs.outcome import end, finished
from interlock.runs.readiness import kept_out, readiness, why_skipped
from interlock.runs.undoing import Unwinding

C = TypeVar("C", bound=m.Command)


def decide(state: m.RunState | None, command: m.RunCommand) -> list[m.RunEvent]:
    """The events that ``command`` leads to, each already folded into ``state`` (which is changed in place).

    An empty list means that the command comes too late or twice and changes nothing. Raises Conflict or Invalid where the
    caller must know; the state is as it was then.
    """
    if isinstance(command, m.Submit):
        command.run.graph.check()
        return [m.RunSubmitted(at=command.at, run=command.run)]
    if state is None:
        raise Invalid("no_run", "the first command of a run is its submission")
    return Scheduler(state).decide(command)


class Scheduler:
    """`decide` for one run, over and over: nobody else may change ``state`` meanwhile.

    What it keeps beside the state is derived from it and only saves looking at the whole graph for each command: how many needs
    of a task have not ended, which tasks could start, in the order in which they do (order.py), and, once only undos are left,
    whose turn it is.
    """

    def __init__(self, state: m.RunState) -> None:
        self.state = state
        self.graph = state.run.graph
        self._at = ""
        self._events: list[m.RunEvent] = []
        self._running = sum(task.status is m.TaskStatus.RUNNING and task.items is None for task in state.tasks.values())
        self._unended = sum(state.tasks[spec.id].status not in m.TASK_ENDED for spec in self.graph)
        self._fans = {spec.id: FanOut(state, spec) for spec in self.graph if spec.each and self._is_fanned(spec)}
        """Tasks for each item whose instances are under way."""
        self._work = sum(self.state.tasks[spec.id].status not in m.TASK_ENDED for spec in self.graph if not spec.undoes)
        """How many tasks that undo nothing have not ended."""
        self._unwinding: Unwinding | None = None
        self._open_needs = {spec.id: self._count_open_needs(spec) for spec in self.graph}
        self._ready = ReadyTasks(self.graph, state.run.ranks)
        self._touched = [spec.id for spec in self.graph if not spec.undoes]

    def _count_open_needs(self, spec: TaskSpec) -> int:
        return sum(self.state.tasks[need].status not in m.TASK_ENDED for need in set(spec.needs))

    def _is_fanned(self, spec: TaskSpec) -> bool:
        task = self.state.tasks[spec.id]
        return task.items is not None and task.status not in m.TASK_ENDED

    def decide(self, command: m.RunCommand) -> list[m.RunEvent]:
        """As the function of that name, for every command but the first."""
        self._at, self._events = command.at, []
        if self.state.status not in m.RUN_ENDED or isinstance(command, m.Note):
            _rules[type(command)](self, command)
            self._settle()
        return self._events

    def emit(self, event: m.RunEvent) -> None:
        """Fold ``event`` into the state, and what follows from it into what is derived."""
        self._events.append(event)
        task_id: str | None = getattr(event, "task", None)
        if task_id is None:
            evolve(self.state, event)
            return
        task = self.state.tasks[task_id]
        before = task.status
        evolve(self.state, event)
        if task.items is None:
            # A task for each item takes no slot: its instances do.
            self._running += (task.status is m.TaskStatus.RUNNING) - (before is m.TaskStatus.RUNNING)
        if task_id not in self.graph.specs:
            if fan := self._fans.get(self.graph.base(task_id)):
                fan.follow(task_id, before, task.status)
                self._look_after(fan)
        elif task.status in m.TASK_ENDED:
            self._unended -= 1
            self._fans.pop(task_id, None)
            self._follow_up(self.graph.specs[task_id], is_good=task.status is m.TaskStatus.COMPLETED)
        elif task.status is m.TaskStatus.PENDING:
            self._ready.push(task_id)

    def _follow_up(self, spec: TaskSpec, *, is_good: bool) -> None:
        if spec.undoes:
            if self._unwinding is not None:
                self._unwinding.release(spec.undoes)
            return
        self._work -= 1
        for successor in self.graph.successors[spec.id]:
            self._open_needs[successor] -= 1
            # One that waits for a failure waits for all of them; to look at it for each would take the square of that.
            if self._open_needs[successor] == 0 or (not is_good and self.graph.specs[successor].when != "failed"):
                self._touched.append(successor)

    def is_current(self, task: str, attempt: int) -> bool:
        """Whether a message of this attempt still counts: a late one, of an attempt given up long ago, does not."""
        found = self.state.tasks[task]
        return found.status is m.TaskStatus.RUNNING and found.attempt == attempt and found.items is None

    def cancel_task(self, task: str, reason: str) -> None:
        self.emit(m.TaskCancelled(at=self._at, task=task, reason=reason))

    def go_on(self) -> None:
        """End a pause, or the wait for a slot after one, as a cancellation does: what could start begins, to be cancelled.

        A way back is called for by what had begun. Between two steps nothing has; without a pause there is no such moment.
        """
        if self.state.started_at and self.state.status is not m.RunStatus.RUNNING:
            self.emit(m.RunContinued(at=self._at))
            self._settle()

    # --- what follows from the state, whatever the command was ---

    def _settle(self) -> None:
        """Skip what can no longer run, start what can while there are slots, finish when nothing is left: also of a run that is
        paused, since a pause holds up nothing but starts."""
        if not self.state.started_at or self.state.status in m.RUN_ENDED:
            return
        while self._touched:
            self._sort_out(self.graph.specs[self._touched.pop()])
        if not self._work and self.graph.undos:
            self._unwind()
        slots = self.state.run.limits.max_concurrent_tasks if self.state.status is m.RunStatus.RUNNING else 0
        while self._ready and self._running < slots:
            task_id = self._ready.pop().id
            if fan := self._fans.get(task_id):
                task_id = fan.take() or task_id
            # What was cancelled while it stood in the heap is still in there.
            if self.state.tasks[task_id].status is m.TaskStatus.PENDING:
                self.emit(m.TaskStarted(at=self._at, task=task_id, attempt=self.state.tasks[task_id].attempt + 1))
        if not self._unended:
            self.emit(finished(self.state, self._at))

    def _unwind(self) -> None:
        """Let the undos begin whose turn has come, and skip those that have nothing to take back or must not."""
        if self._unwinding is None:
            self._unwinding = Unwinding(self.state)
        for undo in self._unwinding.due():
            if self.state.tasks[undo.id].status is not m.TaskStatus.PENDING:
                continue
            if why_not := self._unwinding.why_not(undo):
                self.emit(m.TaskSkipped(at=self._at, task=undo.id, reason=why_not))
            else:
                self._ready.push(undo.id)

    def _sort_out(self, spec: TaskSpec) -> None:
        if fan := self._fans.get(spec.id):
            self._look_after(fan)
        if self.state.tasks[spec.id].status is not m.TaskStatus.PENDING:
            return
        match readiness(self.state, spec):
            case "ready" if spec.condition and (ending := kept_out(self.state, spec, self._at)):
                self.emit(ending)
            case "ready" if spec.each:
                self.emit(expansion(self.state, spec, self._at))
                if self._is_fanned(spec):
                    fan = self._fans[spec.id] = FanOut(self.state, spec)
                    self._look_after(fan)
            case "ready":
                self._ready.push(spec.id)
            case "never":
                self.emit(m.TaskSkipped(at=self._at, task=spec.id, reason=why_skipped(self.state, spec)))
            case _:
                pass

    def _look_after(self, fan: FanOut) -> None:
        """End a task for each item whose instances have ended; skip what is left once too many failed; let the next begin."""
        if fan.is_over:
            self.emit(fan.end(self._at))
        elif fan.is_broken and not fan.is_stopping:
            fan.is_stopping = True
            for name in fan.not_begun():
                self.emit(m.TaskSkipped(at=self._at, task=name, reason=f"too many items of {fan.spec.id} failed"))
        if fan.has_room and not fan.is_queued:
            fan.is_queued = True
            self._ready.push(fan.spec.id)


# --- one rule a command ------------------------------------------------------------------------------------------------------

_rules: dict[type[m.Command], Callable[[Scheduler, Any], None]] = {}


def _rule(kind: type[C]) -> Callable[[Callable[[Scheduler, C], None]], Callable[[Scheduler, C], None]]:
    def register(rule: Callable[[Scheduler, C], None]) -> Callable[[Scheduler, C], None]:
        _rules[kind] = rule
        return rule

    return register


@_rule(m.Start)
def _start(scheduler: Scheduler, command: m.Start) -> None:
    if scheduler.state.status is m.RunStatus.PENDING:
        scheduler.emit(m.RunContinued(at=command.at) if scheduler.state.started_at else m.RunStarted(at=command.at))


@_rule(m.Adopt)
def _adopt(scheduler: Scheduler, command: m.Adopt) -> None:
    state = scheduler.state
    scheduler.emit(m.RunAdopted(at=command.at, owner=command.owner, epoch=command.epoch))
    if state.adoptions > state.run.limits.max_adoptions:
        error = {"kind": "limit", "code": "adopted_too_often", "message": f"adopted {state.adoptions} times without an end"}
        _end_at_once(scheduler, m.RunFinished(at=command.at, status=m.RunStatus.FAILED, error=error), error["message"])
        return
    # Where no task may start, only one whose effect may have happened is begun again: it has to be looked at while that can
    # still be told. What is not in doubt waits with all else.
    in_doubt = {entry.task for entry in state.ledger.values() if entry.outcome == "open"}
    for task_id, task in state.tasks.items():
        if task.status is m.TaskStatus.RUNNING and task.items is None:
            if state.status is m.RunStatus.RUNNING or task_id in in_doubt:
                scheduler.emit(m.TaskStarted(at=command.at, task=task_id, attempt=task.attempt + 1))
            else:
                scheduler.emit(m.TaskReady(at=command.at, task=task_id))


@_rule(m.PauseRun)
def _pause(scheduler: Scheduler, command: m.PauseRun) -> None:
    state = scheduler.state
    if state.cancel_requested:
        message = f"{state.run.run_id} is being cancelled: nothing holds up what it brings back"
        raise Conflict("run_is_ending", message, where=state.run.run_id)
    if state.status is not m.RunStatus.PAUSED:
        scheduler.emit(m.RunPaused(at=command.at, by=command.by, reason=command.reason))


@_rule(m.ResumeRun)
def _resume(scheduler: Scheduler, command: m.ResumeRun) -> None:
    if scheduler.state.status is m.RunStatus.PAUSED:
        scheduler.emit(m.RunResumed(at=command.at, by=command.by, reason=command.reason))


@_rule(m.RequestCancel)
def _request_cancel(scheduler: Scheduler, command: m.RequestCancel) -> None:
    state = scheduler.state
    if state.cancel_requested:
        return
    scheduler.go_on()
    scheduler.emit(m.RunCancelRequested(at=command.at, by=command.by, reason=command.reason))
    if not state.started_at:
        _end_at_once(scheduler, m.RunFinished(at=command.at, status=m.RunStatus.CANCELLED), state.cancel_requested)
        return
    for task_id, task in state.tasks.items():
        # Bodies are stopped by the driver, which tells when they have ended; nothing else has one.
        if task.status in {m.TaskStatus.PENDING, m.TaskStatus.WAITING} and not scheduler.graph.cleans_up(task_id):
            scheduler.cancel_task(task_id, state.cancel_requested)


def _end_at_once(scheduler: Scheduler, event: m.RunFinished, reason: str) -> None:
    for task_id, task in scheduler.state.tasks.items():
        if task.status not in m.TASK_ENDED:
            scheduler.cancel_task(task_id, reason)
    scheduler.emit(end(scheduler.state, event))


@_rule(m.TimeOut)
def _time_out(scheduler: Scheduler, command: m.TimeOut) -> None:
    # What waits for a person is unknown, not late; and the unknown is never rolled back silently. So it is with a pause.
    if not scheduler.state.works:
        return
    limit = scheduler.state.run.limits.timeout_s
    _request_cancel(scheduler, m.RequestCancel(at=command.at, by="system:engine", reason=f"the run took over {limit:g} s"))


@_rule(m.Complete)
def _complete(scheduler: Scheduler, command: m.Complete) -> None:
    if not scheduler.is_current(command.task, command.attempt):
        return
    schema = scheduler.graph.spec(command.task).output_schema
    place, what = schemas.violation(schema, command.output) if schema else ("", "")
    if not what:
        scheduler.emit(m.TaskCompleted(at=command.at, task=command.task, output=command.output))
        return
    message = f"the result is not what output_schema says: {what}"
    error = Invalid("result_invalid", message, where=f"task {command.task}, result {place}")
    scheduler.emit(m.TaskFailed(at=command.at, task=command.task, error=error.as_dict()))


@_rule(m.Fail)
def _fail(scheduler: Scheduler, command: m.Fail) -> None:
    if not scheduler.is_current(command.task, command.attempt):
        return
    retry = scheduler.graph.spec(command.task).retry
    failures = scheduler.state.tasks[command.task].failures
    if command.is_transient and failures + 1 < retry.max_attempts and not _is_stopping(scheduler, command.task):
        wait_s = retry_delay_s(retry, failures) if command.delay_s is None else command.delay_s
        wait_s *= 1 + retry.jitter * command.jitter
        retry_at = to_text(from_text(command.at) + timedelta(seconds=wait_s))
        scheduler.emit(
            m.TaskRetryScheduled(at=command.at, task=command.task, error=command.error, delay_s=wait_s, retry_at=retry_at)
        )
    else:
        scheduler.emit(m.TaskFailed(at=command.at, task=command.task, error=command.error))


def _is_stopping(scheduler: Scheduler, task: str) -> bool:
    return bool(scheduler.state.cancel_requested) and not scheduler.graph.cleans_up(task)


def retry_delay_s(retry: Retry, failures: int) -> float:
    """Seconds to wait after ``failures`` earlier ones, without jitter: exponential backoff with a ceiling."""
    try:
        return min(retry.max_delay_s, retry.delay_s * retry.factor**failures)
    except OverflowError:
        return retry.max_delay_s


@_rule(m.RetryDue)
def _retry_due(scheduler: Scheduler, command: m.RetryDue) -> None:
    if scheduler.state.tasks[command.task].retry_at:
        scheduler.emit(m.TaskReady(at=command.at, task=command.task))


@_rule(m.Stopped)
def _stopped(scheduler: Scheduler, command: m.Stopped) -> None:
    if scheduler.is_current(command.task, command.attempt):
        scheduler.cancel_task(command.task, command.reason)


@_rule(m.Park)
def _park(scheduler: Scheduler, command: m.Park) -> None:
    if not scheduler.is_current(command.task, command.attempt):
        return
    if _is_stopping(scheduler, command.task):
        scheduler.cancel_task(command.task, scheduler.state.cancel_requested)
        return
    fields = {name: getattr(command, name) for name in ("at", "task", "question", "options", "evidence")}
    scheduler.emit(m.TaskParked(**fields))


@_rule(m.Answer)
def _answer(scheduler: Scheduler, command: m.Answer) -> None:
    task = scheduler.state.tasks.get(command.task)
    is_waiting = task is not None and task.status is m.TaskStatus.WAITING and task.question
    if task is None or not is_waiting or command.asked not in {0, task.question["asked"]}:
        raise Conflict("not_waiting", f"{command.task} is not waiting for an answer", where=scheduler.state.run.run_id)
    if command.answer not in task.question["options"]:
        choices = ", ".join(task.question["options"])
        raise Invalid("unknown_option", f"{command.answer!r} is not an answer here", hint=f"choose one of: {choices}")
    scheduler.emit(m.TaskAnswered(at=command.at, task=command.task, answer=command.answer, by=command.by))


@_rule(m.Note)
def _note(scheduler: Scheduler, command: m.Note) -> None:
    if not scheduler.is_current(command.task, command.attempt):
        raise Conflict("attempt_over", f"attempt {command.attempt} of {command.task} is over", where=command.task)
    for event in command.events:
        scheduler.emit(event)
