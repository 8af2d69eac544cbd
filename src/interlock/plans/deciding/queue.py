"""The line of approved plans: one plan at a time changes a service in an environment, the others wait or are refused.

What waits is in the database alone. Whoever looks again, after the end of another plan, a change of the rules, a restart or a
while, finds the same line and goes on with it.
"""

import asyncio
import contextlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import structlog

from interlock.core.errors import Conflict, InterlockError, Unavailable
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.delivery.rules import Busy
from interlock.events.service import Events
from interlock.plans import contracts, store
from interlock.plans.deciding.approval import ApprovalRules
from interlock.plans.deciding.demands import Demands, is_overridden, wants_to_wait
from interlock.plans.model import APPROVED, Plan, PlanContent, is_under_way, same_places
from interlock.plans.shelf import Shelf

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
"""Windows open without an event."""


def ahead_of(plan: Plan, others: Sequence[Plan], busy: Mapping[str, Busy]) -> tuple[Plan, ...]:
    """The plans that ``plan`` has to wait for, the one that is under way first. ``others`` are in the order of the line.

    Raises Conflict ``busy`` where one is under way for a place whose rule is not to wait.
    """
    contested = [other for other in others if other.plan_id != plan.plan_id and same_places(plan, other)]
    under_way = [other for other in contested if is_under_way(other)]
    for other in under_way:
        if any(busy.get(place, "refuse") == "refuse" for place in same_places(plan, other)) and not plan.waits:
            message = f"{other.plan_id} ({other.text}) is under way for {plan.service}"
            hint = "wait for its end, or cancel its run; where plans may wait: interlock environment set NAME --busy wait"
            raise Conflict("busy", message, where=plan.plan_id, hint=hint)
    before = [
        other
        for other in contested
        if other.waits == "turn"
        and (not plan.waits or place_in_line(other) < place_in_line(plan))
        and any(busy.get(place, "refuse") == "wait" for place in same_places(plan, other))
    ]
    return (*under_way, *before)


def place_in_line(plan: Plan) -> tuple[str, str]:
    """Whoever was approved first is first."""
    return (max((approval.at for approval in plan.approvals), default=""), plan.plan_id)


def waits_for(ahead: Sequence[Plan]) -> str:
    """In words, what a plan with these ahead of it waits for."""
    return f"waits for {ahead[0].plan_id} ({ahead[0].text}) to end; number {len(ahead)} in line"


def line_for(plan: Plan, others: Sequence[Plan], demands: Demands) -> tuple[Plan, ...]:
    """`ahead_of` with the rules of the plan's environments. Raises Conflict ``busy``."""
    busy: dict[str, Busy] = {rules.environment: rules.busy for rules in demands.rules}
    return ahead_of(plan, sorted(others, key=place_in_line), busy)


class Queue:
    """Starts approved plans: at once, or when what they wait for has come."""

    def __init__(self, database: Database, events: Events, shelf: Shelf, rules: ApprovalRules) -> None:
        self._database = database
        self._events = events
        self._shelf = shelf
        self._rules = rules
        self._wake = asyncio.Event()
        # A place is free: no more than a hint, what waits is looked at now and then in any case.
        shelf.when_ended(self.wake)

    def wake(self) -> None:
        """Something has changed for what waits: look at once."""
        self._wake.set()

    async def run(self, scope: Scope) -> None:
        """Look after what waits until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.look(scope)
            except Exception as error:
                log.warning("queue.failed", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wake.wait()

    async def look(self, scope: Scope) -> None:
        """Start whatever waits and need not any more; what cannot start any more fails, and says why."""
        async with self._database.read(scope) as connection:
            waiting = [plan for plan in await store.in_states(connection, None, ["approved"]) if plan.waits]
        for plan in sorted(waiting, key=place_in_line):
            try:
                await self._look_at(scope, plan.plan_id)
            except Unavailable as error:
                log.info("queue.unavailable", plan=plan.plan_id, error=str(error))
            except InterlockError as error:
                await self._fail(scope, plan.plan_id, error)

    async def due(self, scope: Scope, plan_id: str) -> tuple[Plan, PlanContent] | None:
        """An approved plan that may start at this moment, with its content; None for one that waits or was settled otherwise.

        What may not start any more has failed afterwards, with its reason on the record.
        """
        stored = await self._shelf.stored(scope, plan_id)
        if stored.plan.state != "approved" or stored.plan.waits:
            return None
        try:
            content, demands = await self._rules.check_approved(scope, stored.plan, stored.content)
            if closed := self._held(stored.plan, demands):
                async with self._database.write(scope) as session:
                    await self._wait(session, (await self._shelf.stored_in(session, plan_id)).plan, "window", closed.message)
                return None
        except InterlockError as error:
            if isinstance(error, Unavailable):
                raise
            await self._fail(scope, plan_id, error)
            return None
        return stored.plan, content

    def _held(self, plan: Plan, demands: Demands) -> Conflict | None:
        """Why the plan has to wait for a window or the end of a freeze. Raises it where nobody said that it should."""
        closed = None if is_overridden(plan.approvals) else demands.closed()
        if closed is not None and not wants_to_wait(plan.approvals):
            raise closed
        return closed

    async def _look_at(self, scope: Scope, plan_id: str) -> None:
        stored = await self._shelf.stored(scope, plan_id)
        content, demands = await self._rules.check_approved(scope, stored.plan, stored.content)
        may_start = self._held(stored.plan, demands) is None and not await self._ahead(scope, stored.plan, demands)
        if may_start:
            await self._rules.check_world(scope, content)
        async with self._database.write(scope) as session:
            plan = (await self._shelf.stored_in(session, plan_id)).plan
            if plan.state != "approved" or not plan.waits:
                return
            demands = await self._rules.demands_in(session, plan)
            ahead = line_for(plan, await store.in_states(session.connection, plan.service, sorted(APPROVED)), demands)
            if closed := self._held(plan, demands):
                await self._wait(session, plan, "window", closed.message)
            elif ahead:
                await self._wait(session, plan, "turn", waits_for(ahead))
            elif may_start:
                await self._start(session, plan, demands)
            else:
                # It came to its turn just now: not before the world was looked at.
                self.wake()

    async def _ahead(self, scope: Scope, plan: Plan, demands: Demands) -> tuple[Plan, ...]:
        async with self._database.read(scope) as connection:
            return line_for(plan, await store.in_states(connection, plan.service, sorted(APPROVED)), demands)

    async def _start(self, session: Session, plan: Plan, demands: Demands) -> None:
        started = msgspec.structs.replace(plan, waits="", reason="")
        await store.save(session.connection, started)
        await self._events.publish(session, contracts.PlanDue(plan_id=plan.plan_id), subject=f"plan:{plan.plan_id}")
        await self._shelf.supersede_others(session, started, queues_of(demands))

    async def _wait(self, session: Session, plan: Plan, waits: Literal["window", "turn"], reason: str) -> None:
        if plan.state == "approved" and (plan.waits, plan.reason) != (waits, reason):
            await self._shelf.move(session, msgspec.structs.replace(plan, waits=waits), "approved", reason)

    async def _fail(self, scope: Scope, plan_id: str, error: InterlockError) -> None:
        async with self._database.write(scope) as session:
            plan = (await self._shelf.stored_in(session, plan_id)).plan
            if plan.state != "approved":
                return
            again = f"plan it anew: interlock plan {shlex.quote(plan.text)}"
            await self._shelf.move(
                session, msgspec.structs.replace(plan, waits=""), "failed", f"not run, {error.code}: {error.message}; {again}"
            )
        await self._shelf.record_refusal(scope, f"run {plan_id}", error)


def queues_of(demands: Demands) -> frozenset[str]:
    """The environments in which plans wait for each other."""
    return frozenset(rules.environment for rules in demands.rules if rules.busy == "wait")
