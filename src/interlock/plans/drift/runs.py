"""The runs that heal: branches of the approved plan that brought what serves, one place after the other."""

from typing import Any

import msgspec
import structlog

from interlock.core.errors import InterlockError
from interlock.core.scope import Scope
from interlock.delivery.drift.comparison import PlaceDrift
from interlock.delivery.drift.observer import UnderWay
from interlock.delivery.drift.record import DriftRecord
from interlock.delivery.model import Deployment
from interlock.plans.blueprints.healing import DRIFT, SERVING
from interlock.plans.launching import HEAL, Launching, bound, environment_of, numbered
from interlock.plans.model import Plan, PlanContent
from interlock.plans.service import Plans
from interlock.runs.model import RUN_ENDED
from interlock.runs.service import Runs

log = structlog.get_logger(__name__)


class HealingRuns:
    """Begins them, and sees to it that their plans are again what they were. While one is under way its plan is ``running``, so
    that no other plan begins in the place."""

    def __init__(self, plans: Plans, runs: Runs, launching: Launching, record: DriftRecord) -> None:
        self._plans = plans
        self._runs = runs
        self._launching = launching
        self._record = record

    async def plan_for(self, scope: Scope, serving: Deployment) -> tuple[Plan, PlanContent] | None:
        """The plan that says how what serves is healed; None where it does not, or its approval does not hold."""
        try:
            plan, content = await self._plans.signed_content(scope, serving.plan_id)
        except InterlockError as error:
            log.warning("drift.no_plan", plan=serving.plan_id, error=str(error))
            return None
        says_how = content.release_id == serving.release_id and content.healing.branch(HEAL + serving.environment).tasks
        return (plan, content) if says_how else None

    async def begin(self, scope: Scope, place: PlaceDrift, serving: Deployment, approved: tuple[Plan, PlanContent]) -> None:
        """Heal the place, unless another one is being healed, or a plan is under way for it."""
        plan, content = approved
        if any(other.returns_to is not None for other in await self._plans.under_way(scope)):
            return
        branch = HEAL + place.environment
        roles = [run.role for run in await self._runs.listing(scope, plan_id=plan.plan_id, limit=1000)]
        earlier = sum(role.startswith(HEAL) and environment_of(role) == place.environment for role in roles)
        graph = bound(content.healing.branch(branch), await self._known(scope, place, serving, plan))
        if not await self._plans.begin_healing(scope, plan.plan_id, place.environment):
            return
        # Counted before it begins: what dies in between was an attempt too.
        at = self._record.now()
        await self._record.change(scope, place, lambda known: _attempted(known, at))
        run_id = await self._launching.submit(scope, plan, content, numbered(branch, earlier), graph)
        await self._record.change(scope, place, lambda known: msgspec.structs.replace(known, run_id=run_id))

    async def _known(self, scope: Scope, place: PlaceDrift, serving: Deployment, plan: Plan) -> dict[str, dict[str, Any]]:
        """What the branch refers to: the outputs of the main run, what serves, and what was seen of it."""
        main = await self._runs.get(scope, plan.run_id)
        outputs = {task_id: task.output for task_id, task in main.tasks.items()}
        seen = {name: [drift.what for drift in place.drifts if drift.kind == kind] for name, kind in _ACTED_ON}
        return outputs | {SERVING: {"deployment_id": serving.deployment_id}, DRIFT: seen}

    async def settle(self, scope: Scope) -> None:
        """Bring plans back that were left healing: the control plane died before the run began, or before its end was seen."""
        for plan in await self._plans.under_way(scope):
            if plan.returns_to is not None and not await self._is_under_way(scope, plan.plan_id):
                await self._plans.end_healing(scope, plan.plan_id)
        for place in await self._record.listing(scope):
            if place.run_id and (await self._runs.get(scope, place.run_id)).status in RUN_ENDED:
                await self._record.change(scope, place, _ended)

    async def _is_under_way(self, scope: Scope, plan_id: str) -> bool:
        runs = await self._runs.listing(scope, plan_id=plan_id, limit=1000)
        return any(run.role.startswith(HEAL) and run.status not in RUN_ENDED for run in runs)

    async def ended(self, scope: Scope, plan_id: str, role: str) -> PlaceDrift:
        """A run that healed is over; returns what is known of its place."""
        plan, _ = await self._plans.get(scope, plan_id)
        place = PlaceDrift(service=plan.service, environment=environment_of(role))
        after = await self._record.change(scope, place, _ended)
        await self._plans.end_healing(scope, plan_id)
        return after


_ACTED_ON = (("replaced", "replaced"), ("orphans", "orphan"))


async def under_way(plans: Plans, scope: Scope) -> UnderWay:
    """The places that plans change at this moment, and how the keys of what they start begin."""
    found = await plans.under_way(scope)
    places = frozenset((plan.service, environment) for plan in found for environment in plan.environments)
    return UnderWay(places=places, keys=tuple(plan.plan_id.replace("plan_", "run-") for plan in found))


def _attempted(place: PlaceDrift, at: str) -> PlaceDrift:
    return msgspec.structs.replace(place, attempts=(*place.attempts, at), told_to_heal=False)


def _ended(place: PlaceDrift) -> PlaceDrift:
    return msgspec.structs.replace(place, run_id="")
