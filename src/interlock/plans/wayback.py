"""The way back after a run: what the standing watch finds starts the rollback that was approved with the plan, or proposes it.

A place is changed by one plan at a time. While another plan is under way for it, a rollback waits for that plan's end; if what
serves is another deployment then, there is nothing left to bring back.
"""

from interlock.core.errors import InterlockError
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Deployment, Incident
from interlock.delivery.service import Delivery
from interlock.events.model import Envelope
from interlock.inbox.service import Inbox
from interlock.plans.launching import ROLLBACK, Launching, bound, environment_of, numbered
from interlock.plans.model import ENDED, PlanContent
from interlock.plans.service import Plans
from interlock.runs.model import RUN_ENDED, RunStatus
from interlock.runs.service import Runs

ROLL_BACK = "roll back"
TAKE_OUT = "take it out"
LEAVE = "leave it"
SUBJECT = "rollback:"


class WayBack:
    """Idempotent reactions; `bootstrap` subscribes them."""

    def __init__(
        self,
        database: Database,
        plans: Plans,
        runs: Runs,
        launching: Launching,
        delivery: Delivery,
        incidents: Incidents,
        inbox: Inbox,
    ) -> None:
        self._database = database
        self._plans = plans
        self._runs = runs
        self._launching = launching
        self._delivery = delivery
        self._incidents = incidents
        self._inbox = inbox

    async def incident_opened(self, scope: Scope, event: Envelope) -> None:
        """``incident.opened`` by the standing watch: roll back as the approved plan says, or propose it."""
        if event.data["found_by"] == "watch":
            await self._act(scope, await self._incidents.get(scope, event.data["incident_id"]))

    async def plan_changed(self, scope: Scope, event: Envelope) -> None:
        """``plan.changed``: with the end of a plan its places are free, for what had to wait for it."""
        if event.data["state"] not in ENDED:
            return
        plan, _ = await self._plans.get(scope, event.data["plan_id"])
        for environment in plan.environments:
            serving = await self._delivery.serving(scope, plan.service, environment)
            incident = await self._incidents.open_for(scope, serving.deployment_id) if serving else None
            if incident is not None and incident.found_by == "watch":
                await self._act(scope, incident)

    async def incident_resolved(self, scope: Scope, event: Envelope) -> None:
        """``incident.resolved``: what was asked about it needs no answer any more."""
        incident_id = event.data["incident_id"]
        async with self._database.write(scope) as session:
            for subject in (SUBJECT + incident_id, f"incident:{incident_id}"):
                await self._inbox.withdraw(session, subject, event.data["how"])

    async def item_answered(self, scope: Scope, event: Envelope) -> None:
        """``inbox.answered``: a proposed rollback was decided."""
        if event.subject.startswith(SUBJECT) and event.data["answer"] in {ROLL_BACK, TAKE_OUT}:
            incident = await self._incidents.get(scope, event.subject.removeprefix(SUBJECT))
            await self._bring_back(scope, incident, event.data["item_id"])

    async def _act(self, scope: Scope, incident: Incident) -> None:
        deployment = await self._delivery.deployment(scope, incident.deployment_id)
        _, content = await self._plans.get(scope, deployment.plan_id)
        has_target = any(pin.environment == incident.environment and pin.release_id for pin in content.pins)
        if content.recipe.rollback == "automatic" and has_target:
            await self._bring_back(scope, incident, incident.incident_id)
        elif await self._serves(scope, deployment):
            await self._propose(scope, incident, content, has_target=has_target)

    async def _propose(self, scope: Scope, incident: Incident, content: PlanContent, *, has_target: bool) -> None:
        # Without anything to go back to, an outage may be worse than what was seen: that is for a person to weigh.
        way = "roll {} back in {}" if has_target else "take {} out of {}"
        title = f"{way.format(content.service, incident.environment)}? {incident.title}"
        options = (ROLL_BACK if has_target else TAKE_OUT, LEAVE)
        details = {"incident_id": incident.incident_id, "plan_id": content.plan_id}
        async with self._database.write(scope) as session:
            await self._inbox.ask(session, "proposal", SUBJECT + incident.incident_id, title, options, details)

    async def _serves(self, scope: Scope, deployment: Deployment) -> bool:
        serving = await self._delivery.serving(scope, deployment.service, deployment.environment)
        return serving is not None and serving.deployment_id == deployment.deployment_id

    async def _bring_back(self, scope: Scope, incident: Incident, asked_by: str) -> None:
        """Once for the incident itself, and once for each answer of a person, as ``asked_by`` names them: what did not help is
        not tried for ever."""
        deployment = await self._delivery.deployment(scope, incident.deployment_id)
        if incident.state == "resolved" or not await self._serves(scope, deployment):
            return
        try:
            await self._start(scope, incident, deployment, asked_by)
        except InterlockError as error:
            if error.kind == "unavailable":
                raise
            title = f"the rollback of {incident.service} in {incident.environment} cannot begin: {error.message}"
            asks = f"{title}. {incident.service} needs a person now."
            evidence = {"rollback_error": error.as_dict()}
            await self._incidents.open(scope, deployment, title, evidence, severity="critical", asks=asks)

    async def _start(self, scope: Scope, incident: Incident, deployment: Deployment, asked_by: str) -> None:
        """Run the plan's own way back: approved with it, so nothing new needs approval."""
        plan, content = await self._plans.signed_content(scope, deployment.plan_id)
        branch = ROLLBACK + deployment.environment
        runs = await self._runs.listing(scope, plan_id=plan.plan_id, limit=1000)
        earlier = [run for run in runs if run.role.startswith(ROLLBACK) and environment_of(run.role) == deployment.environment]
        role = dict(incident.ways_back).get(asked_by, numbered(branch, len(earlier)))
        if any(run.role == role or run.status not in RUN_ENDED for run in earlier):
            # Tried, and made loud where that did not help; or still under way, and its end brings this here again.
            return
        main = await self._runs.get(scope, plan.run_id)
        if main.status not in RUN_ENDED:
            # One run of a plan at a time; its end brings this here again. What turned bad is not carried further meanwhile, and
            # no pause keeps it where it is.
            if len(content.environments) > 1 or main.status is not RunStatus.RUNNING:
                await self._runs.cancel(scope, plan.run_id, f"{deployment.version} turned bad in {deployment.environment}")
            return
        if not await self._plans.reopen(scope, plan.plan_id, deployment.environment):
            await self._end_drills(scope, deployment)
            return
        outputs = {task_id: task.output for task_id, task in main.tasks.items()}
        # What has to go is what serves now: after an earlier way back that is not what the plan itself had started.
        start = f"start-{deployment.environment}"
        outputs[start] = outputs.get(start, {}) | {"deployment_id": deployment.deployment_id}
        # On record before it begins: what dies in between goes on in the same role.
        await self._incidents.bring_back(scope, incident.incident_id, asked_by, role)
        await self._launching.submit(scope, plan, content, role, bound(content.graph.branch(branch), outputs))

    async def _end_drills(self, scope: Scope, deployment: Deployment) -> None:
        """A way back waits for a deployment, but not for a drill; the end of that brings this here again."""
        for _, plan in await self._plans.listing(scope, service=deployment.service, state="running"):
            if plan.action == "drill" and deployment.environment in plan.environments:
                await self._runs.cancel(scope, plan.run_id, f"{deployment.version} has to be rolled back")
