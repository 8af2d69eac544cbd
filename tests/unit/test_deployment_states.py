"""What a deployment may become, when it counts as healthy, and what makes two contents the same."""

from itertools import pairwise
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.examples import examples
from interlock.core.errors import Invalid, Unavailable
from interlock.delivery import naming
from interlock.delivery.model import DeploymentState, content_of, judge_health, may_become
from interlock.sources.model import Command, HealthCheck, WatchPolicy
from unit.plan_facts import command, recipe

STATES: tuple[DeploymentState, ...] = get_args(DeploymentState)
ENDED = {"retired", "failed", "rolled_back", "drilled"}


@pytest.mark.parametrize(
    "way",
    [
        ("starting", "live", "good", "retired"),
        ("starting", "live", "good", "rolled_back"),
        ("starting", "live", "rolled_back"),
        ("starting", "live", "retired"),
        ("starting", "failed"),
        ("good", "paused", "good"),
        ("good", "paused", "retired"),
        ("live", "paused", "rolled_back"),
        ("live", "paused", "live"),
        ("drilling", "drilled"),
        ("drilling", "failed"),
    ],
)
def test_the_ways_of_a_deployment(way):
    assert all(may_become(now, then) for now, then in pairwise(way))


@pytest.mark.parametrize("state", STATES)
def test_a_repeated_step_is_harmless(state):
    assert may_become(state, state)


@pytest.mark.parametrize("ended", sorted(ENDED))
def test_what_has_ended_never_comes_back(ended):
    assert [state for state in STATES if may_become(ended, state)] == [ended]


@pytest.mark.parametrize(
    ("now", "then", "why"),
    [
        ("starting", "good", "nothing is good that never had traffic"),
        ("starting", "rolled_back", "what had no traffic has failed"),
        ("starting", "retired", "what had no traffic has failed"),
        ("live", "failed", "what had traffic is rolled back"),
        ("good", "failed", "what had traffic is rolled back"),
        ("good", "live", "the watch is passed once"),
        ("live", "starting", "it is started once"),
        ("drilling", "live", "what is drilled is never led traffic to"),
        ("drilling", "good", "what is drilled is nothing to go back to"),
        ("drilled", "good", "what was drilled is nothing to go back to"),
    ],
)
def test_a_step_that_would_tell_a_lie_is_refused(now, then, why):
    assert not may_become(now, then), why


@examples(25)
@given(st.lists(st.sampled_from(STATES), max_size=8))
def test_whatever_happened_what_serves_well_had_traffic_first(wishes):
    seen: list[DeploymentState] = ["starting"]
    for wish in wishes:
        if may_become(seen[-1], wish):
            seen.append(wish)
    if {"good", "paused", "retired", "rolled_back"} & set(seen):
        assert "live" in seen
        assert "failed" not in seen


@pytest.mark.parametrize(
    ("process", "answers", "has_check", "health"),
    [
        ("running", True, True, "healthy"),
        ("running", None, False, "healthy"),
        ("running", False, True, "unhealthy"),
        ("running", None, True, "unknown"),
        ("unknown", True, True, "unknown"),
        ("unknown", False, True, "unknown"),
        ("exited", True, True, "unhealthy"),
        ("lost", None, False, "unhealthy"),
        ("starting", None, True, "unhealthy"),
    ],
)
def test_health_is_what_is_observed_and_unknown_where_nothing_is(process, answers, has_check, health):
    verdict, reason = judge_health(process=process, answers=answers, has_check=has_check)
    assert verdict == health
    assert ("health check" in reason) is (has_check and process == "running")


# --- content -----------------------------------------------------------------------------------------------------------------


def test_a_name_given_to_the_same_content_does_not_make_it_another():
    known = content_of("tree", recipe())
    assert content_of("tree", recipe(version="1.2.3", description="the shop")) == known
    assert content_of("other tree", recipe()) != known


@pytest.mark.parametrize(
    "changed",
    [
        {"start": command("python other.py {port}")},
        {"start": Command(text="python shop.py {port}", argv=(("python", "shop.py"),))},
        {"install": ()},
        {"test": (command("pytest -q"),)},
        {"env": {"MODE": "other"}},
        {"secrets": {"TOKEN": "other/token"}},
        {"health": HealthCheck(path="/other")},
        {"smoke": ()},
        {"watch": WatchPolicy(error_rate=0.5)},
        {"rollback": "propose"},
    ],
    ids=str,
)
def test_everything_that_decides_what_would_run_makes_another_content(changed):
    assert content_of("tree", msgspec.structs.replace(recipe(), **changed)) != content_of("tree", recipe())


# --- names and ports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "shop", "shop-2", "shop_api.v2", "a" * 40])
def test_good_names(name):
    naming.check_service_name(name, ("staging",))


@pytest.mark.parametrize(
    "name",
    ["", "2shop", "Shop", "shöp", "my shop", "shop-", "-shop", "a..b", "../shop", "shop/api", "shop\n", "a" * 41, "staging"],
)
def test_a_name_that_does_not_fit_into_a_folder_a_route_and_a_sentence_is_refused(name):
    with pytest.raises(Invalid) as refusal:
        naming.check_service_name(name, ("staging",))
    assert refusal.value.code == "service_name"


def test_ports_are_those_within_the_bounds_that_nobody_has(monkeypatch):
    monkeypatch.setattr(naming, "is_free", lambda port: port != 18103)
    assert naming.free_ports((18100, 18107), {18100, 18102}, 2) == [18101, 18104]
    assert naming.free_ports((18100, 18107), {18100, 18102}, 4) == [18101, 18104, 18105, 18106]
    with pytest.raises(Unavailable) as refusal:
        naming.free_ports((18100, 18107), {18100, 18102}, 5)
    assert refusal.value.code == "no_free_port"
