"""The executor that judges a candidate beside what serves while it has a part of the traffic."""

import asyncio
from typing import Any

import msgspec

from interlock.core.clock import Clock
from interlock.core.errors import Conflict
from interlock.core.scope import Scope
from interlock.core.signals import NeedsApproval
from interlock.delivery.incidents.record import Incidents, verdict_of
from interlock.delivery.judging.analysis import MIN_REQUESTS, Conclusion, checks_of, conclude
from interlock.delivery.judging.probing import Observer
from interlock.delivery.judging.signals import Counted, Legs, Signals, SignalSources, counted
from interlock.delivery.judging.watch import NO_TRAFFIC, Judgement, Sample, judge, merge
from interlock.delivery.model import Deployment
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import AnalyseTask, read
from interlock.runs.ports import TaskContext

LOOK_AGAIN = "look again"
PROMOTE = "promote"
ABORT = "abort"
OPTIONS = (LOOK_AGAIN, PROMOTE, ABORT)


class Analysing:
    """``delivery.analyse``."""

    def __init__(
        self, delivery: Delivery, incidents: Incidents, observer: Observer, sources: SignalSources, clock: Clock
    ) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._observer = observer
        self._sources = sources
        self._clock = clock

    async def analyse(self, context: TaskContext) -> dict[str, Any]:
        """Look at the candidate until it has baked, and judge it.

        Raises Conflict ``analysis_failed`` and opens an incident where it does worse, as soon as that is plain; asks a person
        where it cannot be told, whose word then holds: Conflict ``stopped_by_person``, or on without another bake.
        """
        task: AnalyseTask = read(AnalyseTask, context.inputs)
        deployment = await self._delivery.deployment(context.scope, task.deployment_id)
        if (incident := await self._incidents.found_by_run(context.scope, deployment.deployment_id)) is not None:
            raise verdict_of(incident, "analysis_failed", context.task_id)
        if context.answer == ABORT:
            raise Conflict("stopped_by_person", f"a person stopped it at {task.percent} %", where=context.task_id)
        if context.answer == PROMOTE:
            return await self._promoted(context, task, deployment)
        return await self._bake(context, task, deployment)

    async def _promoted(self, context: TaskContext, task: AnalyseTask, deployment: Deployment) -> dict[str, Any]:
        """On by a person's word, unless it has ended by itself since it was asked about."""
        judgement = judge([await self._alone(deployment, task)], merge(deployment.watch), has_health_check=False)
        if judgement.verdict == "breach":
            raise await self._failed(context, deployment, judgement.reason(), judgement)
        await context.report(f"at {task.percent} %, in doubt, a person let it go on")
        return {"decided": PROMOTE}

    async def _bake(self, context: TaskContext, task: AnalyseTask, deployment: Deployment) -> dict[str, Any]:
        thresholds = merge(deployment.watch)
        end = self._clock.monotonic() + task.bake_s
        stable = await self._delivery.deployment(context.scope, task.stable_id)
        signals = Signals(self._sources, self._clock, deployment, stable, task.bake_s)
        await signals.begin(checks_of(task.policy))
        base = await self._count(task)
        samples: list[Sample] = []
        while True:
            samples.append(await self._alone(deployment, task))
            judgement = judge(samples, thresholds, has_health_check=task.health is not None)
            if judgement.verdict == "breach":
                raise await self._failed(context, deployment, judgement.reason(), judgement)
            is_seen = samples[-1].is_running is not None and not samples[-1].lost
            if not is_seen or base is None or not await self._is_split(context.scope, deployment, stable):
                # Requests fail for another reason meanwhile, or could not be counted yet: what is counted begins now.
                base = await self._count(task)
            is_over = self._clock.monotonic() >= end
            conclusion = await self._conclude(signals, task, await self._since(base, task), is_over=is_over)
            if conclusion.verdict == "fail" and is_seen:
                raise await self._failed(context, deployment, conclusion.reason(), conclusion)
            if is_over:
                return await self._baked(context, task, conclusion, judgement)
            await asyncio.sleep(min(thresholds.interval_s, task.bake_s))

    async def _alone(self, deployment: Deployment, task: AnalyseTask) -> Sample:
        """The candidate's processes and health; its requests are judged beside those of what serves."""
        return msgspec.structs.replace(await self._observer.sample(deployment, task.health), counters=NO_TRAFFIC)

    async def _is_split(self, scope: Scope, candidate: Deployment, stable: Deployment) -> bool:
        route = await self._delivery.route(scope, candidate.service, candidate.environment)
        return await self._observer.is_split(candidate, stable, route)

    async def _count(self, task: AnalyseTask) -> Legs | None:
        # In this order: what comes in between is then in the leg that has the other's requests too.
        candidate = await self._observer.counters(task.place.route, "candidate")
        stable = await self._observer.counters(task.place.route, "stable")
        return None if candidate is None or stable is None else Legs(candidate=candidate, stable=stable)

    async def _since(self, base: Legs | None, task: AnalyseTask) -> Counted | None:
        now = await self._count(task)
        return None if now is None or base is None else counted(base, now)

    async def _conclude(self, signals: Signals, task: AnalyseTask, window: Counted | None, *, is_over: bool) -> Conclusion:
        wanted = task.policy.min_requests or MIN_REQUESTS
        found = [await signals.compare(check, window, wanted, is_over=is_over) for check in checks_of(task.policy)]
        return conclude(found)

    async def _baked(
        self, context: TaskContext, task: AnalyseTask, conclusion: Conclusion, judgement: Judgement
    ) -> dict[str, Any]:
        evidence = msgspec.to_builtins(conclusion)
        if conclusion.verdict == "pass" and judgement.verdict == "pass":
            await context.report(f"at {task.percent} %: {conclusion.reason()}", analysis=evidence)
            return {"analysis": evidence}
        doubt = conclusion.reason() if conclusion.verdict != "pass" else judgement.reason()
        await context.report(f"at {task.percent} %: it cannot be told: {doubt}", analysis=evidence)
        question = f"The analysis at {task.percent} % cannot tell whether the candidate is well: {doubt}. Go on?"
        raise NeedsApproval(question, OPTIONS, evidence)

    async def _failed(
        self, context: TaskContext, deployment: Deployment, reason: str, found: Conclusion | Judgement
    ) -> Exception:
        evidence = msgspec.to_builtins(found)
        incident = await self._incidents.open(context.scope, deployment, f"{deployment.place}: {reason}", evidence)
        await context.report(f"incident {incident.incident_id}: {reason}", analysis=evidence)
        return Conflict("analysis_failed", reason, where=context.task_id, incident_id=incident.incident_id, evidence=evidence)
