"""The effect ledger: an effect happens once, or a person is asked.

Before a tool with an effect above ``read`` acts, its intent is durable; afterwards its receipt is. Where an intent without a
receipt is found (the control plane died in between, or the tool did not get an answer), the tool probes the target: done, and
the receipt is taken; not done, and it acts; cannot tell, and the task parks until a person has decided.
"""

import asyncio
import itertools
import re
from collections import defaultdict
from typing import Any, Protocol

import structlog

from interlock.core.canonical import digest
from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, Forbidden, InterlockError, Internal, Invalid, LimitReached, NotFound, Unavailable
from interlock.core.scope import Scope
from interlock.core.signals import NeedsApproval
from interlock.runs import model as m
from interlock.runs.data import as_data, as_error
from interlock.tools.grants import check_call
from interlock.tools.model import Call, Done, Effect, NotDone, Tool, Unknown
from interlock.tools.service import Toolbox, defaults, to_data, to_input

log = structlog.get_logger(__name__)

DO_IT = "it did not happen: do it"
IT_HAPPENED = "it happened: go on"
GIVE_UP = "stop here"
ABORT_LIMIT_S = 60.0

_ERRORS = {kind.kind: kind for kind in (NotFound, Conflict, Forbidden, Invalid, Unavailable, LimitReached, Internal)}


class Notes(Protocol):
    """Where the ledger writes: durable when it returns."""

    async def __call__(self, *events: m.RunEvent) -> None: ...


class Ledger:
    """The calls of one task attempt.

    A repeated attempt is served what the ledger holds: results, and also failures in the order in which they came, so that it
    goes the same way. Only after a retry was scheduled is an effect that failed tried anew, under a new key.
    """

    def __init__(self, state: m.RunState, task_id: str, scope: Scope, toolbox: Toolbox, note: Notes, clock: Clock) -> None:
        self._state = state
        self._task = task_id
        self._scope = scope
        self._toolbox = toolbox
        self._note = note
        self._clock = clock
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._served: dict[str, dict[str, Any]] = {}
        self._told: set[str] = set()

    async def call(self, name: str, arguments: dict[str, Any], label: str) -> dict[str, Any]:
        """Use the tool ``name``; ``label`` tells apart several calls of one task to the same tool."""
        tool = self._toolbox.get(name)
        arguments = as_data(arguments)
        await self._check_grant(tool, arguments)
        values = to_input(tool, arguments)
        label = label or name
        if tool.effect is Effect.READ:
            return to_data(tool, await tool.act(self._call(self._key(label, 1)), values))
        # In turns: of two calls at once under one label the second is served what the first one did.
        async with self._turns[label]:
            if self._served.setdefault(label, arguments) != arguments:
                raise Conflict(
                    "call_name_used", f"{self._task} did something else as {label!r}", hint="name each call of a task"
                )
            try:
                return await self._once(tool, arguments, label)
            except BaseException:
                del self._served[label]
                raise

    async def abort(self) -> None:
        """Give up the effects of this task; called when it was cancelled or ran out of time.

        Also those that were done: the task did not get as far as to say what came of them, so nobody else will find them.
        What the target then says of one under way is put on the record; one that does not answer stays open.
        """
        mine = [entry for entry in self._state.ledger.values() if entry.task == self._task]
        for entry in (entry for entry in mine if entry.outcome != "failed"):
            try:
                async with asyncio.timeout(ABORT_LIMIT_S):
                    await self._give_up(entry)
            except (InterlockError, TimeoutError, OSError) as error:
                log.warning("effect.not_aborted", key=entry.key, error=str(error))

    async def _give_up(self, entry: m.LedgerEntry) -> None:
        tool = self._toolbox.get(entry.tool)
        call, values = self._call(entry.key), to_input(tool, entry.arguments)
        await tool.abort(call, values)
        if entry.outcome == "done":
            return
        probe = await tool.probe(call, values)
        if isinstance(probe, Done):
            await self._receive(entry.key, "done", "probe", output=probe.output)
        elif isinstance(probe, NotDone):
            error = Unavailable("aborted", f"{tool.name} was given up", where=self._task)
            await self._receive(entry.key, "failed", "abort", error=error.as_dict())

    async def _check_grant(self, tool: Tool[Any, Any], arguments: dict[str, Any]) -> None:
        try:
            # The plan grants to the task: what it may do, each of its instances may.
            granted = self._state.run.graph.base(self._task)
            check_call(self._state.run.grants, granted, tool.name, arguments, defaults(tool))
        except Forbidden as error:
            await self._note(
                m.CallRefused(at=self._now(), task=self._task, tool=tool.name, arguments=arguments, error=error.as_dict())
            )
            raise

    async def _once(self, tool: Tool[Any, Any], arguments: dict[str, Any], label: str) -> dict[str, Any]:
        key = self._next_key(label)
        entry = self._state.ledger.get(key)
        if entry is None:
            await self._intend(tool, key, label, arguments)
            return await self._act(tool, key, arguments)
        if entry.outcome == "done":
            return entry.output
        # What was intended counts, not what this attempt would ask for: a free port found anew is another one.
        known = await self._look(tool, key, entry)
        return await self._act(tool, key, entry.arguments) if known is None else known

    def _call(self, key: str) -> Call:
        return Call(scope=self._scope, run_id=self._state.run.run_id, task_id=self._task, key=key)

    def _next_key(self, label: str) -> str:
        """The key of the effect to look at or to do next; raises what the record says of one that failed before."""
        failures = self._state.tasks[self._task].failures
        for number in itertools.count(1):
            key = self._key(label, number)
            entry = self._state.ledger.get(key)
            if entry is None or entry.outcome != "failed":
                return key
            if entry.failures == failures and key not in self._told:
                self._told.add(key)
                raise _as_raised(entry.error)
        raise AssertionError("unreachable")

    def _key(self, label: str, number: int) -> str:
        """The idempotency key. The digest keeps apart what looks the same once it is readable."""
        run_id = self._state.run.run_id
        readable = re.sub(r"[^a-z0-9]+", "-", f"{run_id}-{self._task}-{label}".lower()).strip("-")[:80]
        return f"{readable}-{digest([run_id, self._task, label])[7:15]}-{number}"

    async def _look(self, tool: Tool[Any, Any], key: str, entry: m.LedgerEntry) -> dict[str, Any] | None:
        """What the target knows of an effect whose receipt is missing; None where it may be done now."""
        probe = await tool.probe(self._call(key), to_input(tool, entry.arguments))
        if isinstance(probe, Done):
            await self._receive(key, "done", "probe", output=probe.output)
            return probe.output
        if entry.answer == IT_HAPPENED:
            output = probe.output if isinstance(probe, Unknown) else {}
            await self._receive(key, "done", "person", output=output)
            return output
        if entry.answer == GIVE_UP:
            error = Forbidden("effect_in_doubt", f"a person stopped here: it cannot be told whether {tool.name} was done")
            self._told.add(key)
            await self._receive(key, "failed", "person", error=error.as_dict())
            raise error
        if isinstance(probe, Unknown) and entry.answer != DO_IT:
            raise NeedsApproval(
                f"Was {tool.name} done? {probe.reason}",
                (DO_IT, IT_HAPPENED, GIVE_UP),
                {"tool": tool.name, "key": key, "reason": probe.reason},
            )
        if entry.answer:
            # Used up: should this attempt die too, the next one has to ask again.
            await self._intend(tool, key, entry.name, entry.arguments)
        # The data folder admits one control plane at a time: whoever began this effect is dead, so "not done" stays so.
        return None

    async def _intend(self, tool: Tool[Any, Any], key: str, label: str, arguments: dict[str, Any]) -> None:
        await self._note(
            m.IntentRecorded(
                at=self._now(),
                task=self._task,
                name=label,
                tool=tool.name,
                effect=str(tool.effect),
                keying=tool.keying,
                key=key,
                arguments=arguments,
                arguments_digest=digest(arguments),
            )
        )

    async def _act(self, tool: Tool[Any, Any], key: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            output = to_data(tool, await tool.act(self._call(key), to_input(tool, arguments)))
        except InterlockError as error:
            # No answer, or one that makes no sense, is no knowledge: the intent stays open and the next attempt looks first.
            if error.kind not in {"unavailable", "internal"}:
                self._told.add(key)
                await self._receive(key, "failed", "act", error=as_error(error))
            raise
        await self._receive(key, "done", "act", output=output)
        return output

    async def _receive(
        self, key: str, outcome: str, by: str, output: dict[str, Any] | None = None, error: m.ErrorData | None = None
    ) -> None:
        await self._note(
            m.ReceiptRecorded(
                at=self._now(), task=self._task, key=key, outcome=outcome, by=by, output=output or {}, error=error or {}
            )
        )

    def _now(self) -> str:
        return to_text(self._clock.now())


def _as_raised(error: m.ErrorData) -> InterlockError:
    """The error that was written down, to be raised again."""
    known = {"kind", "code", "message", "where", "hint"}
    details = {name: value for name, value in error.items() if name not in known}
    kind = _ERRORS[error["kind"]]
    return kind(error["code"], error["message"], where=error.get("where", ""), hint=error.get("hint", ""), **details)
