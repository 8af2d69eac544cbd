"""The effect ledger: an effect happens once, or a person is asked.

Before a tool with an effect above ``read`` acts, its intent is durable; afterwards its receipt is. Where an intent without a
receipt is found (the control plane died in between, or the tool did not get an answer), the tool probes the target: done, and
the receipt is taken; not done, and it acts; cannot tell, and the task parks until a person has decided.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from interlock.core.canonical import digest
from interlock.core.clock import Clock, to_text
from interlock.core.errors import Forbidden, InterlockError
from interlock.core.scope import Scope
from interlock.core.signals import NeedsApproval
from interlock.runs import model as m
from interlock.tools.grants import check_call
from interlock.tools.model import Call, Done, Effect, NotDone, Tool
from interlock.tools.service import Toolbox, to_data, to_input

DO_IT = "it did not happen: do it"
GIVE_UP = "stop here"


class Notes(Protocol):
    """Where the ledger writes: durable when it returns."""

    async def __call__(self, *events: m.RunEvent) -> None: ...


class Ledger:
    """The calls of one task attempt."""

    def __init__(self, state: m.RunState, task_id: str, scope: Scope, toolbox: Toolbox, note: Notes, clock: Clock) -> None:
        self._state = state
        self._task = task_id
        self._scope = scope
        self._toolbox = toolbox
        self._note = note
        self._clock = clock
        self._under_way: list[Callable[[], Awaitable[None]]] = []

    async def call(self, name: str, arguments: dict[str, Any], label: str) -> dict[str, Any]:
        """Use the tool ``name``; ``label`` tells apart several calls of one task to the same tool."""
        tool = self._toolbox.get(name)
        await self._check_grant(tool, arguments)
        values = to_input(tool, arguments)
        key = self._key(label or name)
        call = Call(scope=self._scope, run_id=self._state.run.run_id, task_id=self._task, key=key)
        if tool.effect is Effect.READ:
            return to_data(tool, await tool.act(call, values))
        entry = self._state.ledger.get(key)
        if entry is not None and entry.outcome == "done":
            return entry.output
        if entry is not None:
            known = await self._look(tool, call, values)
            if known is not None:
                return known
        if entry is None or self._state.tasks[self._task].answer == DO_IT:
            await self._intend(tool, call, label or name, arguments)
        return await self._act(tool, call, values)

    async def abort(self) -> None:
        """Give up what is under way; called when the task was cancelled or ran out of time."""
        for give_up in self._under_way:
            await give_up()

    async def _check_grant(self, tool: Tool[Any, Any], arguments: dict[str, Any]) -> None:
        try:
            check_call(self._state.run.grants, self._task, tool.name, arguments)
        except Forbidden as error:
            await self._note(
                m.CallRefused(at=self._now(), task=self._task, tool=tool.name, arguments=arguments, error=error.as_dict())
            )
            raise

    def _key(self, label: str) -> str:
        """The idempotency key: of the run, the task and the label, and counted up after an attempt known to have failed."""
        stem = f"{self._state.run.run_id}-{self._task}-{label}".replace("_", "-").replace(".", "-").replace(":", "-").lower()
        number = 1
        while (entry := self._state.ledger.get(f"{stem}-{number}")) is not None and entry.outcome == "failed":
            number += 1
        return f"{stem}-{number}"

    async def _look(self, tool: Tool[Any, Any], call: Call, values: Any) -> dict[str, Any] | None:
        """What the target knows of an effect whose receipt is missing; None where it may be done now."""
        probe = await tool.probe(call, values)
        if isinstance(probe, Done):
            await self._receive(call.key, "done", "probe", output=probe.output)
            return probe.output
        answer = self._state.tasks[self._task].answer
        # The data folder admits one control plane at a time: whoever began this effect is dead, so "not done" stays so.
        if isinstance(probe, NotDone) or answer == DO_IT:
            return None
        if answer == GIVE_UP:
            error = {"kind": "conflict", "code": "effect_in_doubt", "message": f"{tool.name}: {probe.reason}"}
            await self._receive(call.key, "failed", "person", error=error)
            raise Forbidden("effect_in_doubt", f"a person stopped here: it cannot be told whether {tool.name} was done")
        raise NeedsApproval(
            f"Was {tool.name} done? {probe.reason}",
            (DO_IT, GIVE_UP),
            {"tool": tool.name, "key": call.key, "reason": probe.reason},
        )

    async def _intend(self, tool: Tool[Any, Any], call: Call, label: str, arguments: dict[str, Any]) -> None:
        await self._note(
            m.IntentRecorded(
                at=self._now(),
                task=self._task,
                name=label,
                tool=tool.name,
                effect=str(tool.effect),
                keying=tool.keying,
                key=call.key,
                arguments=arguments,
                arguments_digest=digest(arguments),
            )
        )

    async def _act(self, tool: Tool[Any, Any], call: Call, values: Any) -> dict[str, Any]:
        async def give_up() -> None:
            await tool.abort(call, values)

        self._under_way.append(give_up)
        try:
            output = to_data(tool, await tool.act(call, values))
        except InterlockError as error:
            # No answer is no knowledge: the intent stays open and the next attempt looks at the target first.
            if error.kind != "unavailable":
                await self._receive(call.key, "failed", "act", error=error.as_dict())
                self._under_way.remove(give_up)
            raise
        await self._receive(call.key, "done", "act", output=output)
        self._under_way.remove(give_up)
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
