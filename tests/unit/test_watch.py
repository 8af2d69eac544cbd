"""The judgement over samples: what breaches, what passes, and what cannot be told."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import interlock.sources
from harness.examples import examples
from interlock.delivery.judging.significance import quantile
from interlock.delivery.judging.watch import Sample, Thresholds, as_policy, judge, merge
from interlock.delivery.ports import LegCounters
from interlock.sources.model import WatchPolicy

LIMITS = Thresholds(min_requests=20, error_rate=0.05, p95_ms=100.0, health_failures=3, restarts=2)
SCHEMA = Path(interlock.sources.__path__[0], "module_schema.json")
COUNTS = st.integers(0, 50)


def counters(requests=0, errors=0, slow=0, generation="g1"):
    """Of the requests ``slow`` took between 0.1 and 1 second, the others up to 0.1."""
    buckets = {"0.1": requests - slow, "1.0": requests, "inf": requests}
    return LegCounters(generation=generation, requests=requests, server_errors=errors, buckets=buckets)


def sample(counted=None, *, healthy=True, is_running=True, restarts=0, is_lost=False):
    return Sample(at_s=0.0, counters=counted, healthy=healthy, is_running=is_running, restarts=restarts, is_lost=is_lost)


def judged(*samples, limits=LIMITS, has_health_check=True):
    return judge(samples, limits, has_health_check=has_health_check)


def verdict(*samples, limits=LIMITS, has_health_check=True):
    return judged(*samples, limits=limits, has_health_check=has_health_check).verdict


def of_traffic(requests=0, errors=0, slow=0):
    return judged(sample(counters()), sample(counters(requests, errors, slow)))


def crossed(judgement):
    return [reading.signal for reading in judgement.readings if reading.crossed]


@pytest.mark.parametrize(
    ("requests", "errors", "slow", "signals"),
    [
        (100, 4, 0, []),
        (100, 5, 0, []),
        (100, 6, 0, ["error_rate"]),
        (20, 2, 0, ["error_rate"]),
        (19, 19, 19, []),
        (100, 0, 5, []),
        (100, 0, 6, ["p95_ms"]),
        (100, 6, 100, ["error_rate", "p95_ms"]),
        (0, 0, 0, []),
    ],
)
def test_traffic_breaches_above_its_thresholds_and_only_with_enough_requests(requests, errors, slow, signals):
    judgement = of_traffic(requests, errors, slow)
    assert crossed(judgement) == signals
    assert judgement.verdict == ("breach" if signals else "pass")
    assert judgement.requests == requests


@pytest.mark.parametrize(
    ("healthy", "expected"),
    [
        ([False, False], "pass"),
        ([False, False, False], "breach"),
        ([True, False, False, False], "breach"),
        ([False, False, True, False], "pass"),
        ([False, False, False, True], "pass"),
        ([False, False, None, False], "pass"),
        ([False, False, False, None], "inconclusive"),
        ([None], "inconclusive"),
    ],
)
def test_health_breaches_with_so_many_failures_in_a_row_up_to_now(healthy, expected):
    samples = [sample(counters(), healthy=value) for value in healthy]
    assert verdict(*samples) == expected
    assert verdict(*samples, has_health_check=False) == "pass", "what is not there cannot fail"


@pytest.mark.parametrize(
    ("restarts", "expected"),
    [
        ([0, 1], "pass"),
        ([0, 1, 2], "breach"),
        ([7, 8], "pass"),
        ([7, 9], "breach"),
        ([7, None], "pass"),
        ([None, 1, 3], "breach"),
        ([None, None], "inconclusive"),
    ],
)
def test_restarts_count_from_the_beginning_of_the_window(restarts, expected):
    assert verdict(*[sample(counters(), restarts=value) for value in restarts]) == expected


@pytest.mark.parametrize(("is_running", "expected"), [(True, "pass"), (False, "breach"), (None, "inconclusive")])
def test_a_process_that_has_ended_is_a_breach_and_one_that_is_not_seen_is_not(is_running, expected):
    assert verdict(sample(counters(), is_running=is_running)) == expected


def test_whatever_a_lost_process_looks_like_it_says_nothing_against_the_release():
    bad = sample(counters(100, 100, 100), healthy=False, is_running=None, restarts=None, is_lost=True)
    judgement = judged(*[sample(counters(), healthy=False)] * 5, bad)
    assert (judgement.verdict, judgement.reason()) == ("inconclusive", "the process was stopped from outside")


def test_a_forwarder_that_does_not_answer_leaves_it_open_unless_another_signal_decides():
    assert verdict(sample(counters()), sample(None)) == "inconclusive"
    assert verdict(sample(None), sample(counters())) == "pass", "it answers again"
    assert verdict(sample(counters()), sample(None, is_running=False)) == "breach"
    assert verdict(sample(None, restarts=0), sample(None, restarts=2)) == "breach"


def test_a_module_cannot_ask_for_a_threshold_that_is_crossed_from_the_beginning():
    watch = json.loads(SCHEMA.read_text())["properties"]["watch"]["properties"]
    least = {name: watch[name]["minimum"] for name in ("min_requests", "health_failures", "restarts")}
    limits = Thresholds(**least, error_rate=0.0)
    assert verdict(sample(counters()), sample(counters(100)), limits=limits) == "pass"


def test_latency_is_watched_only_where_a_threshold_is_set():
    slow = [sample(counters()), sample(counters(100, slow=100))]
    assert verdict(*slow, limits=Thresholds(min_requests=1)) == "pass"
    assert verdict(*slow, limits=Thresholds(min_requests=1, p95_ms=100)) == "breach"


def test_what_was_counted_before_the_window_does_not_count():
    assert judged(sample(counters(1000, 900)), sample(counters(1100, 900))).verdict == "pass"
    assert judged(sample(counters(1000, slow=900)), sample(counters(1100, slow=900))).verdict == "pass"
    assert judged(sample(counters(1000, 0)), sample(counters(1100, 10))).verdict == "breach"
    assert judged(sample(None), sample(counters(1000, 900)), sample(counters(1100, 900))).requests == 100


def test_a_forwarder_that_was_started_anew_counts_from_zero_and_loses_nothing():
    seen = judged(sample(counters(90)), sample(counters(100)), sample(counters(10, 4, generation="g2")))
    assert seen.requests == 20
    assert crossed(seen) == ["error_rate"]
    [rate] = [reading.observed for reading in seen.readings if reading.signal == "error_rate"]
    assert rate == 0.2


def test_the_reason_names_what_was_crossed_and_else_what_cannot_be_told():
    both = judged(sample(counters(), healthy=None), sample(counters(100, 50), healthy=None))
    assert both.verdict == "breach"
    assert both.reason() == "50 of 100 requests failed: 50.0% (threshold 5.0%)"
    assert judged(sample(counters(), healthy=None)).reason() == "the health check could not be made"
    assert judged(sample(counters())).reason() == "all signals are within their thresholds"


# --- whatever the samples ----------------------------------------------------------------------------------------------------


@st.composite
def histories(draw, **fixed):
    """Samples whose counters only grow, or begin anew with another generation."""
    samples, requests, errors, slow, generation = [], 0, 0, 0, 0
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()) and draw(st.booleans()):
            requests = errors = slow = 0
            generation += 1
        more = draw(COUNTS)
        requests, errors, slow = requests + more, errors + draw(st.integers(0, more)), slow + draw(st.integers(0, more))
        fields = {
            "healthy": draw(st.sampled_from([True, False, None])),
            "is_running": draw(st.sampled_from([True, False, None])),
            "restarts": draw(st.sampled_from([0, 1, 2, 3, None])),
            "is_lost": draw(st.booleans()),
        }
        errors_now = 0 if fixed.get("errors") == 0 else errors
        counted = counters(requests, errors_now, slow, generation=f"g{generation}")
        fields |= {name: value for name, value in fixed.items() if name != "errors"}
        if fields["is_lost"]:
            fields |= {"is_running": None, "restarts": None}
        samples.append(sample(counted, **fields))
    return samples


@examples(25)
@given(histories(errors=0, healthy=True, is_running=True, restarts=0, is_lost=False))
def test_a_service_that_answers_well_and_stays_up_never_breaches(samples):
    limits = msgspec.structs.replace(LIMITS, p95_ms=None)
    assert verdict(*samples, limits=limits) == "pass"


@examples(25)
@given(histories())
def test_a_verdict_follows_from_its_readings_and_nothing_else(samples):
    judgement = judged(*samples)
    told = {reading.crossed for reading in judgement.readings}
    assert judgement.verdict == ("breach" if True in told else "inconclusive" if None in told else "pass")
    assert not samples[-1].is_lost or judgement.verdict != "breach"


@examples(25)
@given(st.integers(20, 200), st.integers(0, 200), st.integers(0, 200))
def test_more_errors_never_make_it_better(requests, errors, more):
    errors = min(errors, requests)
    worse = min(errors + more, requests)
    if of_traffic(requests, errors).verdict == "breach":
        assert of_traffic(requests, worse).verdict == "breach"


@examples(25)
@given(histories(is_lost=False), histories(is_lost=False))
def test_the_requests_of_two_windows_that_meet_are_those_of_the_whole(first, second):
    whole = [*first, *second]
    assert judged(*whole).requests == judged(*first).requests + judged(*whole[len(first) - 1 :]).requests


@examples(25)
@given(histories(is_lost=False, is_running=True), histories(is_lost=False, is_running=True))
def test_an_earlier_part_of_the_window_can_only_add_to_the_failures_in_a_row(earlier, later):
    def failures(samples):
        return next(reading.observed for reading in judged(*samples).readings if reading.signal == "health")

    whole = failures([*earlier, *later])
    assert failures(later) <= whole
    if any(item.healthy is not False for item in later):
        assert whole == failures(later)


# --- thresholds and quantiles ------------------------------------------------------------------------------------------------


def test_the_first_policy_that_says_something_decides_field_by_field():
    said = WatchPolicy(window_s=5.0, error_rate=0.0)
    service = WatchPolicy(window_s=9.0, error_rate=0.5, restarts=7)
    assert merge(said, service, WatchPolicy()) == Thresholds(window_s=5.0, error_rate=0.0, restarts=7)
    assert merge() == Thresholds()


def test_thresholds_come_back_whole_from_the_policy_in_a_plan():
    thresholds = merge(WatchPolicy(p95_ms=120.0, min_requests=1, interval_s=0.5))
    assert merge(as_policy(thresholds)) == thresholds


@pytest.mark.parametrize(("share", "expected"), [(0.25, 0.05), (0.5, 0.1), (0.75, 0.6625), (0.9, 1.0), (0.95, 1.0), (1.0, 1.0)])
def test_a_quantile_lies_within_its_bucket_and_beyond_the_last_bound_at_that_bound(share, expected):
    assert quantile({"inf": 100, "1.0": 90, "0.1": 50}, share) == pytest.approx(expected)


def test_a_quantile_of_nothing_is_zero():
    assert quantile({}, 0.95) == quantile({"0.1": 0, "inf": 0}, 0.95) == 0.0
    assert quantile({"inf": 10}, 0.95) == 0.0, "no finite bound says anything"


@examples(25)
@given(st.lists(COUNTS, min_size=4, max_size=4), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_greater_share_never_has_a_smaller_quantile(counts, one, two):
    buckets = {bound: sum(counts[: place + 1]) for place, bound in enumerate(("0.1", "0.5", "2.0", "inf"))}
    low, high = sorted((one, two))
    assert 0.0 <= quantile(buckets, low) <= quantile(buckets, high) <= 2.0


def test_what_cannot_be_seen_is_judged_by_nothing_that_failed_meanwhile():
    well, away = sample(counters(100)), sample(counters(200, 100), healthy=False, is_running=None, restarts=None)
    assert verdict(well, *[away] * 5) == "inconclusive"
    back = sample(counters(210, 100), restarts=9)
    assert verdict(well, *[away] * 5, back) == "pass", "requests that failed and restarts while it was away say nothing"
    assert verdict(well, *[away] * 5, back, sample(counters(310, 200), restarts=9)) == "breach"


@pytest.mark.parametrize(
    ("healthy", "expected"),
    [
        ([True, False] * 5 + [True], "pass"),
        ([True, False] * 6, "breach"),
        ([True, False] * 6 + [True], "breach"),
        ([True, True, False] * 6, "breach"),
        ([True, True, True, False] * 20, "pass"),
    ],
)
def test_health_that_comes_and_goes_breaches_by_its_share_and_never_by_a_few_bad_answers(healthy, expected):
    judgement = judged(*[sample(counters(), healthy=value) for value in healthy])
    assert judgement.verdict == expected
    assert ("comes and goes" in judgement.reason()) == (expected == "breach")
