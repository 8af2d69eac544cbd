"""The analysis: a candidate beside what serves, judged by the numbers of both. Pure; `steps.analysing` takes the numbers.

Three verdicts, as of the watch: ``fail`` brings the candidate back, ``pass`` lets it go on, and ``inconclusive`` does neither.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from interlock.delivery.judging.significance import ErrorExcess, Excess, LatencyExcess, quantile
from interlock.delivery.ports import LegCounters, Measurement
from interlock.sources.model import AnalysisPolicy, Check

Verdict = Literal["pass", "fail", "inconclusive"]

MIN_REQUESTS = 20
CHECKS = (
    Check(name="error rate", signal="error_rate", max_increase=0.02),
    Check(name="latency", signal="p95_ms", max_increase=100.0),
)
"""Where the module names none: 2 of 100 more requests may fail, and 95 % of them may take 100 ms longer."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One check with what was observed; ``detail`` is for people."""

    check: Check
    candidate: Measurement
    stable: Measurement | None
    verdict: Verdict
    detail: str


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a candidate, with every number that led to it."""

    verdict: Verdict
    comparisons: tuple[Comparison, ...]

    def reason(self) -> str:
        """What failed, else what cannot be told, else that all is well, with the numbers."""
        for verdict in ("fail", "inconclusive"):
            if found := [item.detail for item in self.comparisons if item.verdict == verdict]:
                return "; ".join(found)
        numbers = "; ".join(item.detail for item in self.comparisons)
        return f"the candidate does as well as what serves: {numbers}"


def checks_of(policy: AnalysisPolicy) -> tuple[Check, ...]:
    """The checks of a policy, or the usual ones."""
    return policy.checks or CHECKS


def is_relative(check: Check) -> bool:
    """Whether the check compares with what serves."""
    return check.max_increase is not None or check.max_ratio is not None


def conclude(comparisons: Sequence[Comparison]) -> Conclusion:
    """One verdict of all: a single failure fails, a single doubt leaves it in doubt."""
    verdicts = {item.verdict for item in comparisons}
    verdict: Verdict = "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"
    return Conclusion(verdict=verdict, comparisons=tuple(comparisons))


def compare(check: Check, candidate: Measurement, stable: Measurement | None, surely: Excess | None = None) -> Comparison:
    """Judge one check. What cannot be told is inconclusive, unless a bound that can be told is crossed. With ``surely`` a bound
    is crossed only where that is no chance of few requests, and else open."""
    bounds = _bounds(check, candidate, stable, surely or _always)
    crossed = [words for words, holds in bounds if holds is False]
    doubtful = list(dict.fromkeys(words for words, holds in bounds if holds is None))
    if not crossed and not doubtful and candidate.is_at_least:
        # It may be more than what was seen, so that a bound which seems to hold may not.
        doubtful = [candidate.reason]
    verdict: Verdict = "fail" if crossed else "inconclusive" if doubtful else "pass"
    seen = _shown(check, candidate)
    detail = f"{check.name}: {seen}; " + "; ".join(crossed or doubtful or [words for words, _ in bounds])
    return Comparison(check=check, candidate=candidate, stable=stable, verdict=verdict, detail=detail.rstrip("; "))


def _always(*, plus: float = 0.0, times: float = 0.0) -> bool:
    return True


def _bounds(check: Check, candidate: Measurement, stable: Measurement | None, surely: Excess) -> list[tuple[str, bool | None]]:
    """Each bound in words, and whether it holds; None where that cannot be told."""
    value, base = candidate.value, stable.value if stable else None
    why = candidate.reason if value is None else (stable.reason if stable else "nothing serves beside it")
    found: list[tuple[str, bool | None]] = []
    if check.max is not None:
        wanted = f"at most {check.max:g} wanted"
        found.append((why, None) if value is None else _held(wanted, value <= check.max, surely(plus=check.max)))
    if check.min is not None:
        wanted = f"at least {check.min:g} wanted"
        found.append((why, None) if value is None else (wanted, value >= check.min))
    for allowed, plus, times, words in (
        (check.max_increase, check.max_increase or 0.0, 1.0, "more"),
        (check.max_ratio, 0.0, check.max_ratio or 0.0, "times as much"),
    ):
        if allowed is not None and (value is None or base is None):
            found.append((why, None))
        elif allowed is not None and value is not None and base is not None:
            wanted = f"what serves has {base:.4g}, at most {allowed:g} {words} wanted"
            found.append(_held(wanted, value <= base * times + plus, surely(plus=plus, times=times)))
    return found


def _held(wanted: str, holds: bool, is_sure: bool) -> tuple[str, bool | None]:
    if holds or is_sure:
        return wanted, holds
    return f"{wanted}, but so few requests may be chance", None


def _shown(check: Check, number: Measurement) -> str:
    if number.value is None:
        return "it cannot be told"
    if check.signal == "error_rate":
        return f"{number.value:.1%} of {number.samples} requests failed"
    if check.signal == "p95_ms":
        return f"95 % of {number.samples} requests took up to {number.value:.0f} ms"
    return f"{number.value:.4g}"


# --- the forwarder's signals ---


def error_rate(counters: LegCounters, min_requests: int) -> Measurement:
    """The share of requests that were answered with a server error."""
    if counters.requests < min_requests:
        return _too_few(counters.requests, min_requests)
    return Measurement(value=counters.server_errors / counters.requests, samples=counters.requests)


def p95_ms(counters: LegCounters, min_requests: int) -> Measurement:
    """The 95th percentile of the time to the end of the answer."""
    if counters.requests < min_requests:
        return _too_few(counters.requests, min_requests)
    return Measurement(value=quantile(counters.buckets, 0.95) * 1000, samples=counters.requests)


def _too_few(requests: int, wanted: int) -> Measurement:
    return Measurement(value=None, samples=requests, reason=f"{requests} requests are too few to tell ({wanted} wanted)")


def excess_of(check: Check, candidate: LegCounters, stable: LegCounters, z: float) -> Excess | None:
    """Whether the candidate surely has more of a signal of the forwarder; None for a check of another one."""
    kinds = {"error_rate": ErrorExcess, "p95_ms": LatencyExcess}
    kind = kinds.get(check.signal)
    return None if kind is None else kind(candidate=candidate, stable=stable, z=z)
