"""The watch that goes on when the run is over, over every restart of the control plane."""

import asyncio
from collections.abc import Iterable

import msgspec
import structlog

from interlock.core.clock import Clock
from interlock.core.scope import Scope
from interlock.delivery.drift.observer import LookUnderWay
from interlock.delivery.incidents.evidence import told
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.judging.probing import Observer, Sharing
from interlock.delivery.judging.watch import Judgement, Sample, Thresholds, is_its_own, judge, merge
from interlock.delivery.model import Deployment, Incident
from interlock.delivery.parked import Parked, Waiting
from interlock.delivery.service import Delivery
from interlock.sources.model import HealthCheck

log = structlog.get_logger(__name__)

TICK_S = 0.5
AT_ONCE = 32
"""Looks at the same time: one at what hangs must not keep the others waiting."""


class Watcher:
    """Looks at every serving deployment that no run watches, and at what a run has given traffic while that waits for a person.
    A crossed threshold opens an incident; whoever holds the plan acts on it, or the run itself. What cannot be told is neither.
    """

    def __init__(
        self,
        delivery: Delivery,
        incidents: Incidents,
        observer: Observer,
        parked: Parked,
        clock: Clock,
        under_way: LookUnderWay,
    ) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._observer = observer
        self._parked = parked
        self._clock = clock
        self._under_way = under_way
        self._samples: dict[str, list[Sample]] = {}
        self._due: dict[str, float] = {}
        self._sharing: dict[str, Sharing] = {}
        self._looked_at: set[str] = set()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self, scope: Scope) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as looks:
            while True:
                try:
                    for deployment, waiting in await self._due_now(scope):
                        looks.create_task(self._look_at(scope, deployment, waiting))
                except Exception:
                    # The watch is what brings bad releases back: nothing may end it.
                    log.exception("watch.failed")
                await asyncio.sleep(TICK_S)

    async def look(self, scope: Scope) -> None:
        """One round over everything that is due."""
        await asyncio.gather(*[self._look_at(scope, *due) for due in await self._due_now(scope)])

    async def _due_now(self, scope: Scope) -> list[tuple[Deployment, Waiting | None]]:
        """What is to be looked at now and which run waits for that, the looks that are still under way left out."""
        waiting = await self._parked.listing(scope)
        beside = await self._delivery.under_traffic(scope, waiting) if waiting else []
        parked = {item.deployment_id for item in beside}
        watched = [(item, None) for item in await self._watched(scope) if item.deployment_id not in parked]
        watched += [(item, waiting[item.run_id]) for item in beside]
        self._forget(set(self._samples) - {deployment.deployment_id for deployment, _ in watched})
        found: list[tuple[Deployment, Waiting | None]] = []
        for deployment, run in watched:
            name, now = deployment.deployment_id, self._clock.monotonic()
            if name not in self._looked_at and now >= self._due.get(name, 0.0):
                self._due[name] = now + merge(deployment.watch).interval_s
                self._looked_at.add(name)
                found.append((deployment, run))
        return found

    def _forget(self, gone: Iterable[str]) -> None:
        for name in gone:
            for known_of in (self._samples, self._due, self._sharing):
                known_of.pop(name, None)

    async def _look_at(self, scope: Scope, deployment: Deployment, waiting: Waiting | None) -> None:
        """What goes wrong with one deployment keeps nobody from the next one."""
        try:
            async with self._room:
                await self._judge(scope, deployment, waiting)
        except Exception:
            log.exception("watch.failed", deployment=deployment.deployment_id)
        finally:
            self._looked_at.discard(deployment.deployment_id)

    async def _watched(self, scope: Scope) -> list[Deployment]:
        """What serves, but for what a run is still watching. What stayed although it is not good, since it could not be brought
        back, is watched as well."""
        found = await self._delivery.watched(scope)
        if all(deployment.state == "good" for deployment in found):
            return found
        places = (await self._under_way(scope)).places
        return [item for item in found if item.state == "good" or (item.service, item.environment) not in places]

    async def _judge(self, scope: Scope, deployment: Deployment, waiting: Waiting | None) -> None:
        thresholds = merge(deployment.watch)
        release = await self._delivery.release(scope, deployment.release_id)
        health = release.recipe.health
        samples = await self._sampled(scope, deployment, thresholds, health)
        judgement = judge(samples, thresholds, has_health_check=health is not None and bool(deployment.addresses))
        incident = await self._incidents.open_for(scope, deployment.deployment_id)
        if waiting is not None:
            await self._tell_run(scope, deployment, waiting, judgement, samples, incident)
            return
        if incident is not None and incident.found_by != "host":
            return
        if judgement.verdict == "breach":
            await self._report_breach(scope, deployment, judgement, samples, incident)
        elif samples[-1].lost:
            await self._report_lost(scope, deployment, samples[-1], incident)
        elif incident is not None and _is_back(samples, thresholds):
            await self._incidents.resolve(scope, incident.incident_id, "it runs again and can be observed")
        elif incident is None and _is_out_of_sight(samples, thresholds):
            await self._report_out_of_sight(scope, deployment)

    async def _sampled(
        self, scope: Scope, deployment: Deployment, thresholds: Thresholds, health: HealthCheck | None
    ) -> list[Sample]:
        """The samples of the window, with one more look."""
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
        return samples

    async def _tell_run(
        self,
        scope: Scope,
        deployment: Deployment,
        waiting: Waiting,
        judgement: Judgement,
        samples: list[Sample],
        known: Incident | None,
    ) -> None:
        """What has gone wrong while its run waits is found by that run: it takes the way back, and nobody is asked any more."""
        if known is None and judgement.verdict == "breach" and is_its_own(judgement, samples):
            evidence = msgspec.to_builtins(judgement) | {"samples": told(samples)}
            known = await self._incidents.open(scope, deployment, f"{deployment.place}: {judgement.reason()}", evidence)
        if known is not None and known.found_by == "run":
            await self._parked.end(scope, waiting)

    async def _report_breach(
        self, scope: Scope, deployment: Deployment, judgement: Judgement, samples: list[Sample], known: Incident | None
    ) -> None:
        if known is not None:
            # That one says that nothing is held against the release, which is over; one incident is open at a time.
            await self._incidents.resolve(scope, known.incident_id, f"what is left of it has gone wrong: {judgement.reason()}")
        evidence = msgspec.to_builtins(judgement) | {"samples": told(samples)}
        await self._incidents.open(scope, deployment, f"{deployment.place}: {judgement.reason()}", evidence, found_by="watch")

    async def _report_out_of_sight(self, scope: Scope, deployment: Deployment) -> None:
        title = f"{deployment.place} does not answer, and its {deployment.target} cannot be observed"
        asks = f"{title}. Nothing is rolled back for that: see whether what it runs on is there"
        await self._incidents.open(scope, deployment, title, {}, severity="critical", found_by="host", asks=asks)

    async def _report_lost(self, scope: Scope, deployment: Deployment, sample: Sample, known: Incident | None) -> None:
        title = f"{deployment.place} does not run: its process was stopped from outside"
        if not sample.is_lost:
            some = f"{len(sample.lost)} of {len(deployment.instances)} instances"
            title = f"{some} of {deployment.place} do not run: they were stopped or replaced from outside"
        # What becomes of it is healed, or asked, as drift: one question for one thing.
        if known is None or all(what != title for _, what in known.timeline):
            await self._incidents.open(scope, deployment, title, {}, severity="critical", found_by="host")


def _is_out_of_sight(samples: list[Sample], thresholds: Thresholds) -> bool:
    """Whether it neither answers nor can be seen for so many looks in a row that a person has to know."""
    last = samples[-thresholds.health_failures :]
    return len(last) == thresholds.health_failures and all(item.is_running is None and item.healthy is False for item in last)


def _is_back(samples: list[Sample], thresholds: Thresholds) -> bool:
    last = samples[-thresholds.health_failures :]
    return len(last) == thresholds.health_failures and all(
        item.is_running and not item.lost and item.healthy is not False for item in last
    )
