"""The executor that watches a deployment once all traffic goes to it."""

import asyncio
from typing import Any

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict
from interlock.core.scope import Scope
from interlock.core.signals import NeedsApproval
from interlock.delivery.incidents.evidence import told
from interlock.delivery.incidents.record import Incidents, verdict_of
from interlock.delivery.judging.probing import Observer
from interlock.delivery.judging.watch import Judgement, Sample, judge, merge
from interlock.delivery.model import Deployment
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import WatchTask, read
from interlock.runs.ports import TaskContext

UNWATCHABLE_LIMIT = 5
"""Looks in a row without a verdict at the end of a watch before a person is asked."""
LONGEST_AGAIN_S = 300.0
"""How long it has to be seen after a look at which it could not be; the limit of the task has room for that."""
CONTINUE = "continue"
STOP = "stop"
OPTIONS = (CONTINUE, STOP)


class Watching:
    """``delivery.watch``."""

    def __init__(self, delivery: Delivery, incidents: Incidents, observer: Observer, clock: Clock) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._observer = observer
        self._clock = clock

    async def watch(self, context: TaskContext) -> dict[str, Any]:
        """Watch until the window is over.

        Raises Conflict ``threshold_crossed`` and opens an incident when it turns bad; asks a person where it cannot be told,
        whose word then holds: Conflict ``stopped_by_person``, or good without another window.
        """
        task: WatchTask = read(WatchTask, context.inputs)
        deployment = await self._delivery.deployment(context.scope, task.deployment_id)
        if (incident := await self._incidents.found_by_run(context.scope, deployment.deployment_id)) is not None:
            raise verdict_of(incident, "threshold_crossed", context.task_id)
        if context.answer == STOP:
            raise Conflict("stopped_by_person", "a person stopped it in its watch", where=context.task_id)
        if context.answer == CONTINUE:
            return await self._continued(context, task, deployment)
        return await self._watch(context, task, deployment)

    async def _continued(self, context: TaskContext, task: WatchTask, deployment: Deployment) -> dict[str, Any]:
        """Good by a person's word, unless it has ended by itself since it was asked about."""
        samples = [await self._look(context.scope, task, deployment)]
        judgement = judge(samples, merge(deployment.watch), has_health_check=False)
        if judgement.verdict == "breach":
            raise await self._breach(context, deployment, judgement, samples)
        return await self._good(context, deployment, judgement, "in doubt, a person let it go on")

    async def _watch(self, context: TaskContext, task: WatchTask, deployment: Deployment) -> dict[str, Any]:
        thresholds = merge(deployment.watch)
        samples: list[Sample] = []
        end = seen_enough = self._clock.monotonic() + thresholds.window_s
        unclear = 0
        while True:
            samples.append(await self._look(context.scope, task, deployment))
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
                question = f"The watch cannot tell: {judgement.reason()}. Go on?"
                raise NeedsApproval(question, OPTIONS, msgspec.to_builtins(judgement))
            await asyncio.sleep(thresholds.interval_s)

    async def _look(self, scope: Scope, task: WatchTask, deployment: Deployment) -> Sample:
        route = await self._delivery.route(scope, deployment.service, deployment.environment)
        return await self._observer.sample(deployment, task.health, await self._observer.sharing(deployment, route))

    async def _passed(self, context: TaskContext, deployment: Deployment, judgement: Judgement) -> dict[str, Any]:
        traffic = f"{judgement.requests} requests" if judgement.requests else "no traffic; judged by process and health alone"
        return await self._good(context, deployment, judgement, f"the watch passed ({traffic})")

    async def _good(self, context: TaskContext, deployment: Deployment, judgement: Judgement, how: str) -> dict[str, Any]:
        good_at = deployment.good_at or to_text(self._clock.now())
        await self._delivery.change(context.scope, deployment.deployment_id, "good", how, good_at=good_at)
        await context.report(how, judgement=msgspec.to_builtins(judgement))
        return {"judgement": msgspec.to_builtins(judgement)}

    async def _breach(
        self, context: TaskContext, deployment: Deployment, judgement: Judgement, samples: list[Sample]
    ) -> Exception:
        evidence, reason = msgspec.to_builtins(judgement), judgement.reason()
        seen = evidence | {"samples": told(samples)}
        incident = await self._incidents.open(context.scope, deployment, f"{deployment.place}: {reason}", seen)
        await context.report(f"incident {incident.incident_id}: {reason}", judgement=evidence)
        return Conflict("threshold_crossed", reason, where=context.task_id, incident_id=incident.incident_id, evidence=evidence)
