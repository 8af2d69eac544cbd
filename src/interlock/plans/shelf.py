"""The stored plans and the steps of their states, for everything in this slice that changes them."""

from collections.abc import Callable

import msgspec

from interlock.core.errors import InterlockError, NotFound
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.plans import contracts, store
from interlock.plans.drills import WOULD_FAIL
from interlock.plans.model import ENDED, Plan, PlanState, same_places

LATEST = "latest"
"""Stands for the newest plan wherever a plan's id is taken from a caller."""


class Shelf:
    """Reads and moves plans; whether a step is right is for the caller to know."""

    def __init__(self, database: Database, events: Events, inbox: Inbox) -> None:
        self._database = database
        self._events = events
        self._inbox = inbox
        self._when_ended: Callable[[], None] = lambda: None

    def when_ended(self, call: Callable[[], None]) -> None:
        """Have ``call`` called after each commit with which a plan ends."""
        self._when_ended = call

    async def resolved(self, scope: Scope, plan_id: str) -> str:
        """The id itself, or that of the newest plan for `LATEST`: the content hash still says which plan was meant."""
        if plan_id != LATEST:
            return plan_id
        async with self._database.read(scope) as connection:
            newest = await store.page(connection, service=None, state=None, before=None, limit=1)
        if not newest:
            raise NotFound("plan", "there is no plan yet", hint='make one: interlock plan "…"')
        return newest[0][1].plan_id

    async def stored(self, scope: Scope, plan_id: str) -> store.Stored:
        """Raises NotFound ``plan``."""
        async with self._database.read(scope) as connection:
            return _found(await store.get(connection, plan_id), plan_id)

    async def stored_in(self, session: Session, plan_id: str) -> store.Stored:
        """The same inside of a transaction."""
        return _found(await store.get(session.connection, plan_id), plan_id)

    async def move(self, session: Session, plan: Plan, state: PlanState, reason: str) -> None:
        """Take a plan to ``state``."""
        await store.save(session.connection, msgspec.structs.replace(plan, state=state, reason=reason))
        data = contracts.PlanChanged(plan_id=plan.plan_id, state=state, reason=reason)
        await self._events.publish(session, data, subject=f"plan:{plan.plan_id}")
        if state in ENDED:
            session.after_commit(self._when_ended)

    async def supersede_others(self, session: Session, plan: Plan, queues: frozenset[str]) -> None:
        """Take away what waits for approval for the places that ``plan`` changes now, but where plans may queue up
        (``queues``: the environments)."""
        if plan.action == "drill":
            # It changes nothing that another plan was made against.
            return
        for other in await store.in_states(session.connection, plan.service, ["pending_approval"]):
            if other.plan_id != plan.plan_id and set(same_places(plan, other)) - queues:
                await self.move(session, other, "superseded", f"{plan.plan_id} was approved for the same place")
                await self._inbox.withdraw(session, f"plan:{other.plan_id}", f"{plan.plan_id} was approved instead")

    async def record_refusal(self, scope: Scope, text: str, error: InterlockError) -> None:
        """Put on the record that something was asked for and refused."""
        async with self._database.write(scope) as session:
            details = {**error.details, "hint": error.hint} if error.code == WOULD_FAIL else None
            data = contracts.PlanRefused(text=text[:500], code=error.code, message=error.message, details=details)
            await self._events.publish(session, data, subject="plan:refused")


def _found(stored: store.Stored | None, plan_id: str) -> store.Stored:
    if stored is None:
        raise NotFound("plan", f"there is no plan {plan_id}", hint="see: interlock plans")
    return stored
