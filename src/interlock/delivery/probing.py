"""Looking at a deployment: its instances, their health checks, the forwarder's numbers."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Literal

from interlock.core.addresses import Address, local
from interlock.core.clock import Clock
from interlock.core.errors import Unavailable
from interlock.delivery.model import Deployment, Observed, Route, judge_health
from interlock.delivery.ports import Forwarder, LegCounters, LegKind
from interlock.delivery.targets import Targets
from interlock.delivery.watch import NO_TRAFFIC, Sample, minus
from interlock.sources.model import HealthCheck
from interlock.tools.ports import HttpClient, ProcessState, ProcessStatus

Sharing = Literal["alone", "split", "mixed"]
"""Who gets the requests of a deployment's stable leg: it ``alone``; ``split``, a candidate gets a part by way of its own leg,
where that part is counted; ``mixed``, instances of another deployment stand beside its own, as in a rolling update, and nobody
can tell whose requests were whose."""

_WORST: tuple[ProcessState, ...] = ("running", "starting", "unknown", "exited", "lost", "absent")


class Observer:
    """Reads the world; changes nothing."""

    def __init__(self, targets: Targets, forwarder: Forwarder, http: HttpClient, clock: Clock) -> None:
        self._targets = targets
        self._forwarder = forwarder
        self._http = http
        self._clock = clock

    async def sample(self, deployment: Deployment, health: HealthCheck | None, sharing: Sharing = "alone") -> Sample:
        """One look at a serving deployment, of whose requests others get what ``sharing`` says; those are not counted."""
        statuses = tuple((await self._targets.statuses(deployment)).values())
        # What was not stopped by its own fault says nothing against the release.
        is_lost = any(_was_stopped(status) for status in statuses)
        seen = bool(statuses) and not is_lost and all(status.state != "unknown" for status in statuses)
        return Sample(
            at_s=self._clock.monotonic(),
            counters=await self._traffic(deployment, sharing),
            healthy=_together(await self._answers(deployment.addresses, health)),
            is_running=all(status.state in {"running", "starting"} for status in statuses) if seen else None,
            restarts=sum(status.restarts for status in statuses) if seen else None,
            is_lost=is_lost,
        )

    async def observe(self, deployment: Deployment, health: HealthCheck | None) -> Observed:
        """What is true of a deployment now, whatever its record says."""
        statuses = tuple((await self._targets.statuses(deployment)).values())
        process = worst(status.state for status in statuses)
        answers = _together(await self._answers(deployment.addresses, health)) if process == "running" else None
        verdict, reason = judge_health(process=process, answers=answers, has_check=health is not None)
        try:
            leg = await self._forwarder.read(_route(deployment), "stable")
        except Unavailable as error:
            leg, verdict, reason = None, "unknown", f"the forwarder does not answer: {error.message}"
        led_to = {share.address for share in leg.shares} if leg else set[Address]()
        routed = set(deployment.addresses) <= led_to
        restarts = sum(status.restarts for status in statuses)
        return Observed(health=verdict, process=process, restarts=restarts, routed=routed, reason=reason)

    async def counters(self, route: str, kind: LegKind) -> LegCounters | None:
        """What the forwarder has counted on a leg; None where it does not answer."""
        try:
            return await self._forwarder.measure(route, kind)
        except Unavailable:
            return None

    async def sharing(self, deployment: Deployment, route: Route) -> Sharing:
        """Who else gets requests of the stable leg now, by the record or by the leg itself, which follows the record."""
        try:
            leg = await self._forwarder.read(route.name, "stable")
        except Unavailable:
            leg = None
        led_to = {share.address for share in (*route.shares, *(leg.shares if leg else ()))}
        others = led_to - set(deployment.addresses)
        if not others:
            return "alone"
        return "split" if others == {local(route.candidate_port)} else "mixed"

    async def _traffic(self, deployment: Deployment, sharing: Sharing) -> LegCounters | None:
        if not deployment.addresses or sharing == "mixed":
            # A service without a port has no counters of its own, and that is known, not unclear.
            return NO_TRAFFIC
        stable = await self.counters(_route(deployment), "stable")
        if sharing == "alone" or stable is None:
            return stable
        candidate = await self.counters(_route(deployment), "candidate")
        return None if candidate is None else minus(stable, candidate)

    async def _answers(self, addresses: Sequence[Address], health: HealthCheck | None) -> list[bool]:
        if health is None:
            return []
        urls = [address.url(health.path) for address in addresses]
        answers = await asyncio.gather(*[self._http.get(url, timeout_s=health.timeout_s) for url in urls])
        return [200 <= answer.status < 300 for answer in answers]


def worst(states: Iterable[ProcessState]) -> ProcessState:
    """The state that says most against a deployment; ``absent`` for one without instances."""
    found: list[ProcessState] = sorted(states, key=_WORST.index)
    return found[-1] if found else "absent"


def _route(deployment: Deployment) -> str:
    return f"{deployment.service}.{deployment.environment}"


def _was_stopped(status: ProcessStatus) -> bool:
    return status.state in {"lost", "absent"} or (status.state == "exited" and status.reason == "stopped")


def _together(answers: list[bool]) -> bool | None:
    return all(answers) if answers else None
