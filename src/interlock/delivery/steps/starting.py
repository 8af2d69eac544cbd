"""Executors that start and stop the instances of a deployment."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from interlock.core.addresses import LOCAL
from interlock.core.canonical import digest
from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Deployment, Instance, Release
from interlock.delivery.naming import any_free_port
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import InstancePlan, Place, Started, StartTask, StopTask, read, target_of
from interlock.runs.ports import TaskContext
from interlock.sources.model import WatchPolicy

PORT_TRIES = 5


class Starting:
    """``delivery.start`` and ``delivery.pause``, and what other executors need of them."""

    def __init__(self, delivery: Delivery, incidents: Incidents, clock: Clock) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._clock = clock

    async def check_expected(self, context: TaskContext, place: Place, expects: str) -> None:
        """Raises Conflict ``environment_changed`` unless this deployment (empty: nothing) serves now."""
        serving = await self._delivery.serving(context.scope, place.service, place.environment)
        if (serving.deployment_id if serving else "") != expects:
            now = f"{serving.version} ({serving.deployment_id})" if serving else "nothing"
            raise Conflict("environment_changed", f"{now} serves in {place.environment} by now", hint="make a new plan")

    async def pause(self, context: TaskContext) -> dict[str, Any]:
        """Recreate: stop what serves before the new one starts. It stays on the record as what a failure goes back to."""
        task: StopTask = read(StopTask, context.inputs)
        await self.check_expected(context, task.place, task.expects)
        if task.deployment_id is not None:
            # Said first: nobody may take the end of its processes for a failure.
            await self._delivery.change(context.scope, task.deployment_id, "paused", "another one is to take its place")
            await self.stop(context, await self._delivery.deployment(context.scope, task.deployment_id))
        return {"stopped": task.deployment_id}

    async def start(self, context: TaskContext) -> dict[str, Any]:
        """Start the candidate beside what serves. Refuses when the environment is no longer what the plan was made against."""
        task: StartTask = read(StartTask, context.inputs)
        await self.check_expected(context, task.place, task.expects)
        release = await self.usable_release(context, task.release_id)
        deployment = self.new(context, task.place, task.release_id, release.version, task.watch, task.instance)
        deployment = msgspec.structs.replace(deployment, stands_for=task.stands_for)
        if task.joins is not None:
            deployment = await self._delivery.deployment(context.scope, task.joins)
        started = await self.start_instances(context, deployment, task.instance, range(1, task.count + 1))
        return msgspec.to_builtins(Started(deployment_id=deployment.deployment_id, instances=started))

    async def usable_release(self, context: TaskContext, release_id: str) -> Release:
        """The release, unless it is not what was built or its content is known to be bad: then Conflict is raised."""
        release = await self._delivery.release(context.scope, release_id)
        await self._incidents.check_not_quarantined(context.scope, release.service, release.content)
        await self._delivery.check_intact(release)
        return release

    def new(
        self, context: TaskContext, place: Place, release_id: str, version: str, watch: WatchPolicy, plan: InstancePlan
    ) -> Deployment:
        """The deployment that this task begins, without an instance yet; repeated after a crash it is the same one."""
        return Deployment(
            deployment_id="dep_" + digest([context.run.run_id, context.task_id])[7:19],
            service=place.service,
            environment=place.environment,
            release_id=release_id,
            version=version,
            state="starting",
            instances=(),
            target=target_of(plan),
            plan_id=context.run.plan_id,
            run_id=context.run.run_id,
            watch=watch,
            started_at=to_text(self._clock.now()),
        )

    async def candidate(self, context: TaskContext, place: Place, deployment_id: str | None) -> Deployment | None:
        """The deployment with this id; without one, what this run has started in the place and never led traffic to."""
        if deployment_id is not None:
            return await self._delivery.deployment(context.scope, deployment_id)
        recent = await self._delivery.deployments(context.scope, place.service, place.environment)
        return next((item for item in recent if item.run_id == context.run.run_id and item.state == "starting"), None)

    async def start_instances(
        self, context: TaskContext, deployment: Deployment, plan: InstancePlan, numbers: Iterable[int]
    ) -> tuple[Instance, ...]:
        """Start the instances with these numbers, one after the other, and record each under the deployment as it starts."""
        started: list[Instance] = []
        for number in numbers:
            instance = await self._start_instance(context, plan, number)
            # Recorded even when the run is cancelled in this moment: what runs has to be found by whoever takes it away again.
            await asyncio.shield(self._delivery.record_instance(context.scope, deployment, instance))
            started.append(instance)
        return tuple(started)

    async def _start_instance(self, context: TaskContext, plan: InstancePlan, number: int) -> Instance:
        """Start one instance on a port that is free, trying others when somebody is quicker."""
        fields: dict[str, Any] = msgspec.to_builtins(plan)
        tool = f"{fields.pop('target')}.start"
        takes_port = fields.pop("takes_port")
        for turn in range(1, PORT_TRIES + 1):
            arguments = fields | {"port": any_free_port() if takes_port else None}
            try:
                output = await context.call(tool, arguments, name=f"start-{number}-{turn}")
            except Conflict as error:
                if error.code != "port_taken" or turn == PORT_TRIES:
                    raise
                await context.report(f"{error.message}; trying another port")
                continue
            identity, host = output.get("identity", ""), fields.get("host", LOCAL)
            return Instance(key=output["key"], port=output["port"], host=host, identity=identity)
        raise AssertionError("unreachable")

    async def stop(self, context: TaskContext, deployment: Deployment, only: Iterable[Instance] | None = None) -> None:
        """Stop the instances of a deployment, or ``only`` these of them."""
        for instance in deployment.instances if only is None else only:
            output = await context.call(f"{deployment.target}.stop", {"key": instance.key}, name=f"stop-{instance.key}")
            await context.report(f"{deployment.version} stopped ({output['reason'] or 'ended before'})")
