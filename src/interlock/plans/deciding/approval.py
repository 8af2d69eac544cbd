"""Whether a plan may be approved, and may run: it must be what was seen, and the world what it was made against."""

from collections.abc import Sequence

import msgspec

from interlock.core.clock import Clock, from_text, to_text
from interlock.core.errors import Conflict, InterlockError, Internal
from interlock.core.scope import Scope
from interlock.core.signing import Signer
from interlock.db.session import Session
from interlock.delivery.environments import UNRULED, Environments
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.service import Delivery
from interlock.delivery.steps.promoting import Promoting
from interlock.plans.deciding.demands import Demands, demands_of
from interlock.plans.drills import DrillRules
from interlock.plans.model import Approval, Plan, PlanContent, approval_message, is_altered
from interlock.sources.model import Finding
from interlock.sources.service import Sources
from interlock.tenancy.service import Tenancy

SOURCE_ACTIONS = frozenset({"deploy", "build", "test"})


class ApprovalRules:
    """The checks at approval, and again before the run."""

    def __init__(
        self,
        sources: Sources,
        delivery: Delivery,
        incidents: Incidents,
        environments: Environments,
        tenancy: Tenancy,
        signer: Signer,
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._environments = environments
        self._tenancy = tenancy
        self._delivery = delivery
        self._incidents = incidents
        self._signer = signer
        self._clock = clock
        self._promoting = Promoting(delivery, incidents)
        self._drills = DrillRules(delivery, incidents)

    async def demands(self, scope: Scope, plan: Plan) -> Demands:
        """What the plan's environments ask of it by the rules and the people of this moment."""
        return (await self.demands_for(scope, (plan,)))[0]

    async def demands_for(self, scope: Scope, plans: Sequence[Plan]) -> list[Demands]:
        """`demands` of each of several plans, looked up once."""
        names = list(dict.fromkeys(name for plan in plans for name in plan.environments))
        known = {rules.environment: rules for rules in await self._environments.rules(scope, names)}
        users, now = await self._tenancy.users(scope), self._clock.now()
        return [demands_of(plan, [known[name] for name in plan.environments] or [UNRULED], users, now) for plan in plans]

    async def demands_in(self, session: Session, plan: Plan) -> Demands:
        """The same as it stands inside of a transaction."""
        rules = await self._environments.rules_in(session, plan.environments) or [UNRULED]
        return demands_of(plan, rules, await self._tenancy.users_in(session), self._clock.now())

    def sign(self, scope: Scope, plan: Plan, *, override: str = "", when_open: bool = False) -> Approval:
        """The approval of the plan's hash by whoever asks."""
        approval = Approval(
            by=scope.principal,
            at=to_text(self._clock.now()),
            content_hash=plan.content_hash,
            signature="",
            override=override,
            when_open=when_open,
        )
        signature = self._signer.sign(scope.tenant, approval_message(plan.plan_id, approval))
        return msgspec.structs.replace(approval, signature=signature)

    def check_unaltered(self, plan: Plan, content: bytes, seen_hash: str) -> None:
        """Raises Conflict ``plan_altered`` unless the stored content, its hash and what the approver saw are one."""
        if is_altered(content, plan.content_hash):
            raise _altered(plan, "its stored content is not what was hashed when it was made")
        if seen_hash != plan.content_hash:
            raise _altered(plan, f"what was approved has the hash {seen_hash}, the plan has {plan.content_hash}")

    def check_signed(self, scope: Scope, plan: Plan, content: bytes) -> PlanContent:
        """The content that may run. Raises Conflict unless it is byte for byte what every signed approval is about."""
        if not plan.approvals:
            raise Conflict("not_approved", f"{plan.plan_id} is not approved", hint=f"interlock approve {plan.plan_id}")
        for approval in plan.approvals:
            self.check_unaltered(plan, content, approval.content_hash)
            if not self._signer.verify(scope.tenant, approval_message(plan.plan_id, approval), approval.signature):
                message = f"the approval of {plan.plan_id} by {approval.by} is not signed by this tenant"
                raise Conflict("approval_forged", message)
        return decode(content)

    async def check_approved(self, scope: Scope, plan: Plan, content: bytes) -> tuple[PlanContent, Demands]:
        """`check_signed`, and the approvals are enough by the rules and the people of this moment, which are returned too.
        Raises Conflict ``approvals_missing`` where they were tightened, or somebody is gone, since it was approved."""
        found = self.check_signed(scope, plan, content)
        demands = await self.demands(scope, plan)
        if missing := demands.missing(plan.approvals):
            message = f"the approvals of {plan.plan_id} are not enough any more: {missing}"
            raise Conflict("approvals_missing", message, where=plan.plan_id, hint="make a new plan")
        return found, demands

    def check_open(self, plan: Plan) -> None:
        """Raises Conflict ``plan_state`` or ``plan_expired`` unless the plan waits for approval."""
        if plan.state != "pending_approval":
            names = " and ".join(approval.by for approval in plan.approvals)
            by = f", approved by {names}" if names else ""
            reason = f": {plan.reason}" if plan.reason else ""
            message = f"{plan.plan_id} is not open any more: {plan.state.replace('_', ' ')}{by}{reason}"
            raise Conflict("plan_state", message, where=plan.plan_id, hint="make a new plan")
        if self.is_expired(plan):
            raise Conflict("plan_expired", f"{plan.plan_id} expired at {plan.expires_at}", hint="make a new plan")

    def is_expired(self, plan: Plan) -> bool:
        return plan.state == "pending_approval" and self._clock.now() >= from_text(plan.expires_at)

    async def check_world(self, scope: Scope, content: PlanContent, *, is_in_flux: bool = False) -> tuple[Finding, ...]:
        """Raises Conflict where the world is not what the plan was made against; returns what is worth a warning. While another
        plan changes it (``is_in_flux``), what serves is not compared: that is done when it has ended."""
        for pin in () if is_in_flux else content.pins:
            serving = await self._delivery.serving(scope, content.service, pin.environment)
            if (serving.deployment_id if serving else "") != pin.deployment_id:
                now = serving.version if serving else "nothing"
                message = f"{now} serves in {pin.environment} by now, the plan was made against {pin.version or 'nothing'}"
                raise Conflict("environment_changed", message, where=content.plan_id, hint="make a new plan")
            if pin.release_id:
                await self._check_way_back(scope, content, pin.release_id)
        if content.source is not None:
            source = content.source
            await self._promoting.check(scope, content.service, source.environment, source.release_id)
        if content.action == "drill":
            release = await self._delivery.release(scope, content.release_id)
            await self._drills.check(scope, release, content.environments[0], content.pins[0].version)
        if content.action in {"rollback", "restart", "promote"}:
            await self._delivery.check_intact(await self._delivery.release(scope, content.release_id))
        if content.action in {"deploy", "rollback", "promote"}:
            await self._incidents.check_not_quarantined(scope, content.service, content.content)
        return await self._check_ref(scope, content) if content.action in SOURCE_ACTIONS else ()

    async def _check_way_back(self, scope: Scope, content: PlanContent, release_id: str) -> None:
        try:
            await self._delivery.check_intact(await self._delivery.release(scope, release_id))
        except InterlockError as error:
            if error.kind == "unavailable":
                # Whoever cannot be asked now has not said that it is gone.
                raise
            message = f"the release to go back to is gone: {error.message}"
            raise Conflict("rollback_target_missing", message, where=content.plan_id, hint=error.hint) from error

    async def _check_ref(self, scope: Scope, content: PlanContent) -> tuple[Finding, ...]:
        await self._sources.sync(scope, content.repository)
        now = await self._sources.resolve(scope, content.repository, content.ref_name)
        if now.commit == content.commit:
            return ()
        if content.ref_kind != "branch":
            message = f"{content.ref_name} was moved from {content.commit[:12]} to {now.commit[:12]} since the plan was made"
            raise Conflict("tag_moved", message, where=content.plan_id, hint="find out who moved it, then make a new plan")
        message = f"{content.ref_name} has advanced to {now.commit[:12]}; the plan stays at {content.commit[:12]}, as approved"
        return (Finding(severity="warning", code="branch_advanced", message=message, where=content.ref_name),)


def decode(content: bytes) -> PlanContent:
    """The content as values. Raises Internal ``plan_content`` where the bytes are no plan of this format."""
    try:
        return msgspec.json.decode(content, type=PlanContent)
    except msgspec.MsgspecError as error:
        raise Internal("plan_content", f"the plan cannot be read: {error}") from error


def _altered(plan: Plan, message: str) -> Conflict:
    return Conflict(
        "plan_altered",
        f"{plan.plan_id} was altered: {message}",
        where=plan.plan_id,
        hint="make a new plan and look at it again",
    )
