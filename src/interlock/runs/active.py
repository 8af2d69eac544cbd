"""One run while it is under way: commands become events, events become durable, and only then something happens."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from interlock.core.clock import Clock, from_text, to_text
from interlock.core.errors import Conflict, InterlockError, Internal, Invalid, Unavailable
from interlock.core.scope import Scope
from interlock.core.signals import Cancel, NeedsApproval, RetryLater, Signal
from interlock.runs import model as m
from interlock.runs import schemas
from interlock.runs.data import as_data, as_error
from interlock.runs.decide import Scheduler
from interlock.runs.evolve import worked_s
from interlock.runs.fanning import inputs_of
from interlock.runs.graph import TaskSpec
from interlock.runs.ledger import Ledger
from interlock.runs.ports import Executor, Journal
from interlock.tools.service import Toolbox

log = structlog.get_logger(__name__)


class Suspended(Exception):  # noqa: N818 - not a failure of the task
    """The run can no longer be written here: its body has to go, without a word in the journal."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What every run of this engine shares."""

    journal: Journal
    executors: Mapping[str, Executor]
    toolbox: Toolbox
    clock: Clock
    scope: Scope


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a body ended: what to tell the scheduler, and whether effects may still be under way that nobody waits for."""

    commands: tuple[m.RunCommand, ...]
    leaves_effects: bool = False


class ActiveRun:
    """The run's state in memory is ahead of the journal only by what is queued; nothing uncommitted is acted upon.

    ``on_move(run_id)`` is called once it is durable that the run is paused, waits for a slot again or goes on;
    ``on_end(run_id)`` once its end is durable; ``on_suspend(run_id, error)`` when the journal refused an append.
    """

    def __init__(
        self,
        state: m.RunState,
        epoch: int,
        equipment: Equipment,
        *,
        on_move: Callable[[str], None],
        on_end: Callable[[str], None],
        on_suspend: Callable[[str, BaseException], None],
    ) -> None:
        self.state = state
        self.equipment = equipment
        self._scheduler = Scheduler(state)
        self._epoch = epoch
        self._on_move = on_move
        self._on_end = on_end
        self._on_suspend = on_suspend
        self._graph = state.run.graph
        self._tasks: set[asyncio.Task[None]] = set()
        self._bodies: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._worked_s = worked_s(state, state.last_at)
        self._works_since_s: float | None = None
        self._is_suspended = False

    # --- commands ---

    async def apply(self, command: m.RunCommand) -> None:
        """Decide, make durable, act. Returns when the events are durable; raises `Suspended` when they cannot be.

        What it decided is written and acted upon even when whoever asked for it no longer waits.
        """
        if self._is_suspended:
            raise Suspended
        seq = self.state.seq + 1
        events = self._scheduler.decide(command)
        if not events:
            return
        try:
            durable = asyncio.ensure_future(self.equipment.journal.append(self.state.run.run_id, self._epoch, seq, events))
            durable.add_done_callback(partial(self._written, events))
            await asyncio.shield(durable)
        except Exception as error:
            self._suspend(error)
            raise Suspended from error

    def _written(self, events: Sequence[m.RunEvent], durable: asyncio.Future[None]) -> None:
        if durable.cancelled():
            return
        if (error := durable.exception()) is not None:
            self._suspend(error)
        elif not self._is_suspended:
            for event in events:
                self._act_on(event)

    def set_timers(self) -> None:
        """Set the timers again that the journal speaks of; called once after a run was loaded."""
        for task_id, task in self.state.tasks.items():
            if task.retry_at:
                self._sleep_then_retry(task_id, self._remaining_s(task))
        self._set_deadline()

    async def close(self) -> None:
        """Stop all bodies and timers without a word in the journal: the run goes on when it is adopted."""
        self._is_suspended = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _suspend(self, error: BaseException) -> None:
        if not self._is_suspended:
            self._is_suspended = True
            self._on_suspend(self.state.run.run_id, error)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- what events lead to ---

    def _act_on(self, event: m.RunEvent) -> None:
        match event:
            case m.TaskStarted(task=task, attempt=attempt):
                self._spawn(self._body(self._graph.spec(task), attempt), f"task {task}")
            case m.TaskRetryScheduled(task=task, delay_s=delay_s):
                self._sleep_then_retry(task, delay_s)
            case m.RunPaused() | m.RunResumed() | m.RunContinued():
                self._set_deadline()
                self._on_move(self.state.run.run_id)
            case m.RunStarted() | m.TaskParked() | m.TaskAnswered():
                self._set_deadline()
            case m.RunCancelRequested():
                for task_id, body in self._bodies.items():
                    if not self._graph.cleans_up(task_id):
                        body.cancel()
            case m.RunFinished():
                for timer in self._timers.values():
                    timer.cancel()
                self._on_end(self.state.run.run_id)
            case _:
                pass

    def _sleep_then_retry(self, task_id: str, delay_s: float) -> None:
        async def wait() -> None:
            # Timers run on monotonic time: a wall clock that jumps neither hurries nor strands a retry.
            await asyncio.sleep(delay_s)
            await self._tell(m.RetryDue(at=self.now(), task=task_id))

        self._timers[task_id] = self._spawn(wait(), f"retry {task_id}")

    def _set_deadline(self) -> None:
        """Begin to count the run's time, or stop it as long as a person is asked or it is paused: nobody is late by that."""
        now = self.equipment.clock.monotonic()
        if self._works_since_s is not None:
            self._worked_s += now - self._works_since_s
        if timer := self._timers.pop("", None):
            timer.cancel()
        self._works_since_s = now if self.state.works else None
        if self._works_since_s is None:
            return
        left_s = self.state.run.limits.timeout_s - self._worked_s

        async def wait() -> None:
            # Time that a control plane has seen: a night without it, or a clock set forward, is no time that the run took.
            await asyncio.sleep(max(0.0, left_s))
            await self._tell(m.TimeOut(at=self.now()))

        self._timers[""] = self._spawn(wait(), "deadline")

    def _remaining_s(self, task: m.TaskState) -> float:
        # A clock that was set back must not stretch the wait beyond what it was to be.
        left = (from_text(task.retry_at) - self.equipment.clock.now()).total_seconds()
        return min(max(0.0, left), task.retry_delay_s)

    # --- bodies ---

    async def _body(self, spec: TaskSpec, attempt: int) -> None:
        # Known from its first step on: one cancelled before that would end without a word. It sees itself that the run stops.
        body = asyncio.current_task()
        if body is not None:
            self._bodies[spec.id] = body
        context = Context(self, spec, attempt)
        try:
            ending = await self._attempt(spec, attempt, context)
            # From here on there is nothing left for a cancellation of the run to stop.
            self._bodies.pop(spec.id, None)
            if ending.leaves_effects:
                await context.ledger.abort()
        except Suspended:
            return
        for command in ending.commands:
            await self._tell(command)

    async def _attempt(self, spec: TaskSpec, attempt: int, context: "Context") -> _Ending:
        limit = asyncio.timeout(spec.timeout_s)
        try:
            if self._is_stopping(spec):
                raise asyncio.CancelledError
            _check_inputs(spec, context.inputs)
            async with limit:
                output = await self._executor(spec)(context)
            return _Ending((m.Complete(at=self.now(), task=spec.id, attempt=attempt, output=as_data(output)),))
        except asyncio.CancelledError as error:
            return self._interrupted(spec, attempt, error)
        except TimeoutError as error:
            if not limit.expired():
                return self._failed(spec, attempt, error)
            message = f"the task took over {spec.timeout_s:g} s"
            ending = self._failed(spec, attempt, Unavailable("task_timeout", message, where=spec.id))
            return _Ending(ending.commands, leaves_effects=True)
        except Signal as signal:
            return self._heed(spec, attempt, signal)
        except Exception as error:
            if self._is_suspended:
                raise Suspended from error
            return self._failed(spec, attempt, error)

    def _is_stopping(self, spec: TaskSpec) -> bool:
        return bool(self.state.cancel_requested) and not self._graph.cleans_up(spec.id)

    def _interrupted(self, spec: TaskSpec, attempt: int, error: asyncio.CancelledError) -> _Ending:
        if self._is_suspended:
            raise Suspended from error
        if self._is_stopping(spec):
            stopped = m.Stopped(at=self.now(), task=spec.id, attempt=attempt, reason=self.state.cancel_requested)
            return _Ending((stopped,), leaves_effects=True)
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise error
        # Not this body was cancelled but something it waited for.
        return self._failed(spec, attempt, error)

    def _heed(self, spec: TaskSpec, attempt: int, signal: Signal) -> _Ending:
        at = self.now()
        match signal:
            case NeedsApproval(question=question, options=options, evidence=evidence):
                try:
                    data = as_data(evidence)
                except Conflict as error:
                    return self._failed(spec, attempt, error)
                park = m.Park(at=at, task=spec.id, attempt=attempt, question=question, options=tuple(options), evidence=data)
                return _Ending((park,))
            case RetryLater(reason=reason, delay_s=delay_s):
                return self._failed(spec, attempt, Unavailable("retry_later", reason, where=spec.id), delay_s=delay_s)
            case Cancel(reason=reason):
                request = m.RequestCancel(at=at, by=f"task:{spec.id}", reason=reason)
                return _Ending((request, m.Stopped(at=at, task=spec.id, attempt=attempt, reason=reason)))
            case _:
                return self._failed(spec, attempt, Internal("unknown_signal", type(signal).__name__, where=spec.id))

    def _executor(self, spec: TaskSpec) -> Executor:
        if spec.kind not in self.equipment.executors:
            raise Conflict("unknown_kind", f"no part of this control plane does {spec.kind!r}", where=spec.id)
        return self.equipment.executors[spec.kind]

    def _failed(self, spec: TaskSpec, attempt: int, error: BaseException, delay_s: float | None = None) -> _Ending:
        if not isinstance(error, InterlockError):
            log.error("task.crashed", run=self.state.run.run_id, task=spec.id, exc_info=error)
        failure = m.Fail(
            at=self.now(),
            task=spec.id,
            attempt=attempt,
            error=as_error(error),
            is_transient=isinstance(error, InterlockError) and error.kind == "unavailable",
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
            delay_s=delay_s,
        )
        return _Ending((failure,))

    async def _tell(self, command: m.RunCommand) -> None:
        try:
            await self.apply(command)
        except Suspended:
            return

    def now(self) -> str:
        """The wall time for the journal."""
        return to_text(self.equipment.clock.now())


def _check_inputs(spec: TaskSpec, inputs: dict[str, Any]) -> None:
    place, what = schemas.violation(spec.input_schema, inputs) if spec.input_schema else ("", "")
    if what:
        raise Invalid(
            "inputs_invalid", f"the inputs are not what input_schema says: {what}", where=f"{spec.id}, inputs {place}"
        )


class Context:
    """`TaskContext` of one attempt."""

    def __init__(self, active: ActiveRun, spec: TaskSpec, attempt: int) -> None:
        self._active = active
        state, equipment = active.state, active.equipment
        self.run = state.run
        self.scope = Scope(
            tenant=equipment.scope.tenant,
            principal=f"run:{self.run.run_id}",
            origin="engine",
            correlation_id=self.run.correlation_id,
        )
        self.task_id = spec.id
        self.attempt = attempt
        self.answer = state.tasks[spec.id].answer
        self.inputs: dict[str, Any] = inputs_of(state, spec.id)
        self.ledger = Ledger(state, spec.id, self.scope, equipment.toolbox, self.note, equipment.clock)

    async def call(self, tool: str, arguments: dict[str, Any], *, name: str = "") -> dict[str, Any]:
        return await self.ledger.call(tool, arguments, name)

    async def report(self, message: str, **data: Any) -> None:
        await self.note(m.TaskReported(at=self._active.now(), task=self.task_id, message=message, data=as_data(data)))

    async def note(self, *events: m.RunEvent) -> None:
        """Write ``events`` of this attempt; durable when it returns. Raises Conflict ``attempt_over`` when it is over."""
        await self._active.apply(m.Note(at=self._active.now(), task=self.task_id, attempt=self.attempt, events=events))
