"""Looking at a deployment: its instances, their health checks, the forwarder's numbers."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Literal

from interlock.core.addresses import Address, local
from interlock.core.clock import Clock
from interlock.core.errors import Unavailable
from interlock.delivery.judging.watch import NO_TRAFFIC, Sample
from interlock.delivery.model import Deployment, Instance, Observed, Route, addresses_of, judge_health
from interlock.delivery.ports import Forwarder, LegCounters, LegKind, LegStatus
from interlock.delivery.targets import Targets, is_itself
from interlock.sources.model import HealthCheck
from interlock.tools.ports import HttpClient, ProcessState, ProcessStatus

Sharing = Literal["alone", "split", "candidate", "mixed"]
"""Who gets the requests of a deployment's stable leg: it ``alone``; ``split``, a candidate gets a part by way of its own leg,
where that part is counted; ``candidate``, the same where the deployment is that candidate; ``mixed``, instances of another
deployment stand beside its own, as in a rolling update, or the leg leads where nobody led it, so that nobody can tell whose
requests were whose."""

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
        statuses = await self._targets.statuses(deployment)
        # What was not stopped by its own fault says nothing against the release.
        lost = {instance for instance, status in statuses.items() if _is_gone(instance, status)}
        has_stranger = any(statuses[instance].state in {"running", "starting"} for instance in lost)
        left = [status for instance, status in statuses.items() if instance not in lost]
        seen = bool(left) and all(status.state != "unknown" for status in left)
        counters, elsewhere = await self._traffic(deployment, "mixed" if has_stranger else sharing)
        return Sample(
            at_s=self._clock.monotonic(),
            counters=counters,
            elsewhere=elsewhere,
            beside=await self.counters(_route(deployment), "stable") if sharing == "candidate" else None,
            healthy=_together(await self._answers(addresses_of(item for item in statuses if item not in lost), health)),
            is_running=all(status.state in {"running", "starting"} for status in left) if seen else None,
            restarts=sum(status.restarts for status in left) if seen else None,
            lost=tuple(sorted(instance.key for instance in lost)),
            is_lost=bool(lost) and not left,
        )

    async def observe(self, deployment: Deployment, health: HealthCheck | None) -> Observed:
        """What is true of a deployment now, whatever its record says."""
        found = await self._targets.statuses(deployment)
        statuses = tuple(found.values())
        # Another one under the key of an instance is not that instance.
        process = worst(status.state if is_itself(instance, status) else "absent" for instance, status in found.items())
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
        """Who else gets requests of the stable leg now. ``mixed``, too, where the leg does not lead where it was led: then it
        was edited from outside, or is being led elsewhere at this moment, and its answers may be the forwarder's own."""
        leg = await self._leg(route, "stable")
        if leg is not None and set(leg.shares) != set(route.shares):
            return "mixed"
        if route.deployment_id != deployment.deployment_id:
            return "candidate" if await self._is_led_to(deployment, route) else "mixed"
        others = {share.address for share in route.shares} - set(deployment.addresses)
        if not others:
            return "alone"
        return "split" if others == {local(route.candidate_port)} else "mixed"

    async def is_split(self, candidate: Deployment, stable: Deployment, route: Route) -> bool:
        """Whether both legs lead where a canary needs them, as far as the forwarder answers."""
        return await self._is_led_to(candidate, route) and await self.sharing(stable, route) == "split"

    async def _is_led_to(self, candidate: Deployment, route: Route) -> bool:
        leg = await self._leg(route, "candidate")
        return leg is None or {share.address for share in leg.shares} == set(candidate.addresses)

    async def _leg(self, route: Route, kind: LegKind) -> LegStatus | None:
        try:
            return await self._forwarder.read(route.name, kind)
        except Unavailable:
            return None

    async def _traffic(self, deployment: Deployment, sharing: Sharing) -> tuple[LegCounters | None, LegCounters | None]:
        """What the stable leg has counted, and what of it went elsewhere."""
        if not deployment.addresses or sharing == "mixed":
            # A service without a port has no counters of its own, and that is known, not unclear.
            return NO_TRAFFIC, None
        if sharing != "split":
            return await self.counters(_route(deployment), "stable" if sharing == "alone" else "candidate"), None
        # In this order: what comes in between is then in the leg that has the other's requests too.
        candidate = await self.counters(_route(deployment), "candidate")
        stable = await self.counters(_route(deployment), "stable")
        return (None, None) if candidate is None else (stable, candidate)

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


def _is_gone(instance: Instance, status: ProcessStatus) -> bool:
    """Whether it is not there any more, or another one is in its place, by no doing of its own."""
    was_stopped = status.state in {"lost", "absent"} or (status.state == "exited" and status.reason == "stopped")
    return was_stopped or not is_itself(instance, status)


def _together(answers: list[bool]) -> bool | None:
    return all(answers) if answers else None
