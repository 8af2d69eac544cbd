"""The numbers of an analysis: of a candidate and of what serves beside it, from the forwarder, Prometheus, pages and logs."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from interlock.core.clock import Clock
from interlock.core.errors import InterlockError
from interlock.core.patterns import Pattern
from interlock.delivery.judging.analysis import Comparison, compare, error_rate, excess_of, is_relative, p95_ms
from interlock.delivery.judging.queries import filled
from interlock.delivery.judging.significance import EARLY_Z, FINAL_Z
from interlock.delivery.judging.watch import minus, since
from interlock.delivery.logs.patterns import Tally, per_minute, read_on
from interlock.delivery.model import Deployment
from interlock.delivery.ports import LegCounters, Measurement, MetricPages, MetricSource
from interlock.delivery.targets import Targets
from interlock.sources.model import Check
from interlock.tools.endings import length_of

METRICS_PATH = "/metrics"


class Legs(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of both legs at one moment. What came through the candidate's by way of the stable one is in both."""

    candidate: LegCounters
    stable: LegCounters


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What the forwarder has counted for the candidate, and for what serves beside it."""

    candidate: LegCounters
    stable: LegCounters


def counted(base: Legs, now: Legs) -> Counted:
    """What has come since ``base``. Each leg by itself first: before, the candidate's has had requests that never came through
    the stable one, such as those of its checks."""
    candidate = since(base.candidate, now.candidate)
    return Counted(candidate=candidate, stable=minus(since(base.stable, now.stable), candidate))


class SignalSources(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask."""

    metrics: MetricSource
    pages: MetricPages
    targets: Targets


class Signals:
    """The signals of one bake. What was logged is counted from `begin` on."""

    def __init__(self, sources: SignalSources, clock: Clock, candidate: Deployment, stable: Deployment, bake_s: float) -> None:
        self._sources = sources
        self._clock = clock
        self._candidate = candidate
        self._stable = stable
        self._began_s = 0.0
        # One line in the first second is not sixty a minute.
        self._shortest_s = min(bake_s, 60.0)
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._before: dict[tuple[str, str], Tally] = {}

    async def begin(self, checks: Sequence[Check]) -> None:
        """Remember where the logs end now."""
        self._began_s = self._clock.monotonic()
        for check in checks:
            if check.signal == "log_pattern":
                for deployment in (self._candidate, self._stable):
                    for instance in deployment.instances:
                        await self._mark(check, deployment, instance.key)

    async def _mark(self, check: Check, deployment: Deployment, key: str) -> None:
        try:
            offset = await length_of(self._sources.targets.of(deployment.target), key)
        except InterlockError:
            return
        self._tallies[check.query, key] = self._before[check.query, key] = Tally(offset=offset)

    async def compare(self, check: Check, window: Counted | None, min_requests: int, *, is_over: bool) -> Comparison:
        """One check with the numbers as they are now; before it ``is_over``, only what is plain beyond chance fails."""
        measure = self._measure(check, window, min_requests)
        candidate = await measure(self._candidate)
        stable = await measure(self._stable) if is_relative(check) else None
        z = FINAL_Z if is_over else EARLY_Z
        surely = excess_of(check, window.candidate, window.stable, z) if window is not None else None
        return compare(check, candidate, stable, surely)

    def _measure(
        self, check: Check, window: Counted | None, min_requests: int
    ) -> Callable[[Deployment], Awaitable[Measurement]]:
        async def forwarded(deployment: Deployment) -> Measurement:
            if window is None:
                return Measurement(value=None, reason="the forwarder does not answer, its counters are unknown")
            counters = window.candidate if deployment is self._candidate else window.stable
            return (error_rate if check.signal == "error_rate" else p95_ms)(counters, min_requests)

        ways = {"promql": self._query, "metric": self._page, "log_pattern": self._lines}
        way = ways.get(check.signal)
        return forwarded if way is None else lambda deployment: way(check, deployment)

    async def _query(self, check: Check, deployment: Deployment) -> Measurement:
        names = {"deployment": deployment.deployment_id, "release": deployment.release_id}
        values = names | {"service": deployment.service, "environment": deployment.environment}
        try:
            return await self._sources.metrics.query(filled(check.query, values))
        except InterlockError as error:
            return Measurement(value=None, reason=error.message)

    async def _page(self, check: Check, deployment: Deployment) -> Measurement:
        """The mean over the instances, so that deployments of different size can be compared."""
        urls = [address.url(METRICS_PATH) for address in deployment.addresses]
        try:
            found = [await self._sources.pages.sample(url, check.query) for url in urls]
        except InterlockError as error:
            return Measurement(value=None, reason=error.message)
        values = [item.value for item in found if item.value is not None]
        if not found or len(values) < len(found):
            reason = next((item.reason for item in found if item.value is None), "it has no instance that could be asked")
            return Measurement(value=None, reason=reason)
        return Measurement(value=sum(values) / len(values), samples=sum(item.samples for item in found))

    async def _lines(self, check: Check, deployment: Deployment) -> Measurement:
        """Matching lines a minute of all instances together, since the bake began."""
        seconds = max(self._clock.monotonic() - self._began_s, self._shortest_s)
        found: list[Measurement] = []
        for instance in deployment.instances:
            place = check.query, instance.key
            if place not in self._tallies:
                return Measurement(value=None, reason=f"the log of {instance.key} could not be read when the bake began")
            workloads = self._sources.targets.of(deployment.target)
            try:
                self._tallies[place] = await read_on(workloads, instance.key, self._tallies[place], Pattern(check.query))
            except InterlockError as error:
                return Measurement(value=None, reason=error.message)
            found.append(per_minute(self._before[place], self._tallies[place], seconds))
        values = [item.value for item in found if item.value is not None]
        if len(values) < len(found):
            return next(item for item in found if item.value is None)
        reason = next((item.reason for item in found if item.reason), "")
        is_at_least = any(item.is_at_least for item in found)
        samples = sum(item.samples for item in found)
        return Measurement(value=sum(values), samples=samples, reason=reason, is_at_least=is_at_least)
