"""What differs between the record and what is seen, and what is to be done about it."""

from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from interlock.core.addresses import local
from interlock.core.clock import from_text, to_text
from interlock.delivery.drift.comparison import (
    ATTEMPTS_WITHIN,
    MAX_ATTEMPTS,
    Drift,
    PlaceDrift,
    Seen,
    SeenLeg,
    Wanted,
    answers_to,
    confirmed,
    drift_of,
    next_step,
)
from interlock.delivery.model import Instance, Route, Share, evenly
from interlock.tools.ports import ProcessStatus, Sighting
from unit.plan_facts import AT, deployment, release

NOW = from_text(AT)
RUNS = ProcessStatus(state="running")
LABELS = {"interlock.service": "shop", "interlock.environment": "staging"}


def wanted(count: int = 2, *, image: str = "", ports: bool = True) -> Wanted:
    """A place in which ``count`` instances serve, as processes, or as containers of ``image``."""
    instances = tuple(Instance(key=f"key-{number}", port=20000 + number if ports else None) for number in range(count))
    serving = deployment("v1", "staging", instances=instances, target="container" if image else "process")
    route = Route(
        service="shop",
        environment="staging",
        stable_port=18100,
        candidate_port=18101,
        deployment_id=serving.deployment_id,
        shares=evenly(serving.addresses),
    )
    return Wanted(route=route, deployment=serving, release=release("v1", image=image), fallback=release("v0"))


def as_wanted(place: Wanted) -> Seen:
    """What is seen where all is as it should be."""
    image, labels = (place.release.image, LABELS) if place.release and place.release.image else ("", {})
    instances = place.deployment.instances if place.deployment else ()
    sightings = {item.key: (RUNS, Sighting(identity=item.key, image=image, labels=labels)) for item in instances}
    leg = SeenLeg(port=place.route.stable_port, shares=tuple(reversed(place.route.shares))) if place.route.shares else None
    return Seen(instances=sightings, leg=leg)


def kinds(place: Wanted, seen: Seen) -> list[str]:
    return [drift.kind for drift in drift_of(place, seen)]


places = some.builds(wanted, some.integers(1, 12), image=some.sampled_from(["", "sha256:abc"]), ports=some.booleans())


@given(places)
def test_nothing_differs_where_what_is_seen_is_what_is_wanted(place):
    assert drift_of(place, as_wanted(place)) == ()


@given(places, some.data())
def test_each_instance_that_does_not_run_is_one_difference_and_the_others_are_none(place, data):
    keys = [instance.key for instance in place.deployment.instances]
    dead = data.draw(some.sets(some.sampled_from(keys)))
    seen = as_wanted(place)
    instances = seen.instances | {key: (ProcessStatus(state="lost"), None) for key in dead}
    found = drift_of(place, msgspec.structs.replace(seen, instances=instances))
    assert {drift.what for drift in found} == dead


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (ProcessStatus(state="absent"), ["absent"]),
        (ProcessStatus(state="lost"), ["stopped"]),
        (ProcessStatus(state="exited", reason="stopped"), ["stopped"]),
        (ProcessStatus(state="exited", reason="gave_up"), ["ended"]),
        (ProcessStatus(state="exited", reason="completed"), ["ended"]),
        (ProcessStatus(state="starting"), []),
        (ProcessStatus(state="unknown", message="away"), []),
    ],
)
def test_how_an_instance_came_to_its_end_decides_whose_matter_it_is(status, kind):
    place = wanted()
    seen = as_wanted(place)
    assert kinds(place, msgspec.structs.replace(seen, instances=seen.instances | {"key-1": (status, None)})) == kind


@pytest.mark.parametrize(
    "sighting",
    [
        Sighting(identity="key-0", image="sha256:other", labels=LABELS),
        Sighting(identity="key-0", image="sha256:abc", labels={}),
        Sighting(identity="another", image="sha256:abc", labels=LABELS),
    ],
)
def test_another_container_under_the_same_key_is_told_by_its_image_its_labels_or_its_id(sighting):
    place = msgspec.structs.replace(wanted(image="sha256:abc"), identities={"key-0": "key-0"})
    seen = as_wanted(place)
    assert kinds(place, msgspec.structs.replace(seen, instances=seen.instances | {"key-0": (RUNS, sighting)})) == ["replaced"]


@pytest.mark.parametrize(
    ("leg", "kind"),
    [
        (None, "leg_gone"),
        (SeenLeg(port=18102, shares=evenly((local(20000), local(20001)))), "leg_gone"),
        (SeenLeg(port=18100, shares=()), "leg_nowhere"),
        (SeenLeg(port=18100, shares=evenly((local(20000), local(9)))), "leg_elsewhere"),
        (SeenLeg(port=18100, shares=evenly((local(20000),))), "leg_shares"),
        (SeenLeg(port=18100, shares=(Share(port=20000, percent=90), Share(port=20001, percent=10))), "leg_shares"),
    ],
)
def test_a_leg_that_does_not_lead_as_it_was_led_last_is_told(leg, kind):
    place = wanted()
    assert kinds(place, msgspec.structs.replace(as_wanted(place), leg=leg)) == [kind]


def test_where_nothing_is_to_serve_a_leg_may_be_there_but_leads_nowhere():
    place = Wanted(route=Route(service="shop", environment="staging", stable_port=18100, candidate_port=18101))
    assert kinds(place, Seen(instances={}, leg=SeenLeg(port=18100, shares=()))) == []
    assert kinds(place, Seen(instances={}, leg=SeenLeg(port=18100, shares=evenly((local(9),))))) == ["leg_unwanted"]


def test_what_runs_and_nothing_wants_and_what_could_not_be_had_again_is_told():
    place = wanted()
    seen = msgspec.structs.replace(
        as_wanted(place), orphans={"stray": Sighting(identity="x")}, gone={"rel_v1": "a", "rel_v0": "b"}
    )
    assert kinds(place, seen) == ["orphan", "release_gone", "fallback_gone"]


def test_what_cannot_be_observed_is_no_drift_and_what_was_known_stays_known():
    place = wanted()
    blind = Seen(instances=None, has_legs=False, unseen=("away",))
    assert drift_of(place, blind) == ()
    known = PlaceDrift(service="shop", environment="staging", drifts=(drift("stopped"), drift("leg_gone")))
    assert confirmed(known, (), (), blind) == known.drifts
    assert confirmed(known, (), (), as_wanted(place)) == ()


def test_a_difference_counts_when_it_was_seen_twice_and_was_not_accepted():
    one = drift("orphan")
    nothing = PlaceDrift(service="shop", environment="staging")
    seen = Seen(instances={})
    assert confirmed(nothing, [one], (), seen) == ()
    assert confirmed(nothing, [one], [one.mark], seen) == (one,)
    accepted = msgspec.structs.replace(nothing, accepted=(one.mark,))
    assert confirmed(accepted, [one], [one.mark], seen) == ()


def drift(kind) -> Drift:
    return Drift(kind=kind, what="x", expected="", seen="", detail=kind)


def place(*found: str, **fields) -> PlaceDrift:
    return PlaceDrift(service="shop", environment="staging", drifts=tuple(drift(kind) for kind in found), **fields)


def tried(*seconds_ago: float) -> tuple[str, ...]:
    return tuple(to_text(NOW - timedelta(seconds=ago)) for ago in seconds_ago)


def step(what: PlaceDrift, rule="heal", now: datetime = NOW, *, can_heal: bool = True, is_judged: bool = False) -> str:
    return next_step(what, rule, now, can_heal=can_heal, is_judged=is_judged)


def test_the_rule_decides_between_healing_and_asking():
    assert step(place("stopped")) == "heal"
    assert step(place("stopped"), "ask") == "ask"
    assert step(place("stopped"), can_heal=False) == "ask"
    assert step(place("fallback_gone")) == "ask"
    assert step(place()) == "nothing"


def test_what_ended_by_itself_and_what_the_watch_judges_is_left_to_the_watch():
    assert step(place("ended")) == "nothing"
    assert step(place("stopped"), is_judged=True) == "nothing"


def test_attempts_are_spaced_and_bounded_and_old_ones_are_forgotten():
    assert step(place("stopped", attempts=tried(5))) == "wait"
    assert step(place("stopped", attempts=tried(11))) == "heal"
    assert step(place("stopped", attempts=tried(30, 11))) == "wait"
    assert step(place("stopped", attempts=tried(*range(300, 0, -100)))) == "give_up"
    assert step(place("stopped", attempts=tried(*[ATTEMPTS_WITHIN.total_seconds() + 1] * MAX_ATTEMPTS))) == "heal"
    assert step(place("stopped", attempts=tried(300, 200, 100), has_given_up=True)) == "nothing"


def test_what_a_person_says_goes_before_the_rule():
    left = drift("stopped").mark
    assert step(place("stopped", left=(left,))) == "nothing"
    assert step(place("stopped", "absent", left=(left,)), "ask") == "ask"
    assert step(place("stopped", left=(left,), told_to_heal=True), "ask") == "heal"
    assert step(place("stopped", told_to_heal=True, run_id="run_1"), "ask") == "nothing"


def test_only_what_harms_nobody_can_be_accepted_and_only_what_a_plan_says_can_be_healed():
    assert answers_to(place("orphan"), can_heal=True) == ("heal", "accept", "leave")
    assert answers_to(place("orphan", "stopped"), can_heal=True) == ("heal", "leave")
    assert answers_to(place("leg_unwanted"), can_heal=False) == ("accept", "leave")
    assert answers_to(place("fallback_gone"), can_heal=True) == ("leave",)
