"""The executor that watches a deployment once all traffic goes to it."""

import asyncio
from typing import Any

import msgspec

from interlock.core.clock import Clock
from interlock.core.errors import Conflict
from interlock.core.signals import NeedsApproval
from interlock.delivery.evidence import told
from interlock.delivery.incidents import Incidents
from interlock.delivery.inputs import WatchTask, read
from interlock.delivery.model import Deployment
from interlock.delivery.probing import Observer
from interlock.delivery.service import Delivery
from interlock.delivery.watch import Judgement, Sample, judge, merge
from interlock.runs.ports import TaskContext

UNWATCHABLE_LIMIT = 5
"""Looks in a row without a verdict at the end of a watch before a person is asked."""
LONGEST_AGAIN_S = 300.0
"""How long it has to be seen after a look at which it could not be; the limit of the task has room for that."""


class Watching:
    """``delivery.watch``."""

    def __init__(self, delivery: Delivery, incidents: Incidents, observer: Observer, clock: Clock) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._observer = observer
        self._clock = clock

    async def watch(self, context: TaskContext) -> dict[str, Any]:
        """Watch until the window is over. Raises Conflict ``threshold_crossed`` and opens an incident when it turns bad; asks a
        person where it cannot be told."""
        task: WatchTask = read(WatchTask, context.inputs)
        deployment = await self._delivery.deployment(context.scope, task.deployment_id)
        thresholds = merge(deployment.watch)
        samples: list[Sample] = []
        end = seen_enough = self._clock.monotonic() + thresholds.window_s
        unclear = 0
        while True:
            samples.append(await self._observer.sample(deployment, task.health))
            judgement = judge(samples, thresholds, has_health_check=task.health is not None and bool(deployment.addresses))
            if judgement.verdict == "breach":
                raise await self._breach(context, deployment, judgement, samples)
            is_over = self._clock.monotonic() >= end
            if samples[-1].is_running is None:
                # A window in which it was not seen says nothing: one good look at its end must not promote it.
                seen_enough = self._clock.monotonic() + min(thresholds.window_s, LONGEST_AGAIN_S)
            unclear = unclear + 1 if is_over and judgement.verdict == "inconclusive" else 0
            if is_over and judgement.verdict == "pass" and self._clock.monotonic() >= seen_enough:
                return await self._passed(context, deployment, judgement)
            if unclear >= UNWATCHABLE_LIMIT:
                if context.answer == "continue":
                    return await self._passed(context, deployment, judgement)
                raise self._stopped_or_asks(context, judgement)
            await asyncio.sleep(thresholds.interval_s)

    def _stopped_or_asks(self, context: TaskContext, judgement: Judgement) -> Exception:
        evidence = msgspec.to_builtins(judgement)
        if context.answer == "stop":
            return Conflict("stopped_by_person", f"a person stopped here: {judgement.reason()}", evidence=evidence)
        return NeedsApproval(f"The watch cannot tell: {judgement.reason()}. Go on?", ("continue", "stop"), evidence)

    async def _passed(self, context: TaskContext, deployment: Deployment, judgement: Judgement) -> dict[str, Any]:
        await self._delivery.change(context.scope, deployment.deployment_id, "good", "the watch passed")
        traffic = f"{judgement.requests} requests" if judgement.requests else "no traffic; judged by process and health alone"
        await context.report(f"the watch passed ({traffic})", judgement=msgspec.to_builtins(judgement))
        return {"judgement": msgspec.to_builtins(judgement)}

    async def _breach(
        self, context: TaskContext, deployment: Deployment, judgement: Judgement, samples: list[Sample]
    ) -> Exception:
        evidence = msgspec.to_builtins(judgement)
        title = f"{deployment.service} {deployment.version} in {deployment.environment}: {judgement.reason()}"
        incident = await self._incidents.open(context.scope, deployment, title, evidence | {"samples": told(samples)})
        await context.report(f"incident {incident.incident_id}: {judgement.reason()}", judgement=evidence)
        return Conflict(
            "threshold_crossed", judgement.reason(), where=context.task_id, incident_id=incident.incident_id, evidence=evidence
        )
