"""Executors of a drill: start the last known good beside what serves, and take it away again without any traffic led to it."""

from typing import Any

import msgspec

from interlock.delivery.model import Deployment, DeploymentState
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import CheckDrillTask, EndDrillTask, Place, Started, StartTask, read
from interlock.delivery.steps.starting import Starting
from interlock.delivery.steps.traffic import point
from interlock.runs.ports import TaskContext


class Drilling:
    """``delivery.drill_check``, ``delivery.drill_start`` and ``delivery.drill_end``."""

    def __init__(self, delivery: Delivery, starting: Starting) -> None:
        self._delivery = delivery
        self._starting = starting

    async def check(self, context: TaskContext) -> dict[str, Any]:
        """Whether the release is one that a rollback would take: what was built, and not known to be bad."""
        task: CheckDrillTask = read(CheckDrillTask, context.inputs)
        await self._starting.check_expected(context, task.place, task.expects)
        release = await self._starting.usable_release(context, task.release_id)
        await context.report(f"{release.version} is what was built", bundle=release.bundle)
        return {"bundle": release.bundle}

    async def start(self, context: TaskContext) -> dict[str, Any]:
        """Start the release as a rollback would, under a record that says what it is for."""
        task: StartTask = read(StartTask, context.inputs)
        await self._starting.check_expected(context, task.place, task.expects)
        release = await self._starting.usable_release(context, task.release_id)
        new = self._starting.new(context, task.place, task.release_id, release.version, task.watch, task.instance)
        deployment = msgspec.structs.replace(new, state="drilling")
        started = await self._starting.start_instances(context, deployment, task.instance, range(1, task.count + 1))
        return msgspec.to_builtins(Started(deployment_id=deployment.deployment_id, instances=started))

    async def end(self, context: TaskContext) -> dict[str, Any]:
        """Lead the candidate leg nowhere, then stop what the drill has started."""
        task: EndDrillTask = read(EndDrillTask, context.inputs)
        await point(context, task.place, "candidate", ())
        deployment = await self._drilled(context, task.place, task.deployment_id)
        if deployment is None:
            return {"stopped": None}
        await self._starting.stop(context, deployment)
        if deployment.state == "drilling":
            state: DeploymentState = "drilled" if task.is_proven else "failed"
            why = "the drill has proven it" if task.is_proven else "the drill did not get through"
            await self._delivery.change(context.scope, deployment.deployment_id, state, why)
        return {"stopped": deployment.deployment_id}

    async def _drilled(self, context: TaskContext, place: Place, deployment_id: str | None) -> Deployment | None:
        if deployment_id is not None:
            return await self._delivery.deployment(context.scope, deployment_id)
        recent = await self._delivery.deployments(context.scope, place.service, place.environment)
        return next((item for item in recent if item.run_id == context.run.run_id and item.state == "drilling"), None)
