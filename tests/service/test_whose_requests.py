"""Whose requests those of a leg were: what others were asked says nothing about what serves."""

import msgspec
import pytest

from interlock.core.clock import SystemClock
from interlock.delivery.judging.probing import Observer
from interlock.delivery.model import Deployment, Instance, Route, Share, Shares
from interlock.delivery.ports import Leg
from interlock.delivery.targets import Targets
from interlock.sources.model import WatchPolicy
from interlock.testing.forwarders import FakeForwarder
from interlock.testing.hosts import FakeHost
from interlock.tools.ports import HttpAnswer

OLD, NEW, CANDIDATE = 7001, 7002, 6001
LEG = Leg(route="shop.staging", kind="stable", port=6000)
SERVING = Deployment(
    deployment_id="dep_1",
    service="shop",
    environment="staging",
    release_id="rel_1",
    version="v1",
    state="good",
    instances=(Instance(key="one", port=OLD),),
    plan_id="pln_1",
    run_id="run_1",
    watch=WatchPolicy(),
    started_at="",
)
ALONE: Shares = (Share(port=OLD, percent=100),)
SPLIT: Shares = (Share(port=CANDIDATE, percent=40), Share(port=OLD, percent=60))
ELSEWHERE: Shares = (Share(port=9, percent=100),)
MIXED: Shares = (Share(port=OLD, percent=50), Share(port=NEW, percent=50))


class Nobody:
    async def get(self, url: str, *, timeout_s: float = 5.0) -> HttpAnswer:
        return HttpAnswer(status=0, elapsed_ms=0.0, error="nobody is there")


@pytest.fixture
async def forwarder() -> FakeForwarder:
    made = FakeForwarder()
    await made.ensure()
    return made


def route(shares: Shares) -> Route:
    ports = {"stable_port": 6000, "candidate_port": CANDIDATE}
    return Route(service="shop", environment="staging", deployment_id="dep_1", shares=shares, **ports)


def observer(forwarder: FakeForwarder) -> Observer:
    return Observer(Targets({"process": FakeHost()}), forwarder, Nobody(), SystemClock())


@pytest.mark.parametrize(
    ("recorded", "led", "sharing"),
    [
        (ALONE, ALONE, "alone"),
        (SPLIT, SPLIT, "split"),
        (MIXED, MIXED, "mixed"),
        (SPLIT, ALONE, "mixed"),
        (ALONE, SPLIT, "mixed"),
        (ALONE, MIXED, "mixed"),
        (ALONE, ELSEWHERE, "mixed"),
        (ALONE, (), "mixed"),
        ((), ALONE, "mixed"),
    ],
)
async def test_requests_are_its_own_only_where_the_leg_leads_as_it_was_led(
    forwarder: FakeForwarder, recorded: Shares, led: Shares, sharing: str
) -> None:
    await forwarder.point(LEG, led, "call-1")
    assert await observer(forwarder).sharing(SERVING, route(recorded)) == sharing


@pytest.mark.parametrize(("port", "sharing"), [(NEW, "candidate"), (9, "mixed")])
async def test_a_candidate_has_the_requests_of_its_own_leg_where_that_leads_to_it(
    forwarder: FakeForwarder, port: int, sharing: str
) -> None:
    candidate = msgspec.structs.replace(SERVING, deployment_id="dep_2", instances=(Instance(key="two", port=NEW),))
    await forwarder.point(LEG, SPLIT, "call-1")
    leg = Leg(route="shop.staging", kind="candidate", port=CANDIDATE)
    await forwarder.point(leg, (Share(port=port, percent=100),), "call-2")
    assert await observer(forwarder).sharing(candidate, route(SPLIT)) == sharing


async def test_a_forwarder_that_does_not_answer_leaves_the_record(forwarder: FakeForwarder) -> None:
    await forwarder.point(LEG, SPLIT, "call-1")
    forwarder.kill()
    assert await observer(forwarder).sharing(SERVING, route(SPLIT)) == "split"


async def test_where_instances_of_two_releases_are_mixed_nobody_is_blamed_for_what_failed(forwarder: FakeForwarder) -> None:
    forwarder.upstreams |= {OLD: 200, NEW: 500}
    await forwarder.point(LEG, MIXED, "call-1")
    for _ in range(10):
        forwarder.request("shop.staging", "stable")
    sample = await observer(forwarder).sample(SERVING, None, "mixed")
    assert sample.counters is not None
    assert (sample.counters.requests, sample.counters.server_errors) == (0, 0)
