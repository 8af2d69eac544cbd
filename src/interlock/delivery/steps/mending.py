"""Executors that bring back what was changed from outside: start what is missing, lead the traffic, clear away the rest."""

from collections.abc import Sequence
from typing import Any

import msgspec

from interlock.core.errors import Unavailable
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Deployment, Instance, addresses_of, evenly
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import ClearTask, LeadTask, Mended, MendTask, read
from interlock.delivery.steps.starting import Starting
from interlock.delivery.steps.traffic import point
from interlock.delivery.targets import Targets, is_itself
from interlock.runs.ports import TaskContext

HEALED = "healed: what was missing was started again"


class Mending:
    """``delivery.mend``, ``delivery.lead`` and ``delivery.clear``."""

    def __init__(self, delivery: Delivery, incidents: Incidents, starting: Starting, targets: Targets) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._starting = starting
        self._targets = targets

    async def mend(self, context: TaskContext) -> dict[str, Any]:
        """Start again what is missing of what serves, from its pinned release, beside what still runs. Where nothing is
        missing, nothing is started."""
        task: MendTask = read(MendTask, context.inputs)
        await self._starting.check_expected(context, task.place, task.deployment_id)
        former = await self._delivery.deployment(context.scope, task.deployment_id)
        runs, gone = await self._parted(former, task.replaced)
        if not gone:
            await context.report("every instance runs")
            return msgspec.to_builtins(Mended(deployment_id=former.deployment_id, survivors=former.instances))
        await self._starting.usable_release(context, task.release_id)
        if not task.takes_port:
            # It would listen where the new one has to.
            await self._starting.stop(context, former, gone)
        again = self._starting.new(
            context, task.place, task.release_id, former.version, former.watch, task.instance
        ).takes_after(former)
        # Kept apart from what serves until it has proven itself.
        started = await self._starting.start_instances(context, again, task.instance, range(1, len(gone) + 1))
        await context.report(
            f"{len(started)} of {len(former.instances)} started again from the pinned release {former.version}"
        )
        ids = {"deployment_id": again.deployment_id, "candidate": again.deployment_id}
        return msgspec.to_builtins(Mended(instances=started, survivors=tuple(runs), gone=tuple(gone), **ids))

    async def _parted(self, former: Deployment, replaced: Sequence[str]) -> tuple[list[Instance], list[Instance]]:
        """What runs, and what does not, or is another one under its key. Raises Unavailable ``not_observed``."""
        runs: list[Instance] = []
        gone: list[Instance] = []
        for instance, status in (await self._targets.statuses(former)).items():
            if status.state == "unknown":
                raise Unavailable("not_observed", f"{instance.key} cannot be observed: {status.message}", where=instance.key)
            is_ours = is_itself(instance, status) and instance.key not in replaced
            is_there = is_ours and status.state in {"running", "starting"}
            (runs if is_there else gone).append(instance)
        return runs, gone

    async def lead(self, context: TaskContext) -> dict[str, Any]:
        """Point the stable leg at what serves: the instances that were started again replace the lost ones."""
        task: LeadTask = read(LeadTask, context.inputs)
        scope, place = context.scope, task.place
        serving = await self._delivery.serving(scope, place.service, place.environment)
        # Its own earlier try may have switched already; anybody else's change is not what is to be brought back.
        if (serving.deployment_id if serving else "") != task.deployment_id:
            await self._starting.check_expected(context, place, task.former)
        now = await self._delivery.deployment(scope, task.deployment_id)
        if task.takes_port:
            left = (instance for instance in task.survivors if instance not in now.instances)
            shares = evenly(addresses_of((*now.instances, *left)))
            await self._delivery.lead(scope, place.service, place.environment, shares)
            await point(context, place, "stable", shares)
        if task.deployment_id != task.former:
            # Not before: until it serves, all that is on record under it is stopped where this breaks off.
            await self._delivery.take_over(scope, task.former, task.deployment_id, task.survivors, HEALED)
        await context.report(f"traffic goes to {now.version}", url=place.url("stable"))
        return {"url": place.url("stable")}

    async def clear(self, context: TaskContext) -> dict[str, Any]:
        """Stop what should not run, free the candidate leg, and close the incident about what was missing."""
        task: ClearTask = read(ClearTask, context.inputs)
        if task.takes_port:
            await point(context, task.place, "candidate", ())
        former = await self._delivery.deployment(context.scope, task.former)
        if task.gone:
            await self._starting.stop(context, former, task.gone)
        _, serving = await self._delivery.standing(context.scope)
        needed = {instance.key for item in serving.values() for instance in item.instances}
        # What has come to serve since it was seen is no orphan any more.
        orphans = [Instance(key=key) for key in task.orphans if key not in needed]
        if orphans:
            await self._starting.stop(context, former, orphans)
        incident = await self._incidents.open_for(context.scope, task.former)
        # Where nothing was started again, the watch sees whether what it told of is over.
        if task.gone and incident is not None and incident.found_by == "host":
            await self._incidents.resolve(context.scope, incident.incident_id, "healed")
        return {"stopped": [instance.key for instance in (*task.gone, *orphans)]}
