"""A candidate beside what serves: what fails it, what passes, and what is left open because it may be chance."""

import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.delivery.judging.analysis import CHECKS, MIN_REQUESTS, Verdict, compare, error_rate, excess_of, p95_ms
from interlock.delivery.judging.signals import Legs, counted
from interlock.delivery.judging.significance import EARLY_Z, FINAL_Z, quantile, wilson, within
from interlock.delivery.ports import LegCounters
from interlock.sources.model import Check

ERRORS, LATENCY = CHECKS
AT_MOST = Check(name="errors", signal="error_rate", max=0.02)
NONE_AT_ALL = Check(name="errors", signal="error_rate", max=0.0)


def leg(requests: int, errors: int = 0, slow: int = 0, generation: str = "g1") -> LegCounters:
    """Of the requests ``slow`` took between 0.5 and 2 seconds, the others up to 0.1."""
    buckets = {"0.1": requests - slow, "0.5": requests - slow, "2.0": requests, "inf": requests}
    return LegCounters(generation=generation, requests=requests, server_errors=errors, buckets=buckets)


def verdict(check: Check, candidate: LegCounters, stable: LegCounters, *, is_over: bool) -> Verdict:
    measure = error_rate if check.signal == "error_rate" else p95_ms
    least = MIN_REQUESTS if candidate.requests >= MIN_REQUESTS else 1
    surely = excess_of(check, candidate, stable, FINAL_Z if is_over else EARLY_Z)
    return compare(check, measure(candidate, least), measure(stable, least), surely).verdict


def bake(check: Check, looks: Iterable[tuple[LegCounters, LegCounters]]) -> Verdict:
    """The verdict of an analysis that sees these counters, one after the other."""
    every = [(one, other) for one, other in looks if min(one.requests, other.requests) >= MIN_REQUESTS]
    for candidate, stable in every[:-1]:
        if verdict(check, candidate, stable, is_over=False) == "fail":
            return "fail"
    return verdict(check, *every[-1], is_over=True)


def traffic(draws: random.Random, rate: float, share: float, looks: int = 60, each: int = 25, candidate_rate: float = -1.0):
    """Counters after each look; ``share`` of the requests goes to the candidate."""
    seen = [0, 0, 0, 0]
    for _ in range(looks):
        for _ in range(each):
            is_candidate = draws.random() < share
            fails = draws.random() < (candidate_rate if is_candidate and candidate_rate >= 0 else rate)
            seen[0 if is_candidate else 2] += 1
            seen[1 if is_candidate else 3] += fails
        yield leg(seen[0], seen[1]), leg(seen[2], seen[3])


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_a_candidate_that_fails_as_often_as_what_serves_is_aborted_in_less_than_one_of_a_hundred_bakes(rate, share):
    draws = random.Random(20)
    ends = Counter(bake(ERRORS, traffic(draws, rate, share)) for _ in range(400))
    assert ends["fail"] < 4, ends


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_where_one_in_a_hundred_fails_on_both_sides_most_bakes_pass(share):
    draws = random.Random(21)
    ends = Counter(bake(ERRORS, traffic(draws, 0.01, share)) for _ in range(100))
    assert ends["pass"] >= 90, ends


def test_one_error_in_the_first_twenty_requests_fails_nobody():
    assert verdict(ERRORS, leg(20, 1), leg(180, 2), is_over=False) == "inconclusive"
    assert verdict(ERRORS, leg(20, 1), leg(180, 2), is_over=True) == "inconclusive", "a person is asked"
    assert verdict(ERRORS, leg(100, 1), leg(900, 9), is_over=True) == "pass"


def test_one_that_fails_every_second_request_is_failed_by_its_first_twenty():
    draws = random.Random(22)
    drawn = [sum(draws.random() < 0.5 for _ in range(20)) for _ in range(200)]
    ends = Counter(verdict(ERRORS, leg(20, errors), leg(180, 1), is_over=False) for errors in drawn)
    assert ends["fail"] >= 195, ends
    assert verdict(ERRORS, leg(20, 10), leg(180, 0), is_over=False) == "fail"


@pytest.mark.parametrize("check", [ERRORS, AT_MOST, NONE_AT_ALL, Check(name="e", signal="error_rate", max_ratio=1.5)])
@pytest.mark.parametrize("beside", [20, 180, 5000])
def test_one_that_fails_every_request_is_failed_at_the_first_look(check, beside):
    assert verdict(check, leg(20, 20), leg(beside, 0), is_over=False) == "fail"


def test_an_absolute_bound_is_judged_the_same_way():
    assert verdict(AT_MOST, leg(20, 1), leg(180), is_over=False) == "inconclusive"
    assert verdict(AT_MOST, leg(100, 3), leg(900), is_over=True) == "inconclusive"
    assert verdict(AT_MOST, leg(1000, 40), leg(9000), is_over=True) == "fail"
    assert verdict(AT_MOST, leg(100, 2), leg(900), is_over=True) == "pass"


def test_where_no_error_at_all_is_allowed_a_single_one_fails():
    assert verdict(NONE_AT_ALL, leg(1000, 1), leg(900), is_over=False) == "fail"
    assert verdict(NONE_AT_ALL, leg(1000), leg(900), is_over=True) == "pass"


def test_a_few_slow_requests_are_no_latency():
    assert verdict(LATENCY, leg(20, slow=2), leg(180), is_over=False) == "inconclusive"
    assert verdict(LATENCY, leg(20, slow=20), leg(180), is_over=False) == "fail"
    assert verdict(LATENCY, leg(1000, slow=100), leg(9000), is_over=True) == "fail"
    assert verdict(LATENCY, leg(1000, slow=20), leg(9000), is_over=True) == "pass"


def test_what_is_not_sure_is_said_as_such():
    found = compare(
        ERRORS, error_rate(leg(20, 1), 20), error_rate(leg(180), 20), excess_of(ERRORS, leg(20, 1), leg(180), EARLY_Z)
    )
    wanted = "what serves has 0, at most 0.02 more wanted, but so few requests may be chance"
    assert found.detail == f"error rate: 5.0% of 20 requests failed; {wanted}"


def test_signals_that_are_no_shares_of_requests_are_judged_by_what_they_say():
    check = Check(name="queue", signal="metric", query="queue_depth", max=100)
    assert excess_of(check, leg(0), leg(0), EARLY_Z) is None


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"), [(10, 20, 0.2993, 0.7007), (0, 20, 0.0, 0.1611), (1, 20, 0.0089, 0.2361)]
)
def test_bounds_of_a_share_are_those_of_wilson(hits, count, low, high):
    assert wilson(hits, count, 1.96) == pytest.approx((low, high), abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.integers(20, 500), st.integers(0, 500), st.integers(0, 100), st.integers(20, 5000), st.floats(0, 1))
def test_more_errors_never_make_it_better(requests, errors, more, beside, share):
    errors, worse = min(errors, requests), min(errors + more, requests)
    order = ["pass", "inconclusive", "fail"]
    stable = leg(beside, int(share * beside))
    one, other = (verdict(ERRORS, leg(requests, bad), stable, is_over=True) for bad in (errors, worse))
    assert order.index(one) <= order.index(other)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0.01, 0.99))
def test_as_many_requests_lie_within_a_quantile_as_it_says(counts, share):
    buckets = {bound: sum(counts[: place + 1]) for place, bound in enumerate(("0.1", "0.5", "2.0", "inf"))}
    limit = quantile(buckets, share)
    if 0 < limit < 2.0:
        assert within(buckets, limit) == pytest.approx(share * buckets["inf"], abs=1e-6)


# --- whose requests they were ---


def test_what_the_candidate_was_asked_beside_the_traffic_is_not_taken_from_what_serves():
    """Its checks came through its own leg alone, and more of them than there was traffic until then."""
    base = Legs(candidate=leg(50), stable=leg(10))
    window = counted(base, Legs(candidate=leg(60, 5), stable=leg(110, 6)))
    assert (window.candidate.requests, window.candidate.server_errors) == (10, 5)
    assert (window.stable.requests, window.stable.server_errors) == (90, 1)


def test_a_forwarder_that_was_started_anew_has_counted_only_since():
    base = Legs(candidate=leg(500), stable=leg(1000))
    window = counted(base, Legs(candidate=leg(10, 1, generation="g2"), stable=leg(100, 1, generation="g2")))
    assert (window.candidate.requests, window.stable.requests, window.stable.server_errors) == (10, 90, 0)
