"""Executors of a drill: start the last known good beside what serves, and take it away again without any traffic led to it."""

import asyncio
from typing import Any

import msgspec

from interlock.delivery.incidents import Incidents
from interlock.delivery.inputs import CheckDrillTask, EndDrillTask, Place, Started, StartTask, read
from interlock.delivery.model import Deployment, DeploymentState, Instance
from interlock.delivery.service import Delivery
from interlock.delivery.starting import Starting
from interlock.delivery.traffic import point
from interlock.runs.ports import TaskContext


class Drilling:
    """``delivery.drill_check``, ``delivery.drill_start`` and ``delivery.drill_end``."""

    def __init__(self, delivery: Delivery, incidents: Incidents, starting: Starting) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._starting = starting

    async def check(self, context: TaskContext) -> dict[str, Any]:
        """Whether the release is one that a rollback would take: what was built, and not known to be bad."""
        task: CheckDrillTask = read(CheckDrillTask, context.inputs)
        await self._starting.check_expected(context, task.place, task.expects)
        release = await self._delivery.release(context.scope, task.release_id)
        await self._incidents.check_not_quarantined(context.scope, release.service, release.content)
        await self._delivery.check_intact(release)
        await context.report(f"{release.version} is what was built", bundle=release.bundle)
        return {"bundle": release.bundle}

    async def start(self, context: TaskContext) -> dict[str, Any]:
        """Start the release as a rollback would, under a record that says what it is for."""
        task: StartTask = read(StartTask, context.inputs)
        await self._starting.check_expected(context, task.place, task.expects)
        release = await self._delivery.release(context.scope, task.release_id)
        await self._delivery.check_intact(release)
        new = self._starting.new(context, task.place, task.release_id, release.version, task.watch, task.instance)
        deployment = msgspec.structs.replace(new, state="drilling")
        started: list[Instance] = []
        for number in range(1, task.count + 1):
            instance = await self._starting.start_instance(context, task.instance, number)
            # Recorded even when the run is cancelled in this moment: what runs has to be found by whoever stops it.
            await asyncio.shield(self._delivery.record_instance(context.scope, deployment, instance))
            started.append(instance)
        return msgspec.to_builtins(Started(deployment_id=deployment.deployment_id, instances=tuple(started)))

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
