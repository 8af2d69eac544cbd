"""Executors of the way back: restore the last known good, and take the bad one out."""

from collections.abc import Sequence
from typing import Any

import msgspec

from interlock.core.errors import Conflict, Unavailable
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Deployment, Instance
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import InstancePlan, QuarantineTask, RestoreTask, Started, StopTask, read
from interlock.delivery.steps.starting import Starting
from interlock.delivery.steps.traffic import Drain, point
from interlock.delivery.targets import Targets
from interlock.runs.ports import TaskContext


class Recovery:
    """``delivery.restore``, ``delivery.take_out`` and ``delivery.discard``."""

    def __init__(self, delivery: Delivery, incidents: Incidents, starting: Starting, targets: Targets, drain: Drain) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._starting = starting
        self._targets = targets
        self._drain = drain

    async def restore(self, context: TaskContext) -> dict[str, Any]:
        """Give the deployment to go back to: the one that still runs, else its release with what is missing started again, else
        nothing."""
        task: RestoreTask = read(RestoreTask, context.inputs)
        nothing = {"deployment_id": None, "instances": None}
        if (foreign := await self._foreign(context, task)) is not None:
            await context.report(f"{foreign} serves by now; the traffic is left where it is")
            return nothing | {"stays": True}
        if not task.release_id or task.instance is None:
            await context.report("there is nothing to go back to: the service is taken out of traffic")
            return nothing
        former = await self._delivery.deployment(context.scope, task.deployment_id)
        running = await self._running(former, task.former)
        if len(running) == len(task.former):
            await context.report(f"{former.version} still runs")
            await self._keep(context, former, running)
            return msgspec.to_builtins(Started(deployment_id=former.deployment_id, instances=tuple(running)))
        return msgspec.to_builtins(await self._start_again(context, task, task.instance, former, running))

    async def _running(self, former: Deployment, instances: Sequence[Instance]) -> list[Instance]:
        workloads = self._targets.of(former.target)
        found = {instance: await workloads.status(instance.key) for instance in instances}
        for instance, status in found.items():
            if status.state == "unknown":
                # Started again it might run twice; whoever can be asked again in a while is asked then.
                raise Unavailable("not_observed", f"{former.version} cannot be observed: {status.message}", where=instance.key)
        # Between two restarts it is coming back by itself: started again there would be two of it.
        return [instance for instance, status in found.items() if status.state in {"running", "starting"}]

    async def _keep(self, context: TaskContext, former: Deployment, running: Sequence[Instance]) -> None:
        for instance in running:
            await self._delivery.record_instance(context.scope, former, instance)

    async def _start_again(
        self, context: TaskContext, task: RestoreTask, plan: InstancePlan, former: Deployment, running: Sequence[Instance]
    ) -> Started:
        # Found bad since it was pinned: what serves now and a person are better than content known to be bad.
        await self._starting.usable_release(context, task.release_id)
        again = self._starting.new(context, task.place, task.release_id, former.version, task.watch, plan).takes_after(former)
        for instance in running:
            await self._delivery.record_instance(context.scope, again, instance)
        missing = range(len(running) + 1, len(task.former) + 1)
        started = await self._starting.start_instances(context, again, plan, missing)
        if former.state in {"live", "good", "paused"}:
            await self._delivery.change(context.scope, former.deployment_id, "retired", "its process had ended")
        await context.report(f"{former.version} was started again from its pinned release")
        return Started(deployment_id=again.deployment_id, instances=(*running, *started))

    async def _foreign(self, context: TaskContext, task: RestoreTask) -> str | None:
        """What serves, where it is neither the candidate nor what that was to replace: to lead the traffic back would undo what
        somebody else has done since."""
        serving = await self._delivery.serving(context.scope, task.place.service, task.place.environment)
        if (serving.deployment_id if serving else "") in {task.deployment_id, task.candidate or ""}:
            return None
        return f"{serving.version} ({serving.deployment_id})" if serving else "nothing"

    async def settle(self, context: TaskContext) -> dict[str, Any]:
        """What was restored counts for what it had proven to be before, and is watched on."""
        deployment_id = context.inputs.get("deployment_id")
        if deployment_id:
            deployment = await self._delivery.deployment(context.scope, deployment_id)
            await self._delivery.change(context.scope, deployment_id, deployment.settled, "it was restored")
        return {}

    async def take_out(self, context: TaskContext) -> dict[str, Any]:
        """Quarantine the bad content if something was wrong with it, free the candidate leg, stop its process and close its
        incident."""
        task: QuarantineTask = read(QuarantineTask, context.inputs)
        deployment = await self._starting.candidate(context, task.place, task.deployment_id)
        if deployment is None:
            return {}
        is_out = deployment.state in {"rolled_back", "failed", "retired"}
        incident = await self._incidents.open_for(context.scope, deployment.deployment_id)
        # One that is out already was closed before a crash, with its incident.
        if incident is None and task.reason and not is_out:
            incident = await self._incidents.open(
                context.scope, deployment, task.reason, {"requested_by": context.run.requested_by}
            )
        # Nobody is served by refusing the very content that serves again: a restart that went wrong says nothing against it.
        if incident is not None and task.restored_release != deployment.release_id:
            release = await self._delivery.release(context.scope, deployment.release_id)
            await self._incidents.quarantine(context.scope, release, incident.incident_id, incident.title)
        await self._drain.wait(deployment.addresses, task.drain_s)
        if task.takes_port:
            # Behind the drain: of a canary's requests the last ones may still be on their way through this leg.
            await point(context, task.place, "candidate", ())
        await self._starting.stop(context, deployment)
        if not is_out:
            why = incident.title if incident else "the run did not get through"
            state = "failed" if deployment.state == "starting" else "rolled_back"
            await self._delivery.change(context.scope, deployment.deployment_id, state, why)
        if incident is not None:
            how = f"rolled back to {task.restored_version}" if task.restored_version else "taken out of traffic"
            await self._incidents.resolve(context.scope, incident.incident_id, how)
        return {"incident_id": incident.incident_id if incident else None}

    async def discard(self, context: TaskContext) -> dict[str, Any]:
        """Stop a candidate that never got traffic; what serves was not touched."""
        task: StopTask = read(StopTask, context.inputs)
        if task.takes_port:
            await point(context, task.place, "candidate", ())
        deployment = await self._starting.candidate(context, task.place, task.deployment_id)
        if deployment is None:
            return {"stopped": None}
        serving = await self._delivery.serving(context.scope, task.place.service, task.place.environment)
        if serving is not None and serving.deployment_id == deployment.deployment_id:
            # Who cancelled the run came a moment too late.
            await context.report(f"{deployment.version} serves by now; it stays")
            return {"stopped": None}
        if deployment.state not in {"starting", "failed"}:
            raise Conflict("deployment_state", f"{deployment.deployment_id} is {deployment.state}, not a candidate")
        await self._starting.stop(context, deployment)
        await self._delivery.change(context.scope, deployment.deployment_id, "failed", task.reason)
        incident = await self._incidents.open_for(context.scope, deployment.deployment_id)
        if incident is not None:
            await self._incidents.resolve(context.scope, incident.incident_id, task.reason)
        return {"stopped": deployment.deployment_id}
