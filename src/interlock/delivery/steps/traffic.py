"""Executors that move traffic: shift a part of it, switch it, and take away what it has left."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from interlock.core.addresses import Address
from interlock.core.clock import Clock
from interlock.core.errors import Unavailable
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Instance, Share, Shares, addresses_of, evenly
from interlock.delivery.ports import Forwarder, LegKind
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import Place, ShiftTask, StopTask, SwitchTask, ThinTask, read
from interlock.delivery.steps.starting import Starting
from interlock.runs.ports import TaskContext

UNTIL_LEFT_S = 1.0
"""A request that saw where the leg led just before that changed has arrived by then, and idle connections are closed."""
POLL_S = 0.2


async def point(context: TaskContext, place: Place, kind: LegKind, shares: Sequence[Share], *, name: str = "") -> None:
    """Lead a leg of the place; ``name`` tells one pointing of it from another within a task."""
    arguments: dict[str, Any] = {
        "route": place.route,
        "kind": kind,
        "listen_port": place.stable_port if kind == "stable" else place.candidate_port,
        "shares": [msgspec.to_builtins(share) for share in shares],
    }
    await context.call("forwarder.point", arguments, name=name or f"point-{kind}")


class Drain:
    """Waits until nothing is under way any more at addresses that traffic has left."""

    def __init__(self, forwarder: Forwarder, clock: Clock) -> None:
        self._forwarder = forwarder
        self._clock = clock

    async def wait(self, addresses: Sequence[Address], limit_s: float) -> int:
        """Wait for ``limit_s`` at most; how many connections are open then."""
        end = self._clock.monotonic() + limit_s
        await asyncio.sleep(min(UNTIL_LEFT_S, limit_s))
        while True:
            left = await self._open(addresses)
            if not left or self._clock.monotonic() >= end:
                return left
            await asyncio.sleep(POLL_S)

    async def _open(self, addresses: Sequence[Address]) -> int:
        try:
            return sum([await self._forwarder.open_connections(address) for address in addresses])
        except Unavailable:
            return 0


class Traffic:
    """``delivery.shift``, ``delivery.switch``, ``delivery.thin`` and ``delivery.retire``."""

    def __init__(self, delivery: Delivery, incidents: Incidents, starting: Starting, drain: Drain) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._starting = starting
        self._drain = drain

    async def shift(self, context: TaskContext) -> dict[str, Any]:
        """Lead a part of the traffic to the candidate; what serves on record stays what it is."""
        task: ShiftTask = read(ShiftTask, context.inputs)
        await self._check_way_back(context, task.fallback)
        await self._starting.check_expected(context, task.place, task.expects)
        candidates = [instance for group in task.groups for instance in group]
        shares = _shares(task, candidates)
        # Said first: whoever looks at the leg in between finds what was meant, not a change from outside.
        await self._delivery.lead(context.scope, task.place.service, task.place.environment, shares)
        await point(context, task.place, "stable", shares)
        await context.report("traffic: " + _told(task, len(candidates)))
        return {"shares": msgspec.to_builtins(shares)}

    async def switch(self, context: TaskContext) -> dict[str, Any]:
        """Lead the traffic to a verified deployment, or to nothing. What it leaves keeps running."""
        task: SwitchTask = read(SwitchTask, context.inputs)
        if task.stays:
            return {}
        await self._check_way_back(context, task.fallback)
        service, environment = task.place.service, task.place.environment
        target = task.deployment_id or ""
        serving = await self._delivery.serving(context.scope, service, environment)
        # Its own earlier try may have switched already; anybody else's change is not what was approved.
        if task.expects is not None and (serving.deployment_id if serving else "") != target:
            await self._starting.check_expected(context, task.place, task.expects)
        shares = evenly(addresses_of(instance for group in task.groups for instance in group or ()))
        if task.takes_port:
            await self._delivery.lead(context.scope, service, environment, shares)
            await point(context, task.place, "stable", shares)
        await self._delivery.switch(context.scope, service, environment, target, "traffic was led to it")
        await context.report(f"traffic goes to {target or 'nothing'}", url=task.place.url("stable"))
        return {"url": task.place.url("stable")}

    async def _check_way_back(self, context: TaskContext, fallback: str) -> None:
        if fallback:
            await self._delivery.check_intact(await self._delivery.release(context.scope, fallback))

    async def thin(self, context: TaskContext) -> dict[str, Any]:
        """Stop instances of what serves whose share others have taken over."""
        task: ThinTask = read(ThinTask, context.inputs)
        deployment = await self._delivery.deployment(context.scope, task.deployment_id)
        # Said first: nobody may take the end of its processes for a failure.
        await self._delivery.drop_instances(context.scope, task.deployment_id, task.instances)
        await self._drain.wait(addresses_of(task.instances), task.drain_s)
        await self._starting.stop(context, deployment, task.instances)
        return {"stopped": [instance.key for instance in task.instances]}

    async def retire(self, context: TaskContext) -> dict[str, Any]:
        """Stop a deployment that traffic has left, and free the candidate leg."""
        task: StopTask = read(StopTask, context.inputs)
        if task.takes_port:
            await point(context, task.place, "candidate", ())
        if task.deployment_id is None:
            return {"stopped": None}
        deployment = await self._delivery.deployment(context.scope, task.deployment_id)
        left = await self._drain.wait(deployment.addresses, task.drain_s)
        if left:
            await context.report(f"{left} connections are still open after {task.drain_s:g} s; they are ended in order")
        await self._starting.stop(context, deployment)
        state: Any = task.state
        await self._delivery.change(context.scope, task.deployment_id, state, task.reason)
        incident = await self._incidents.open_for(context.scope, task.deployment_id)
        if incident is not None:
            await self._incidents.resolve(context.scope, incident.incident_id, task.reason)
        return {"stopped": task.deployment_id}


def _shares(task: ShiftTask, candidates: Sequence[Instance]) -> Shares:
    if task.percent is None:
        return evenly(addresses_of([*candidates, *task.remaining]))
    through = Share(port=task.place.candidate_port, percent=task.percent)
    return (through, *evenly(addresses_of(task.remaining), 100 - task.percent))


def _told(task: ShiftTask, candidates: int) -> str:
    if task.percent is not None:
        return f"{task.percent} % goes to the candidate"
    return f"{candidates} new and {len(task.remaining)} old instances serve side by side"
