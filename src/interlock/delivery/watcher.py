"""The watch that goes on when the run is over, over every restart of the control plane."""

import asyncio

import msgspec
import structlog

from interlock.core.clock import Clock
from interlock.core.scope import Scope
from interlock.delivery.evidence import told
from interlock.delivery.incidents import Incidents
from interlock.delivery.model import Deployment
from interlock.delivery.probing import Observer, Sharing
from interlock.delivery.service import Delivery
from interlock.delivery.watch import Sample, Thresholds, judge, merge

log = structlog.get_logger(__name__)

TICK_S = 0.5


class Watcher:
    """Looks at every serving deployment that no run watches. A crossed threshold opens an incident; whoever holds the plan acts
    on it. What cannot be told is neither."""

    def __init__(self, delivery: Delivery, incidents: Incidents, observer: Observer, clock: Clock) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._observer = observer
        self._clock = clock
        self._samples: dict[str, list[Sample]] = {}
        self._due: dict[str, float] = {}
        self._sharing: dict[str, Sharing] = {}

    async def run(self, scope: Scope) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self.look(scope)
            except Exception:
                # The watch is what brings bad releases back: nothing may end it.
                log.exception("watch.failed")
            await asyncio.sleep(TICK_S)

    async def look(self, scope: Scope) -> None:
        """One round over everything that is due."""
        watched = await self._delivery.watched(scope)
        known = {deployment.deployment_id for deployment in watched}
        for gone in set(self._samples) - known:
            for known_of in (self._samples, self._due, self._sharing):
                known_of.pop(gone, None)
        for deployment in watched:
            if self._clock.monotonic() >= self._due.get(deployment.deployment_id, 0.0):
                thresholds = merge(deployment.watch)
                self._due[deployment.deployment_id] = self._clock.monotonic() + thresholds.interval_s
                await self._judge(scope, deployment, thresholds)

    async def _judge(self, scope: Scope, deployment: Deployment, thresholds: Thresholds) -> None:
        release = await self._delivery.release(scope, deployment.release_id)
        health = release.recipe.health
        route = await self._delivery.route(scope, deployment.service, deployment.environment)
        sharing = await self._observer.sharing(deployment, route)
        sample = await self._observer.sample(deployment, health, sharing)
        samples = self._samples.setdefault(deployment.deployment_id, [])
        if self._sharing.get(deployment.deployment_id) != sharing:
            # Counters of another part of the traffic say nothing beside these.
            samples.clear()
        self._sharing[deployment.deployment_id] = sharing
        samples.append(sample)
        while len(samples) > 2 and samples[1].at_s < sample.at_s - thresholds.window_s:
            samples.pop(0)
        judgement = judge(samples, thresholds, has_health_check=health is not None and bool(deployment.addresses))
        incident = await self._incidents.open_for(scope, deployment.deployment_id)
        if incident is not None:
            if incident.found_by == "host" and _is_back(samples, thresholds):
                await self._incidents.resolve(scope, incident.incident_id, "it runs again and can be observed")
            return
        if sample.is_lost:
            await self._report_lost(scope, deployment)
        elif _is_out_of_sight(samples, thresholds):
            await self._report_out_of_sight(scope, deployment)
        elif judgement.verdict == "breach":
            title = f"{deployment.service} {deployment.version} in {deployment.environment}: {judgement.reason()}"
            evidence = msgspec.to_builtins(judgement) | {"samples": told(samples)}
            await self._incidents.open(scope, deployment, title, evidence, found_by="watch")

    async def _report_out_of_sight(self, scope: Scope, deployment: Deployment) -> None:
        where = f"{deployment.service} {deployment.version} in {deployment.environment}"
        title = f"{where} does not answer, and its {deployment.target} cannot be observed"
        asks = f"{title}. Nothing is rolled back for that: see whether what it runs on is there"
        await self._incidents.open(scope, deployment, title, {}, severity="critical", found_by="host", asks=asks)

    async def _report_lost(self, scope: Scope, deployment: Deployment) -> None:
        where = f"{deployment.service} {deployment.version} in {deployment.environment}"
        title = f"{where} does not run: its process was stopped from outside"
        # What becomes of it is healed, or asked, as drift: one question for one thing.
        await self._incidents.open(scope, deployment, title, {}, severity="critical", found_by="host")


def _is_out_of_sight(samples: list[Sample], thresholds: Thresholds) -> bool:
    """Whether it neither answers nor can be seen for so many looks in a row that a person has to know."""
    last = samples[-thresholds.health_failures :]
    return len(last) == thresholds.health_failures and all(item.is_running is None and item.healthy is False for item in last)


def _is_back(samples: list[Sample], thresholds: Thresholds) -> bool:
    last = samples[-thresholds.health_failures :]
    return len(last) == thresholds.health_failures and all(item.is_running and item.healthy is not False for item in last)
