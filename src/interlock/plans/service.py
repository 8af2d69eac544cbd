"""The use cases of plans: propose, show, approve, reject, run."""

from collections.abc import Sequence
from typing import Any

import msgspec

from interlock.core.errors import InterlockError
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.plans import contracts, store
from interlock.plans.deciding.approval import ApprovalRules, decode
from interlock.plans.deciding.decisions import Deciding
from interlock.plans.deciding.demands import Demands
from interlock.plans.drafting.estimates import durations
from interlock.plans.drafting.proposing import Draft, Proposing
from interlock.plans.model import APPROVED, ENDED, Plan, PlanContent, PlanState, is_under_way, may_become
from interlock.plans.report import RunReport, report_of
from interlock.plans.shelf import Shelf
from interlock.plans.words.model import Question, Understood
from interlock.runs.service import Runs

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
        shelf: Shelf,
    ) -> None:
        self._database = database
        self._events = events
        self._inbox = inbox
        self._runs = runs
        self._proposing = proposing
        self._rules = rules
        self._shelf = shelf
        self._deciding = Deciding(database, events, inbox, shelf, rules)

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
                await self._shelf.record_refusal(scope, text, error)
            raise
        if not preview:
            await self._store(scope, draft)
        return msgspec.structs.replace(draft, plan=(await self._as_of_now(scope, [draft.plan]))[0])

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
            missing = (await self._rules.demands_in(session, plan)).missing(())
            details = {"plan_id": plan.plan_id, "content_hash": plan.content_hash, "missing": missing}
            await self._inbox.ask(session, "approval", f"plan:{plan.plan_id}", title, (), details)

    # --- look ---

    async def get(self, scope: Scope, plan_id: str) -> tuple[Plan, PlanContent]:
        """A plan and its content; the id may be `LATEST`. Raises NotFound ``plan``, Internal ``plan_content``."""
        stored = await self._shelf.stored(scope, await self._shelf.resolved(scope, plan_id))
        return (await self._as_of_now(scope, [stored.plan]))[0], decode(stored.content)

    async def raw_content(self, scope: Scope, plan_id: str) -> bytes:
        """The bytes of the content as they are stored; the id may be `LATEST`. Raises NotFound ``plan``."""
        return (await self._shelf.stored(scope, await self._shelf.resolved(scope, plan_id))).content

    async def report(self, scope: Scope, run_id: str) -> RunReport:
        """What a run was asked for, did, changed, failed at, took and left. Raises NotFound ``run``."""
        state, events = await self._runs.history(scope, run_id)
        plan, content = await self.get(scope, state.run.plan_id)
        return report_of(plan, content, state, events)

    async def listing(
        self, scope: Scope, *, service: str | None = None, state: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[tuple[int, Plan]]:
        """Plans with their numbers, newest first; ``before`` is the number of the last one of the page before."""
        async with self._database.read(scope) as connection:
            page = await store.page(connection, service=service, state=state, before=before, limit=limit)
        plans = await self._as_of_now(scope, [plan for _, plan in page])
        return [(number, plan) for (number, _), plan in zip(page, plans, strict=True)]

    async def _as_of_now(self, scope: Scope, plans: Sequence[Plan]) -> list[Plan]:
        """As they are seen at this moment: expired or not, and until they start, what the rules ask of them."""
        now = [msgspec.structs.replace(plan, state="expired") if self._rules.is_expired(plan) else plan for plan in plans]
        open_ones = [plan for plan in now if plan.state == "pending_approval" or plan.waits]
        demands = zip(open_ones, await self._rules.demands_for(scope, open_ones), strict=True) if open_ones else ()
        seen = {plan.plan_id: _with_demands(plan, found) for plan, found in demands}
        return [seen.get(plan.plan_id, plan) for plan in now]

    # --- decide ---

    async def approve(
        self, scope: Scope, plan_id: str, content_hash: str, *, override: str = "", when_open: bool = False
    ) -> Plan:
        """Approve exactly the content with this hash. With the last approval that its environments ask for, its run follows by
        itself: at once, or with ``when_open`` as soon as windows and freezes let it. ``override`` is the owner's reason to
        start it in spite of them.

        Raises Conflict ``plan_altered``, ``plan_state``, ``plan_expired``, ``environment_changed``, ``tag_moved``,
        ``quarantined``, ``rollback_target_missing``, ``busy``, ``window_closed`` or ``frozen``, Forbidden ``not_an_approver``,
        ``requester`` or ``owner_only``. A refusal is on the record.
        """
        plan_id = await self._shelf.resolved(scope, plan_id)
        plan = await self._deciding.approve(scope, plan_id, content_hash, override=override, when_open=when_open)
        return (await self._as_of_now(scope, [plan]))[0]

    async def reject(self, scope: Scope, plan_id: str, reason: str) -> Plan:
        """Turn a plan down, also one that is approved and still waits. Raises NotFound, Conflict ``plan_state``, Forbidden
        ``not_an_approver``."""
        return await self._deciding.reject(scope, await self._shelf.resolved(scope, plan_id), reason)

    async def amend_inbox(self, scope: Scope, environment: str | None = None) -> None:
        """Say anew what the plans for an environment, or all of them, still need: rules or people have changed."""
        async with self._database.write(scope) as session:
            for plan in await store.in_states(session.connection, None, ["pending_approval"]):
                if environment is None or environment in plan.environments:
                    missing = (await self._rules.demands_in(session, plan)).missing(plan.approvals)
                    await self._inbox.amend(session, f"plan:{plan.plan_id}", {"missing": missing})

    async def expire_overdue(self, scope: Scope) -> int:
        """Take plans that waited too long to ``expired``; returns how many."""
        async with self._database.write(scope) as session:
            pending = await store.in_states(session.connection, None, ["pending_approval"])
            overdue = [plan for plan in pending if self._rules.is_expired(plan)]
            for plan in overdue:
                await self._shelf.move(session, plan, "expired", "nobody decided in time")
                await self._inbox.withdraw(session, f"plan:{plan.plan_id}", "the plan has expired")
        return len(overdue)

    # --- what happens to an approved plan ---

    async def signed_content(self, scope: Scope, plan_id: str) -> tuple[Plan, PlanContent]:
        """A plan whose approvals hold, with its content, for its own way back: what was approved once is enough, whatever the
        rules say by now. Raises Conflict ``plan_altered``, ``approval_forged``."""
        stored = await self._shelf.stored(scope, plan_id)
        return stored.plan, self._rules.check_signed(scope, stored.plan, stored.content)

    async def move(self, scope: Scope, plan_id: str, state: PlanState, reason: str = "", **fields: Any) -> None:
        """Take a plan to ``state`` where its rules allow it; a step that comes twice or too late changes nothing."""
        async with self._database.write(scope) as session:
            stored = await self._shelf.stored_in(session, plan_id)
            if may_become(stored.plan.state, state):
                await self._shelf.move(session, msgspec.structs.replace(stored.plan, **fields), state, reason)

    async def under_way(self, scope: Scope) -> list[Plan]:
        """The plans that change their places now."""
        async with self._database.read(scope) as connection:
            return [plan for plan in await store.in_states(connection, None, sorted(APPROVED)) if is_under_way(plan)]

    async def begin_healing(self, scope: Scope, plan_id: str, environment: str) -> bool:
        """Take a plan that has ended to ``running`` while what it brought is healed in ``environment``; False, and nothing
        done, while another plan is under way for the same place."""
        async with self._database.write(scope) as session:
            plan = (await self._shelf.stored_in(session, plan_id)).plan
            others = await store.in_states(session.connection, plan.service, sorted(APPROVED))
            if plan.state not in ENDED or any(environment in other.environments and is_under_way(other) for other in others):
                return False
            healed = msgspec.structs.replace(plan, returns_to=plan.state)
            await self._shelf.move(session, healed, "running", f"what was changed from outside in {environment} is healed")
        return True

    async def end_healing(self, scope: Scope, plan_id: str) -> None:
        """Take a plan back to where it was before it healed; repeating changes nothing."""
        async with self._database.write(scope) as session:
            plan = (await self._shelf.stored_in(session, plan_id)).plan
            if plan.state == "running" and plan.returns_to is not None:
                ended = msgspec.structs.replace(plan, returns_to=None)
                await self._shelf.move(session, ended, plan.returns_to, "as before what was changed from outside was healed")

    async def reopen(self, scope: Scope, plan_id: str, environment: str) -> bool:
        """Take a plan that has ended to ``running`` for its way back in ``environment``; False, and nothing done, while another
        plan is under way for the same place, or what this one brought is being healed."""
        async with self._database.write(scope) as session:
            plan = (await self._shelf.stored_in(session, plan_id)).plan
            if plan.returns_to is not None:
                return False
            for other in await store.in_states(session.connection, plan.service, sorted(APPROVED)):
                if other.plan_id != plan_id and environment in other.environments and is_under_way(other):
                    return False
            if plan.state in ENDED:
                await self._shelf.move(session, plan, "running", f"{environment} is brought back")
        return True


def _with_demands(plan: Plan, demands: Demands) -> Plan:
    missing = demands.missing(plan.approvals) if plan.state == "pending_approval" else ""
    return msgspec.structs.replace(plan, terms=demands.terms(plan.approvals), missing=missing)
