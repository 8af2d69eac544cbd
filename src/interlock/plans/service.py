"""The use cases of plans: propose, show, approve, reject, run."""

from typing import Any

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, InterlockError, NotFound
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.plans import contracts, store
from interlock.plans.approval import ApprovalRules, decode
from interlock.plans.drills import WOULD_FAIL
from interlock.plans.estimates import durations
from interlock.plans.model import ENDED, UNDER_WAY, Plan, PlanContent, PlanState, may_become
from interlock.plans.proposing import Draft, Proposing
from interlock.plans.words.model import Question, Understood
from interlock.runs.service import Runs

LATEST = "latest"
"""Stands for the newest plan wherever a plan's id is taken from a caller."""

PREVIEW_FRESH_S = 5.0
"""A preview may rest on a repository fetched this long ago; a plan that is stored always looks anew."""


class Plans:
    """Everything a face may ask about plans."""

    def __init__(
        self,
        database: Database,
        events: Events,
        inbox: Inbox,
        runs: Runs,
        proposing: Proposing,
        rules: ApprovalRules,
        clock: Clock,
    ) -> None:
        self._database = database
        self._events = events
        self._inbox = inbox
        self._runs = runs
        self._proposing = proposing
        self._rules = rules
        self._clock = clock

    # --- propose ---

    async def propose(
        self,
        scope: Scope,
        text: str,
        *,
        environment: str | None = None,
        repository: str | None = None,
        reason: str = "",
        preview: bool = False,
    ) -> Draft | Question | Understood:
        """The plan for a sentence, stored and waiting for approval; with ``preview`` nothing is stored. ``reason`` is what the
        record will say of a rollback.

        A `Question` where the sentence is not clear or asks for what is not on offer; the `Understood` itself for a status,
        which needs no plan. Raises what makes the plan impossible; that is on the record too.
        """
        try:
            wish = await self._proposing.understand(
                scope, text, environment=environment, repository=repository, fresh_within_s=PREVIEW_FRESH_S if preview else 0.0
            )
            if isinstance(wish, Question) or wish.action == "status":
                return wish
            draft = await self._proposing.draft(scope, text, wish, await self._history(scope, wish.service or ""), reason)
        except InterlockError as error:
            if not preview:
                await self._record_refusal(scope, text, error)
            raise
        if not preview:
            await self._store(scope, draft)
        return draft

    async def _history(self, scope: Scope, service: str) -> dict[str, float]:
        """Seconds that the tasks of the service's last successful plan took."""
        async with self._database.read(scope) as connection:
            recent = await store.page(connection, service=service, state="succeeded", before=None, limit=1)
        if not recent or not recent[0][1].run_id:
            return {}
        return durations(await self._runs.get(scope, recent[0][1].run_id))

    async def _store(self, scope: Scope, draft: Draft) -> None:
        plan = draft.plan
        async with self._database.write(scope) as session:
            await store.add(session.connection, plan, draft.content.encoded())
            names = ("plan_id", "content_hash", "action", "service", "text", "environments")
            data = contracts.PlanProposed(**{name: getattr(plan, name) for name in names})
            await self._events.publish(session, data, subject=f"plan:{plan.plan_id}")
            title = f"approve: {plan.text}"
            details = {"plan_id": plan.plan_id, "content_hash": plan.content_hash}
            await self._inbox.ask(session, "approval", f"plan:{plan.plan_id}", title, (), details)

    async def _record_refusal(self, scope: Scope, text: str, error: InterlockError) -> None:
        async with self._database.write(scope) as session:
            details = {**error.details, "hint": error.hint} if error.code == WOULD_FAIL else None
            data = contracts.PlanRefused(text=text[:500], code=error.code, message=error.message, details=details)
            await self._events.publish(session, data, subject="plan:refused")

    # --- look ---

    async def get(self, scope: Scope, plan_id: str) -> tuple[Plan, PlanContent]:
        """A plan and its content; the id may be `LATEST`. Raises NotFound ``plan``, Internal ``plan_content``."""
        stored = await self._stored(scope, await self._resolved(scope, plan_id))
        return self._as_of_now(stored.plan), decode(stored.content)

    async def raw_content(self, scope: Scope, plan_id: str) -> bytes:
        """The bytes of the content as they are stored; the id may be `LATEST`. Raises NotFound ``plan``."""
        return (await self._stored(scope, await self._resolved(scope, plan_id))).content

    async def listing(
        self, scope: Scope, *, service: str | None = None, state: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[tuple[int, Plan]]:
        """Plans with their numbers, newest first; ``before`` is the number of the last one of the page before."""
        async with self._database.read(scope) as connection:
            page = await store.page(connection, service=service, state=state, before=before, limit=limit)
        return [(number, self._as_of_now(plan)) for number, plan in page]

    def _as_of_now(self, plan: Plan) -> Plan:
        return msgspec.structs.replace(plan, state="expired") if self._rules.is_expired(plan) else plan

    # --- decide ---

    async def approve(self, scope: Scope, plan_id: str, content_hash: str) -> Plan:
        """Approve exactly the content with this hash; the run follows by itself.

        Raises Conflict ``plan_altered``, ``plan_state``, ``plan_expired``, ``environment_changed``, ``tag_moved``,
        ``quarantined``, ``rollback_target_missing`` or ``busy``. A refusal is on the record.
        """
        plan_id = await self._resolved(scope, plan_id)
        try:
            return await self._approve(scope, plan_id, content_hash)
        except InterlockError as error:
            await self._record_refusal(scope, f"approve {plan_id}", error)
            raise

    async def _approve(self, scope: Scope, plan_id: str, content_hash: str) -> Plan:
        stored = await self._stored(scope, plan_id)
        self._rules.check_unaltered(stored.plan, stored.content, content_hash)
        self._rules.check_open(stored.plan)
        warnings = await self._rules.check_world(scope, decode(stored.content))
        async with self._database.write(scope) as session:
            # Read again inside the turn: somebody else may have decided meanwhile, and only one decision counts.
            stored = await self._stored_in(session, plan_id)
            self._rules.check_unaltered(stored.plan, stored.content, content_hash)
            self._rules.check_open(stored.plan)
            await self._check_not_busy(session, stored.plan)
            approval = self._rules.sign(scope, stored.plan, to_text(self._clock.now()))
            findings = (*stored.plan.findings, *warnings)
            plan = msgspec.structs.replace(stored.plan, state="approved", approval=approval, findings=findings)
            await store.save(session.connection, plan)
            data = contracts.PlanApproved(plan_id=plan_id, content_hash=content_hash, signature=approval.signature)
            await self._events.publish(session, data, subject=f"plan:{plan_id}")
            await self._inbox.withdraw(session, f"plan:{plan_id}", f"approved by {scope.principal}")
            await self._supersede_others(session, plan)
        return plan

    async def _check_not_busy(self, session: Session, plan: Plan) -> None:
        for other in await store.in_states(session.connection, plan.service, sorted(UNDER_WAY)):
            if set(other.environments) & set(plan.environments):
                message = f"{other.plan_id} ({other.text}) is under way for {plan.service}"
                raise Conflict("busy", message, where=plan.plan_id, hint="wait for its end, or cancel its run")

    async def _supersede_others(self, session: Session, plan: Plan) -> None:
        if plan.action == "drill":
            # It changes nothing that another plan was made against.
            return
        for other in await store.in_states(session.connection, plan.service, ["pending_approval"]):
            if other.plan_id != plan.plan_id and set(other.environments) & set(plan.environments):
                await self._move(session, other, "superseded", f"{plan.plan_id} was approved for the same place")
                await self._inbox.withdraw(session, f"plan:{other.plan_id}", f"{plan.plan_id} was approved instead")

    async def reject(self, scope: Scope, plan_id: str, reason: str) -> Plan:
        """Turn a plan down. Raises NotFound, Conflict ``plan_state``."""
        plan_id = await self._resolved(scope, plan_id)
        async with self._database.write(scope) as session:
            stored = await self._stored_in(session, plan_id)
            self._rules.check_open(stored.plan)
            plan = msgspec.structs.replace(stored.plan, state="rejected", reason=reason)
            await store.save(session.connection, plan)
            data = contracts.PlanRejected(plan_id=plan_id, reason=reason)
            await self._events.publish(session, data, subject=f"plan:{plan_id}")
            await self._inbox.withdraw(session, f"plan:{plan_id}", f"rejected by {scope.principal}")
        return plan

    async def expire_overdue(self, scope: Scope) -> int:
        """Take plans that waited too long to ``expired``; returns how many."""
        async with self._database.write(scope) as session:
            pending = await store.in_states(session.connection, None, ["pending_approval"])
            overdue = [plan for plan in pending if self._rules.is_expired(plan)]
            for plan in overdue:
                await self._move(session, plan, "expired", "nobody decided in time")
                await self._inbox.withdraw(session, f"plan:{plan.plan_id}", "the plan has expired")
        return len(overdue)

    # --- what happens to an approved plan ---

    async def approved_content(self, scope: Scope, plan_id: str) -> tuple[Plan, PlanContent]:
        """A plan whose approval holds, with the content that may run. Raises Conflict ``plan_altered``, ``approval_forged``."""
        stored = await self._stored(scope, plan_id)
        return stored.plan, self._rules.check_approved(scope, stored.plan, stored.content)

    async def move(self, scope: Scope, plan_id: str, state: PlanState, reason: str = "", **fields: Any) -> None:
        """Take a plan to ``state`` where its rules allow it; a step that comes twice or too late changes nothing."""
        async with self._database.write(scope) as session:
            stored = await self._stored_in(session, plan_id)
            if may_become(stored.plan.state, state):
                await self._move(session, msgspec.structs.replace(stored.plan, **fields), state, reason)

    async def reopen(self, scope: Scope, plan_id: str, environment: str) -> bool:
        """Take a plan that has ended to ``running`` for its way back in ``environment``; False, and nothing done, while another
        plan is under way for the same place."""
        async with self._database.write(scope) as session:
            plan = (await self._stored_in(session, plan_id)).plan
            for other in await store.in_states(session.connection, plan.service, sorted(UNDER_WAY)):
                if other.plan_id != plan_id and environment in other.environments:
                    return False
            if plan.state in ENDED:
                await self._move(session, plan, "running", f"{environment} is brought back")
        return True

    async def _move(self, session: Session, plan: Plan, state: PlanState, reason: str) -> None:
        await store.save(session.connection, msgspec.structs.replace(plan, state=state, reason=reason))
        data = contracts.PlanChanged(plan_id=plan.plan_id, state=state, reason=reason)
        await self._events.publish(session, data, subject=f"plan:{plan.plan_id}")

    async def _resolved(self, scope: Scope, plan_id: str) -> str:
        """The id itself, or that of the newest plan for `LATEST`: the content hash still says which plan was meant."""
        if plan_id != LATEST:
            return plan_id
        newest = await self.listing(scope, limit=1)
        if not newest:
            raise NotFound("plan", "there is no plan yet", hint='make one: interlock plan "…"')
        return newest[0][1].plan_id

    async def _stored(self, scope: Scope, plan_id: str) -> store.Stored:
        async with self._database.read(scope) as connection:
            return _found(await store.get(connection, plan_id), plan_id)

    async def _stored_in(self, session: Session, plan_id: str) -> store.Stored:
        return _found(await store.get(session.connection, plan_id), plan_id)


def _found(stored: store.Stored | None, plan_id: str) -> store.Stored:
    if stored is None:
        raise NotFound("plan", f"there is no plan {plan_id}", hint="see: interlock plans")
    return stored
