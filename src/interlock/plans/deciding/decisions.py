"""Deciding about a plan: whose approvals make it run, when, and who may turn it down."""

import msgspec

from interlock.core.errors import Conflict, InterlockError
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.plans import contracts, store
from interlock.plans.deciding.approval import ApprovalRules, decode
from interlock.plans.deciding.demands import Demands, is_overridden, wants_to_wait
from interlock.plans.deciding.queue import line_for, queues_of, waits_for
from interlock.plans.model import APPROVED, Approval, Plan
from interlock.plans.shelf import Shelf
from interlock.sources.model import Finding
from interlock.tenancy.model import check_owner, name_of


class Deciding:
    """Approvals and rejections. A refusal is on the record."""

    def __init__(self, database: Database, events: Events, inbox: Inbox, shelf: Shelf, rules: ApprovalRules) -> None:
        self._database = database
        self._events = events
        self._inbox = inbox
        self._shelf = shelf
        self._rules = rules

    async def approve(
        self, scope: Scope, plan_id: str, content_hash: str, *, override: str = "", when_open: bool = False
    ) -> Plan:
        """See `Plans.approve`."""
        try:
            if override:
                check_owner(scope, "override windows and freezes")
            stored = await self._shelf.stored(scope, plan_id)
            demands = await self._check(scope, stored, content_hash)
            demands.check_may_approve(scope.principal)
            approval = self._rules.sign(scope, stored.plan, override=override, when_open=when_open)
            in_flux = await self._is_in_flux(scope, _with(stored.plan, approval, ()), demands)
            warnings = await self._rules.check_world(scope, decode(stored.content), is_in_flux=in_flux)
            async with self._database.write(scope) as session:
                # Read again inside the turn: somebody else may have decided meanwhile, and only one decision counts.
                plan = (await self._shelf.stored_in(session, plan_id)).plan
                self._rules.check_unaltered(plan, stored.content, content_hash)
                self._rules.check_open(plan)
                return await self._add(session, _with(plan, approval, warnings), approval, in_flux=in_flux)
        except InterlockError as error:
            await self._shelf.record_refusal(scope, f"approve {plan_id}", error)
            raise

    async def _check(self, scope: Scope, stored: store.Stored, content_hash: str) -> Demands:
        self._rules.check_unaltered(stored.plan, stored.content, content_hash)
        self._rules.check_open(stored.plan)
        return await self._rules.demands(scope, stored.plan)

    async def _is_in_flux(self, scope: Scope, plan: Plan, demands: Demands) -> bool:
        """Whether another plan changes the places of this one now, so that it will have to wait. Raises Conflict ``busy`` where
        no further approval is needed."""
        async with self._database.read(scope) as connection:
            others = await store.in_states(connection, plan.service, sorted(APPROVED))
        try:
            return bool(line_for(plan, others, demands))
        except Conflict:
            if demands.missing(plan.approvals):
                return True
            raise

    async def _add(self, session: Session, plan: Plan, approval: Approval, *, in_flux: bool) -> Plan:
        """Keep the approval; with the last one the plan is approved, and starts or waits."""
        demands = await self._rules.demands_in(session, plan)
        demands.check_may_approve(session.scope.principal)
        if missing := demands.missing(plan.approvals):
            return await self._sign(session, plan, approval, missing)
        closed = None if is_overridden(plan.approvals) else demands.closed()
        if closed is not None and not wants_to_wait(plan.approvals):
            raise closed
        others = await store.in_states(session.connection, plan.service, sorted(APPROVED))
        ahead = line_for(plan, others, demands)
        if closed is not None:
            plan = msgspec.structs.replace(plan, waits="window", reason=closed.message)
        elif ahead or in_flux:
            # In flux a moment ago: the queue looks at the world once more before it starts.
            plan = msgspec.structs.replace(plan, waits="turn", reason=waits_for(ahead) if ahead else "waits for its turn")
        return await self._approved(session, msgspec.structs.replace(plan, state="approved"), approval, demands)

    async def _sign(self, session: Session, plan: Plan, approval: Approval, missing: str) -> Plan:
        await store.save(session.connection, plan)
        data = contracts.PlanSigned(plan_id=plan.plan_id, missing=missing, **_said(approval))
        await self._events.publish(session, data, subject=f"plan:{plan.plan_id}")
        await self._inbox.amend(session, f"plan:{plan.plan_id}", {"missing": missing})
        return plan

    async def _approved(self, session: Session, plan: Plan, approval: Approval, demands: Demands) -> Plan:
        await store.save(session.connection, plan)
        data = contracts.PlanApproved(plan_id=plan.plan_id, waits=plan.reason if plan.waits else "", **_said(approval))
        await self._events.publish(session, data, subject=f"plan:{plan.plan_id}")
        names = " and ".join(item.by for item in plan.approvals)
        await self._inbox.withdraw(session, f"plan:{plan.plan_id}", f"approved by {names}")
        if not plan.waits:
            await self._shelf.supersede_others(session, plan, queues_of(demands))
        return plan

    async def reject(self, scope: Scope, plan_id: str, reason: str) -> Plan:
        """See `Plans.reject`."""
        try:
            async with self._database.write(scope) as session:
                plan = (await self._shelf.stored_in(session, plan_id)).plan
                if not (plan.state == "approved" and plan.waits):
                    self._rules.check_open(plan)
                (await self._rules.demands_in(session, plan)).check_may_reject(scope.principal)
                plan = msgspec.structs.replace(plan, state="rejected", reason=reason, waits="")
                await store.save(session.connection, plan)
                data = contracts.PlanRejected(plan_id=plan_id, reason=reason)
                await self._events.publish(session, data, subject=f"plan:{plan_id}")
                await self._inbox.withdraw(session, f"plan:{plan_id}", f"rejected by {scope.principal}")
        except InterlockError as error:
            await self._shelf.record_refusal(scope, f"reject {plan_id}", error)
            raise
        return plan


def _with(plan: Plan, approval: Approval, warnings: tuple[Finding, ...]) -> Plan:
    """The plan with one more approval; that of somebody who approves again takes the place of the one before."""
    others = tuple(item for item in plan.approvals if name_of(item.by) != name_of(approval.by))
    findings = (*plan.findings, *(finding for finding in warnings if finding not in plan.findings))
    return msgspec.structs.replace(plan, approvals=(*others, approval), findings=findings)


def _said(approval: Approval) -> dict[str, str]:
    return {name: getattr(approval, name) for name in ("content_hash", "signature", "override")}
