"""One run while it is under way: commands become events, events become durable, and only then something happens."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import structlog

from interlock.core.clock import Clock, from_text, to_text
from interlock.core.errors import Conflict, InterlockError, Internal, Unavailable
from interlock.core.scope import Scope
from interlock.core.signals import Cancel, NeedsApproval, RetryLater, Signal
from interlock.runs import model as m
from interlock.runs.decide import decide, is_cleanup, retry_delay_s
from interlock.runs.graph import TaskSpec, resolve
from interlock.runs.ledger import Ledger
from interlock.runs.ports import Executor, Journal
from interlock.tools.service import Toolbox

log = structlog.get_logger(__name__)

MAX_OUTPUT_BYTES = 1024 * 1024


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


class ActiveRun:
    """The run's state in memory is ahead of the journal only by what is queued; nothing uncommitted is acted upon.

    ``on_end(run_id)`` is called once the end is durable; ``on_suspend(run_id, error)`` when the journal refused an append.
    """

    def __init__(
        self,
        state: m.RunState,
        epoch: int,
        equipment: Equipment,
        on_end: Callable[[str], None],
        on_suspend: Callable[[str, Exception], None],
    ) -> None:
        self.state = state
        self._epoch = epoch
        self._equipment = equipment
        self._on_end = on_end
        self._on_suspend = on_suspend
        self._specs = {spec.id: spec for spec in state.run.graph}
        self._bodies: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._is_suspended = False

    # --- commands ---

    async def apply(self, command: m.RunCommand) -> None:
        """Decide, make durable, act. Returns when the events are durable; raises `Suspended` when they cannot be."""
        if self._is_suspended:
            raise Suspended
        seq = self.state.seq + 1
        events = decide(self.state, command)
        if not events:
            return
        try:
            await self._equipment.journal.append(self.state.run.run_id, self._epoch, seq, events)
        except Exception as error:
            self._suspend(error)
            raise Suspended from error
        for event in events:
            self._act_on(event)

    def resume(self) -> None:
        """Set the timers again that the journal speaks of; called once after a run was loaded."""
        for task_id, task in self.state.tasks.items():
            if task.retry_at:
                self._sleep_then_retry(task_id, self._remaining_s(task))
        self._set_deadline()

    async def close(self) -> None:
        """Stop all bodies and timers without a word in the journal: the run goes on when it is adopted."""
        self._is_suspended = True
        tasks = [task for task in [*self._bodies.values(), *self._timers.values()] if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _suspend(self, error: Exception) -> None:
        if not self._is_suspended:
            self._is_suspended = True
            self._on_suspend(self.state.run.run_id, error)

    # --- what events lead to ---

    def _act_on(self, event: m.RunEvent) -> None:
        match event:
            case m.TaskStarted(task=task, attempt=attempt):
                self._bodies[task] = asyncio.create_task(self._body(self._specs[task], attempt), name=f"task {task}")
            case m.TaskRetryScheduled(task=task, delay_s=delay_s):
                self._sleep_then_retry(task, delay_s)
            case m.RunStarted():
                self._set_deadline()
            case m.RunCancelRequested():
                self._stop_bodies()
            case m.RunFinished():
                for timer in self._timers.values():
                    timer.cancel()
                self._on_end(self.state.run.run_id)
            case _:
                pass

    def _stop_bodies(self) -> None:
        for task_id, body in self._bodies.items():
            if not is_cleanup(self.state, self._specs[task_id], self._specs):
                body.cancel()

    def _sleep_then_retry(self, task_id: str, delay_s: float) -> None:
        async def wait() -> None:
            # Timers run on monotonic time: a wall clock that jumps neither hurries nor strands a retry.
            await asyncio.sleep(delay_s)
            await self._tell(m.RetryDue(at=self._now(), task=task_id))

        self._timers[task_id] = asyncio.create_task(wait(), name=f"retry {task_id}")

    def _set_deadline(self) -> None:
        if not self.state.started_at or self.state.status in m.RUN_ENDED:
            return
        limit = self.state.run.limits.timeout_s
        elapsed = (self._equipment.clock.now() - from_text(self.state.started_at)).total_seconds()

        async def wait() -> None:
            await asyncio.sleep(min(limit, max(0.0, limit - elapsed)))
            await self._tell(m.TimeOut(at=self._now()))

        self._timers[""] = asyncio.create_task(wait(), name="deadline")

    def _remaining_s(self, task: m.TaskState) -> float:
        # A clock set back must not stretch the wait beyond what the policy can ask for.
        left = (from_text(task.retry_at) - self._equipment.clock.now()).total_seconds()
        return min(max(0.0, left), 3600.0)

    # --- bodies ---

    async def _body(self, spec: TaskSpec, attempt: int) -> None:
        context = Context(self, spec, attempt)
        try:
            command = await self._attempt(spec, attempt, context)
        except Suspended:
            return
        self._bodies.pop(spec.id, None)
        await self._tell(command)

    async def _attempt(self, spec: TaskSpec, attempt: int, context: "Context") -> m.RunCommand:
        limit = asyncio.timeout(spec.timeout_s)
        try:
            if self.state.cancel_requested and not is_cleanup(self.state, spec, self._specs):
                raise asyncio.CancelledError
            async with limit:
                output = await self._executor(spec)(context)
            return m.Complete(at=self._now(), task=spec.id, attempt=attempt, output=_checked(output))
        except asyncio.CancelledError:
            if self._is_suspended or not self.state.cancel_requested:
                raise
            await context.ledger.abort()
            return m.Stopped(at=self._now(), task=spec.id, attempt=attempt, reason=self.state.cancel_requested)
        except TimeoutError as error:
            if not limit.expired():
                return self._failure(spec, attempt, error)
            await context.ledger.abort()
            return self._failure(
                spec, attempt, Unavailable("task_timeout", f"the task took over {spec.timeout_s:g} s", where=spec.id)
            )
        except Signal as signal:
            return self._heed(spec, attempt, signal)
        except Exception as error:
            if isinstance(error, Suspended) or self._is_suspended:
                raise Suspended from error
            return self._failure(spec, attempt, error)

    def _heed(self, spec: TaskSpec, attempt: int, signal: Signal) -> m.RunCommand:
        match signal:
            case NeedsApproval(question=question, options=options, evidence=evidence):
                return m.Park(
                    at=self._now(), task=spec.id, attempt=attempt, question=question, options=options, evidence=evidence
                )
            case RetryLater(reason=reason, delay_s=delay_s):
                return self._failure(spec, attempt, Unavailable("retry_later", reason, where=spec.id), delay_s=delay_s)
            case Cancel(reason=reason):
                return m.RequestCancel(at=self._now(), by=f"task:{spec.id}", reason=reason)
            case _:
                return self._failure(spec, attempt, Internal("unknown_signal", type(signal).__name__, where=spec.id))

    def _executor(self, spec: TaskSpec) -> Executor:
        if spec.kind not in self._equipment.executors:
            raise Conflict("unknown_kind", f"no part of this control plane does {spec.kind!r}", where=spec.id)
        return self._equipment.executors[spec.kind]

    def _failure(self, spec: TaskSpec, attempt: int, error: Exception, delay_s: float | None = None) -> m.Fail:
        if not isinstance(error, InterlockError):
            log.error("task.crashed", run=self.state.run.run_id, task=spec.id, exc_info=error)
        jitter = random.random()  # noqa: S311 - spreads retries, guards nothing
        wait_s = delay_s if delay_s is not None else retry_delay_s(spec, self.state.tasks[spec.id].failures)
        retry_at = self._equipment.clock.now() + timedelta(seconds=wait_s * (1 + spec.retry.jitter * jitter))
        return m.Fail(
            at=self._now(),
            task=spec.id,
            attempt=attempt,
            error=_as_error(error),
            is_transient=isinstance(error, InterlockError) and error.kind == "unavailable",
            jitter=jitter,
            delay_s=delay_s,
            retry_at=to_text(retry_at),
        )

    async def _tell(self, command: m.RunCommand) -> None:
        try:
            await self.apply(command)
        except Suspended:
            return

    # --- for Context ---

    async def note(self, *events: m.RunEvent) -> None:
        """Write ``events``; durable when it returns."""
        await self.apply(m.Note(at=self._now(), events=events))

    def ledger(self, task_id: str, scope: Scope) -> Ledger:
        return Ledger(self.state, task_id, scope, self._equipment.toolbox, self.note, self._equipment.clock)

    def scope(self) -> Scope:
        run = self.state.run
        return Scope(
            tenant=self._equipment.scope.tenant,
            principal=f"run:{run.run_id}",
            origin="engine",
            correlation_id=run.correlation_id,
        )

    def _now(self) -> str:
        return to_text(self._equipment.clock.now())

    now = _now


class Context:
    """`TaskContext` of one attempt."""

    def __init__(self, active: ActiveRun, spec: TaskSpec, attempt: int) -> None:
        self._active = active
        self.run = active.state.run
        self.scope = active.scope()
        self.task_id = spec.id
        self.attempt = attempt
        self.answer = active.state.tasks[spec.id].answer
        outputs = {task_id: task.output for task_id, task in active.state.tasks.items()}
        self.inputs: dict[str, Any] = resolve(spec.inputs, outputs)
        self.ledger = active.ledger(spec.id, self.scope)

    async def call(self, tool: str, arguments: dict[str, Any], *, name: str = "") -> dict[str, Any]:
        return await self.ledger.call(tool, arguments, name)

    async def report(self, message: str, **data: Any) -> None:
        await self._active.note(m.TaskReported(at=self._active.now(), task=self.task_id, message=message, data=data))


def _checked(output: dict[str, Any]) -> dict[str, Any]:
    """The output as plain JSON data. Raises Conflict where the journal cannot carry it."""
    try:
        encoded = msgspec.json.encode(output)
    except (TypeError, ValueError) as error:
        raise Conflict("result_not_serialisable", f"the result cannot be written as JSON: {error}") from error
    if len(encoded) > MAX_OUTPUT_BYTES:
        raise Conflict("result_too_large", f"the result has {len(encoded)} bytes, {MAX_OUTPUT_BYTES} are allowed")
    return msgspec.json.decode(encoded)


def _as_error(error: BaseException) -> m.ErrorData:
    if isinstance(error, InterlockError):
        return error.as_dict()
    return {"kind": "internal", "code": "crashed", "message": f"{type(error).__name__}: {error}"}
