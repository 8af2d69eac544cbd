"""The watch: samples of a deployment, judged against thresholds. Pure; `watcher.py` takes the samples.

What is observed decides, and it is three-valued: a breach rolls back, a pass promotes, and what cannot be told does neither.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from interlock.delivery.judging.significance import EARLY_Z, ErrorExcess, LatencyExcess, quantile
from interlock.delivery.ports import LegCounters
from interlock.sources.model import WatchPolicy

Verdict = Literal["pass", "breach", "inconclusive"]


NO_TRAFFIC = LegCounters(generation="none", requests=0, server_errors=0, buckets={})
"""Of what has no leg, or none that tells whose its requests were: nothing is counted, neither up to it nor from it on."""


FLAPPING_SHARE = 1 / 3
"""Of the looks in a window: a health check that fails at so many, and at twice the limit in a row, has gone wrong too."""


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """A watch policy with everything said; only ``p95_ms`` may be left unwatched."""

    window_s: float = 60.0
    interval_s: float = 2.0
    min_requests: int = 20
    error_rate: float = 0.05
    p95_ms: float | None = None
    health_failures: int = 3
    restarts: int = 3


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a deployment. ``at_s`` is monotonic time; ``counters`` is None where the forwarder did not answer,
    ``healthy`` None where there is no health check, ``restarts`` and ``is_running`` None where the process cannot be seen.
    All of them are about what is left without ``lost``."""

    at_s: float
    counters: LegCounters | None
    healthy: bool | None
    is_running: bool | None
    restarts: int | None
    elsewhere: LegCounters | None = None
    """What is in ``counters`` and went to another deployment, as its own leg has counted it."""
    beside: LegCounters | None = None
    """Of a candidate: what the stable leg has counted, of which its own requests were a part."""
    lost: tuple[str, ...] = ()
    """Instances that are gone by no doing of their own: the host was restarted, somebody stopped them or put another one in
    their place."""
    is_lost: bool = False
    """Nothing is left of it."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One signal beside its threshold. ``crossed`` is None where it cannot be told yet."""

    signal: Literal["error_rate", "p95_ms", "health", "restarts", "process"]
    observed: float | None
    threshold: float
    crossed: bool | None
    detail: str


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict, with every number that led to it."""

    verdict: Verdict
    requests: int
    readings: tuple[Reading, ...]

    def reason(self) -> str:
        """The crossed signals in words, or what could not be told."""
        wanted = [reading.detail for reading in self.readings if reading.crossed] or [
            reading.detail for reading in self.readings if reading.crossed is None
        ]
        return "; ".join(wanted) or "all signals are within their thresholds"


def merge(*policies: WatchPolicy) -> Thresholds:
    """The thresholds in force: the first policy that says something about a field decides it."""
    said: dict[str, float] = {}
    for policy in policies:
        for name in policy.__struct_fields__:
            value = getattr(policy, name)
            if value is not None:
                said.setdefault(name, value)
    return msgspec.convert(said, Thresholds)


def as_policy(thresholds: Thresholds) -> WatchPolicy:
    """The thresholds as a policy with every field said."""
    return msgspec.convert(msgspec.to_builtins(thresholds), WatchPolicy)


def judge(samples: Sequence[Sample], thresholds: Thresholds, *, has_health_check: bool) -> Judgement:
    """Judge the samples of one window, oldest first; the first holds the counters from which the window counts."""
    last, all_requests = samples[-1], traffic(samples)[0]
    if last.is_lost or last.is_running is None:
        # Its health check and its requests fail for a reason that says nothing against the release.
        return Judgement(verdict="inconclusive", requests=all_requests, readings=(_process(last),))
    samples = _since_seen(samples)
    requests, errors, buckets = traffic(samples)
    readings = [_process(last)]
    if has_health_check:
        readings.append(_health(samples, thresholds.health_failures))
    readings.append(_restarts(samples, thresholds.restarts))
    if last.counters is None:
        lost = "the forwarder does not answer, its counters are unknown"
        readings.append(Reading(signal="error_rate", observed=None, threshold=0, crossed=None, detail=lost))
    elif requests >= thresholds.min_requests:
        readings.append(_error_rate(requests, errors, thresholds.error_rate))
        if thresholds.p95_ms is not None:
            readings.append(_p95(buckets, requests, thresholds.p95_ms))
    verdict: Verdict = "pass"
    if any(reading.crossed for reading in readings):
        verdict = "breach"
    elif any(reading.crossed is None for reading in readings):
        verdict = "inconclusive"
    return Judgement(verdict=verdict, requests=all_requests, readings=tuple(readings))


def is_its_own(judgement: Judgement, samples: Sequence[Sample]) -> bool:
    """Whether a breach is the deployment's own doing: of a candidate's requests, only where it surely does worse than what
    serves beside it."""
    samples = _since_seen(samples)
    crossed = {reading.signal for reading in judgement.readings if reading.crossed}
    if all(sample.beside is None for sample in samples):
        return bool(crossed)
    candidate = _counted([sample.counters for sample in samples])
    stable = minus(_counted([sample.beside for sample in samples]), candidate)
    is_worse = {
        "error_rate": ErrorExcess(candidate=candidate, stable=stable, z=EARLY_Z),
        "p95_ms": LatencyExcess(candidate=candidate, stable=stable, z=EARLY_Z),
    }
    return any(signal not in is_worse or is_worse[signal](times=1.0) for signal in crossed)


def _since_seen(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples after the last look at which it was not there to be seen, or since a part of it went or came: what failed
    until then failed for that reason."""
    first = 0
    for number, sample in enumerate(samples):
        if sample.is_lost or sample.is_running is None:
            first = number + 1
        elif number and sample.lost != samples[number - 1].lost:
            first = number
    return samples[first:]


def traffic(samples: Sequence[Sample]) -> tuple[int, int, dict[str, int]]:
    """Requests, server errors and latency buckets within the window, without those that went elsewhere."""
    # Each leg by itself first: the other one has had requests that never came through this one, such as those of checks.
    found = _counted([sample.counters for sample in samples])
    found = minus(found, _counted([sample.elsewhere for sample in samples]))
    return found.requests, found.server_errors, found.buckets


def _counted(all_counters: Iterable[LegCounters | None]) -> LegCounters:
    """What one leg has counted from the first of them to the last; a forwarder started anew counts from zero again."""
    requests = errors = 0
    buckets: dict[str, int] = {}
    before: LegCounters | None = None
    for counters in all_counters:
        if counters is None:
            continue
        if before is not None and NO_TRAFFIC.generation not in {before.generation, counters.generation}:
            new = since(before, counters)
            requests, errors = requests + new.requests, errors + new.server_errors
            for bound, count in new.buckets.items():
                buckets[bound] = buckets.get(bound, 0) + count
        before = counters
    return LegCounters(generation="", requests=requests, server_errors=errors, buckets=buckets)


def minus(all_of_it: LegCounters, part: LegCounters) -> LegCounters:
    """What is left of a leg's counters without a part of its requests that was counted at another leg too."""
    bounds = {bound: max(0, count - part.buckets.get(bound, 0)) for bound, count in all_of_it.buckets.items()}
    return LegCounters(
        generation=f"{all_of_it.generation} {part.generation}",
        requests=max(0, all_of_it.requests - part.requests),
        server_errors=max(0, all_of_it.server_errors - part.server_errors),
        buckets=bounds,
    )


def since(base: LegCounters, now: LegCounters) -> LegCounters:
    """What was counted after ``base``; all of it where the counters began anew in between."""
    if base.generation != now.generation:
        return now
    return msgspec.structs.replace(minus(now, base), generation=now.generation)


def _process(last: Sample) -> Reading:
    if last.is_running is None:
        unseen = "the process was stopped from outside" if last.is_lost else "the process cannot be observed"
        return Reading(signal="process", observed=None, threshold=1, crossed=None, detail=unseen)
    detail = "the process runs" if last.is_running else "the process has ended"
    return Reading(signal="process", observed=float(last.is_running), threshold=1, crossed=not last.is_running, detail=detail)


def _health(samples: Sequence[Sample], limit: int) -> Reading:
    failures = 0
    for sample in reversed(samples):
        if sample.healthy is not False:
            break
        failures += 1
    unknown = samples[-1].healthy is None
    detail = f"the health check failed {failures} times in a row (limit {limit})"
    looks = [sample.healthy for sample in samples if sample.healthy is not None]
    bad = looks.count(False)
    is_flapping = bad >= 2 * limit and bad >= FLAPPING_SHARE * len(looks)
    if unknown:
        detail = "the health check could not be made"
    elif is_flapping and failures < limit:
        detail = f"the health check comes and goes: it failed {bad} of {len(looks)} times (limit {limit} in a row)"
    crossed = None if unknown else failures >= limit or is_flapping
    return Reading(signal="health", observed=float(failures), threshold=limit, crossed=crossed, detail=detail)


def _restarts(samples: Sequence[Sample], limit: int) -> Reading:
    known = [sample.restarts for sample in samples if sample.restarts is not None]
    if not known:
        return Reading(signal="restarts", observed=None, threshold=limit, crossed=None, detail="restarts cannot be observed")
    count = known[-1] - known[0]
    detail = f"the process was restarted {count} times (limit {limit})"
    return Reading(signal="restarts", observed=float(count), threshold=limit, crossed=count >= limit, detail=detail)


def _error_rate(requests: int, errors: int, limit: float) -> Reading:
    rate = errors / requests if requests else 0.0
    detail = f"{errors} of {requests} requests failed: {rate:.1%} (threshold {limit:.1%})"
    return Reading(signal="error_rate", observed=rate, threshold=limit, crossed=rate > limit, detail=detail)


def _p95(buckets: dict[str, int], requests: int, limit_ms: float) -> Reading:
    p95_ms = quantile(buckets, 0.95) * 1000
    detail = f"95 % of {requests} requests took up to {p95_ms:.0f} ms (threshold {limit_ms:.0f} ms)"
    return Reading(signal="p95_ms", observed=p95_ms, threshold=limit_ms, crossed=p95_ms > limit_ms, detail=detail)
