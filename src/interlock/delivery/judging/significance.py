"""Whether numbers of few requests are sure: what is seen by chance in a handful is no verdict. Pure."""

import math
from typing import Protocol

import msgspec

from interlock.delivery.ports import LegCounters

EARLY_Z = 3.3
"""Standard normal quantile of 1 in 2000: an analysis that is not over yet looks many times, and each look may err."""
FINAL_Z = 2.33
"""Standard normal quantile of 1 in 100, for the one look that ends it."""
SLOW_SHARE = 0.05
"""Of the requests: so many may be slower than the 95th percentile."""


class Excess(Protocol):
    """Whether a candidate surely has more than ``plus`` and ``times`` what serves."""

    def __call__(self, *, plus: float = 0.0, times: float = 0.0) -> bool: ...


def wilson(hits: int, count: int, z: float) -> tuple[float, float]:
    """Bounds of the share behind ``hits`` of ``count``, each of which is wrong as rarely as ``z`` says.

    The score interval of E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the
    American Statistical Association 22 (1927) 209-212. Unlike the share with its deviation it holds for few and for rare hits.
    """
    if not count:
        return 0.0, 1.0
    share, spread = hits / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def least_difference(one: tuple[int, int], other: tuple[int, int], times: float, z: float) -> float:
    """The lower bound of the first share less ``times`` the second one; each is given as hits and count.

    Method 10 of R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine
    17 (1998) 873-890, which joins two Wilson intervals; with a factor as in G. Zou and A. Donner, Statistics in Medicine 27
    (2008) 1693-1702.
    """
    share, base = one[0] / one[1], other[0] / other[1] if other[1] else 0.0
    low, high = wilson(*one, z)[0], wilson(*other, z)[1]
    return share - times * base - math.hypot(share - low, times * (high - base))


class ErrorExcess(msgspec.Struct, frozen=True, kw_only=True):
    """`Excess` of the share of requests that failed."""

    candidate: LegCounters
    stable: LegCounters
    z: float

    def __call__(self, *, plus: float = 0.0, times: float = 0.0) -> bool:
        one = (self.candidate.server_errors, self.candidate.requests)
        other = (self.stable.server_errors, self.stable.requests)
        return least_difference(one, other, times, self.z) > plus


class LatencyExcess(msgspec.Struct, frozen=True, kw_only=True):
    """`Excess` of the 95th percentile in milliseconds: surely more than 5 % of the requests are slower than allowed.

    What serves is taken at the upper bound of its own percentile, by ranks: W. J. Conover, Practical Nonparametric Statistics,
    3rd edition (1999), section 3.2.
    """

    candidate: LegCounters
    stable: LegCounters
    z: float

    def __call__(self, *, plus: float = 0.0, times: float = 0.0) -> bool:
        deviation = math.sqrt(SLOW_SHARE * (1 - SLOW_SHARE) / max(1, self.stable.requests))
        rank = min(1.0, 1 - SLOW_SHARE + self.z * deviation)
        limit_s = plus / 1000 + times * quantile(self.stable.buckets, rank)
        requests = self.candidate.requests
        slower = max(0, round(requests - within(self.candidate.buckets, limit_s)))
        return wilson(slower, requests, self.z)[0] > SLOW_SHARE


def quantile(buckets: dict[str, int], share: float) -> float:
    """The quantile in seconds from cumulative buckets, linear within a bucket, as Prometheus' ``histogram_quantile`` does.

    What lies beyond the last finite bound counts as that bound.
    """
    ordered = sorted((float(bound), count) for bound, count in buckets.items())
    total = ordered[-1][1] if ordered else 0
    if total == 0:
        return 0.0
    rank = share * total
    lower, below = 0.0, 0
    for bound, count in ordered:
        if count >= rank:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (rank - below) / max(1, count - below)
        lower, below = bound, count
    return lower


def within(buckets: dict[str, int], limit_s: float) -> float:
    """How many requests took at most so long, by the same line within a bucket as `quantile`."""
    lower, below = 0.0, 0
    for bound, count in sorted((float(bound), count) for bound, count in buckets.items()):
        if limit_s < bound:
            inside = 0.0 if bound == math.inf else (limit_s - lower) / (bound - lower)
            return below + (count - below) * inside
        lower, below = bound, count
    return below
