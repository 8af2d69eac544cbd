"""What may go from one environment to the next: a release that serves and has proven itself there."""

from typing import Any

from interlock.core.errors import Conflict
from interlock.core.scope import Scope
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Deployment
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import ConfirmTask, read
from interlock.runs.ports import TaskContext


class Promoting:
    """``delivery.confirm``, and the rule that plans and approvals check beforehand."""

    def __init__(self, delivery: Delivery, incidents: Incidents) -> None:
        self._delivery = delivery
        self._incidents = incidents

    async def proven(self, scope: Scope, service: str, environment: str) -> Deployment:
        """What serves in ``environment`` and may be promoted.

        Raises Conflict ``nothing_serves``, ``not_good`` where its watch has not passed, ``incident_open`` and ``quarantined``.
        """
        serving = await self._delivery.serving(scope, service, environment)
        if serving is None:
            hint = f'deploy it there first: interlock plan "deploy latest of {service} to {environment}"'
            raise Conflict("nothing_serves", f"nothing of {service} serves in {environment}", where=environment, hint=hint)
        said = f"{service} {serving.version} in {environment}"
        if serving.state != "good":
            why = "its watch has not passed yet" if serving.state == "live" else f"it is {serving.state.replace('_', ' ')}"
            hint = f"wait until it is good: interlock status --service {service}"
            raise Conflict("not_good", f"{said} is not proven: {why}", where=environment, hint=hint)
        incident = await self._incidents.open_for(scope, serving.deployment_id)
        if incident is not None:
            hint = f"see: interlock incidents {incident.incident_id}"
            raise Conflict("incident_open", f"{said} has an open incident: {incident.title}", where=environment, hint=hint)
        release = await self._delivery.release(scope, serving.release_id)
        await self._incidents.check_not_quarantined(scope, service, release.content)
        return serving

    async def check(self, scope: Scope, service: str, environment: str, release_id: str) -> Deployment:
        """`proven`, and still this release. Raises Conflict ``environment_changed`` where it is another one."""
        serving = await self._delivery.serving(scope, service, environment)
        if serving is None or serving.release_id != release_id:
            now = f"{serving.version} ({serving.release_id})" if serving else "nothing"
            message = f"{now} serves in {environment} by now, not the release that is promoted ({release_id})"
            raise Conflict("environment_changed", message, where=environment, hint="make a new plan")
        return await self.proven(scope, service, environment)

    async def confirm(self, context: TaskContext) -> dict[str, Any]:
        """Look once more, before anything is started."""
        task: ConfirmTask = read(ConfirmTask, context.inputs)
        serving = await self.check(context.scope, task.service, task.environment, task.release_id)
        await context.report(f"{serving.version} serves and is good in {task.environment}")
        return {"deployment_id": serving.deployment_id}
