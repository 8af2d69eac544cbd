"""Executors of the way back: restore the last known good, and take the bad one out."""

import asyncio
from typing import Any

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict
from interlock.delivery.incidents import Incidents
from interlock.delivery.inputs import QuarantineTask, RestoreTask, Started, StopTask, read
from interlock.delivery.model import Deployment
from interlock.delivery.rollout import Rollout
from interlock.delivery.service import Delivery
from interlock.runs.ports import TaskContext
from interlock.tools.ports import Host

DRAIN_S = 1.0


class Recovery:
    """``delivery.restore``, ``delivery.take_out`` and ``delivery.discard``."""

    def __init__(self, delivery: Delivery, incidents: Incidents, rollout: Rollout, host: Host, clock: Clock) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._rollout = rollout
        self._host = host
        self._clock = clock

    async def restore(self, context: TaskContext) -> dict[str, Any]:
        """Give the deployment to go back to: the one that still runs, else its release started again, else nothing."""
        task: RestoreTask = read(RestoreTask, context.inputs)
        nothing = {"deployment_id": None, "process": None, "port": None}
        if (foreign := await self._foreign(context, task)) is not None:
            await context.report(f"{foreign} serves by now; the traffic is left where it is")
            return nothing | {"stays": True}
        if not task.release_id or task.process is None:
            await context.report("there is nothing to go back to: the service is taken out of traffic")
            return nothing
        former = await self._delivery.deployment(context.scope, task.deployment_id)
        if (await self._host.status(former.process)).state == "running":
            await context.report(f"{former.version} still runs")
            return msgspec.to_builtins(Started(deployment_id=former.deployment_id, process=former.process, port=former.port))
        # Found bad since it was pinned: what serves now and a person are better than content known to be bad.
        release = await self._delivery.release(context.scope, task.release_id)
        await self._incidents.check_not_quarantined(context.scope, release.service, release.content)
        started = await self._rollout.start_process(context, task.release_id, task.process)
        if former.state in {"live", "good", "paused"}:
            await self._delivery.change(context.scope, former.deployment_id, "retired", "its process had ended")
        await self._delivery.record_deployment(context.scope, self._again(context, task, former, started))
        await context.report(f"{former.version} was started again from its pinned release")
        return msgspec.to_builtins(started)

    async def _foreign(self, context: TaskContext, task: RestoreTask) -> str | None:
        """What serves, where it is neither the candidate nor what that was to replace: to lead the traffic back would undo what
        somebody else has done since."""
        serving = await self._delivery.serving(context.scope, task.place.service, task.place.environment)
        if (serving.deployment_id if serving else "") in {task.deployment_id, task.candidate or ""}:
            return None
        return f"{serving.version} ({serving.deployment_id})" if serving else "nothing"

    def _again(self, context: TaskContext, task: RestoreTask, former: Deployment, started: Started) -> Deployment:
        return Deployment(
            deployment_id=started.deployment_id,
            service=former.service,
            environment=former.environment,
            release_id=task.release_id,
            version=former.version,
            state="starting",
            process=started.process,
            port=started.port,
            # A later rollback of what was restored follows the plan that first brought it here.
            plan_id=former.plan_id,
            run_id=context.run.run_id,
            watch=task.watch,
            started_at=to_text(self._clock.now()),
        )

    async def settle(self, context: TaskContext) -> dict[str, Any]:
        """What was restored has proven itself before: it counts as good, and is watched on."""
        deployment_id = context.inputs.get("deployment_id")
        if deployment_id:
            await self._delivery.change(context.scope, deployment_id, "good", "it was restored")
        return {}

    async def take_out(self, context: TaskContext) -> dict[str, Any]:
        """Quarantine the bad content if something was wrong with it, stop its process and close its incident."""
        task: QuarantineTask = read(QuarantineTask, context.inputs)
        deployment = await self._rollout.candidate(context, task.place, task.deployment_id)
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
        await asyncio.sleep(DRAIN_S)
        await self._rollout.stop_process(context, deployment.deployment_id)
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
            await context.call(
                "forwarder.point",
                {
                    "route": task.place.route,
                    "kind": "candidate",
                    "listen_port": task.place.candidate_port,
                    "upstream_port": None,
                },
                name="point-candidate",
            )
        deployment = await self._rollout.candidate(context, task.place, task.deployment_id)
        if deployment is None:
            return {"stopped": None}
        if deployment.state not in {"starting", "failed"}:
            raise Conflict("deployment_state", f"{deployment.deployment_id} is {deployment.state}, not a candidate")
        await self._rollout.stop_process(context, deployment.deployment_id)
        await self._delivery.change(context.scope, deployment.deployment_id, "failed", task.reason)
        return {"stopped": deployment.deployment_id}
