"""The standing watch: what it holds against a release, and what it does not."""

import asyncio

import msgspec
import pytest
import pytest_asyncio

from harness.judging import HEALTH, NEW, OLD, QUICK, Judged
from interlock.core.addresses import local
from interlock.delivery.model import Incident, Share, evenly
from interlock.delivery.ports import Leg

THREE = (NEW, NEW + 1, NEW + 2)
AT_ONCE = msgspec.structs.replace(QUICK, window_s=60.0, interval_s=0.0)


@pytest_asyncio.fixture
async def judged(database, scope, monkeypatch) -> Judged:
    """Three instances of the new release serve, and its watch has passed."""
    monkeypatch.setattr("interlock.delivery.targets.LOOK_S", 0.2)
    made = Judged(database, scope)
    await made.begin()
    await made.deploy("new", THREE, AT_ONCE)
    await made.serves("new", evenly([local(port) for port in THREE]))
    await made.delivery.change(scope, "dep_new", "good", "the watch passed")
    for port in THREE:
        made.forwarder.upstreams[port] = 200
    await made.watcher.look(scope)
    return made


async def looks(judged: Judged, times: int = 4) -> list[Incident]:
    for _ in range(times):
        await judged.watcher.look(judged.scope)
    return await judged.incidents.listing(judged.scope)


def requests(judged: Judged, count: int = 100) -> None:
    for _ in range(count):
        judged.forwarder.request("shop.staging", "stable")


class TestAnInstanceThatWasStopped:
    async def test_is_told_and_is_no_fault_of_the_release(self, judged: Judged) -> None:
        await judged.host.stop(f"new-{NEW}")
        judged.web.says[NEW] = 0
        (incident,) = await looks(judged)
        assert incident.found_by == "host"
        assert incident.title.startswith("1 of 3 instances of shop new in staging do not run")

    async def test_does_not_keep_what_is_left_from_being_judged(self, judged: Judged) -> None:
        await judged.host.stop(f"new-{NEW}")
        await looks(judged)
        for port in THREE[1:]:
            judged.web.says[port] = 500
        found = await looks(judged)
        assert {(item.found_by, item.state) for item in found} == {("watch", "open"), ("host", "resolved")}
        assert "the health check failed 3 times in a row" in next(item.title for item in found if item.state == "open")

    async def test_once_all_are_nothing_is_left_to_judge(self, judged: Judged) -> None:
        for port in THREE:
            await judged.host.stop(f"new-{port}")
            judged.web.says[port] = 0
        (incident,) = await looks(judged)
        assert (incident.found_by, incident.state) == ("host", "open")
        assert incident.title == "shop new in staging does not run: its process was stopped from outside"


class TestAStrangerUnderItsKey:
    async def test_is_not_judged_as_the_release(self, judged: Judged) -> None:
        judged.host.identities[f"new-{NEW}"] = "another"
        judged.forwarder.upstreams[NEW] = judged.web.says[NEW] = 500
        await looks(judged, 1)
        requests(judged)
        (incident,) = await looks(judged)
        assert incident.found_by == "host", incident.title

    async def test_is_not_shown_as_it(self, judged: Judged) -> None:
        deployment = await judged.delivery.deployment(judged.scope, "dep_new")
        assert (await judged.observer.observe(deployment, HEALTH)).health == "healthy"
        judged.host.identities[f"new-{NEW}"] = "another"
        assert (await judged.observer.observe(deployment, HEALTH)).reason == "the process is absent"

    async def test_is_not_taken_for_it_when_that_is_back(self, judged: Judged) -> None:
        judged.host.identities[f"new-{NEW}"] = "another"
        await looks(judged)
        (incident,) = await looks(judged)
        assert incident.state == "open"
        judged.host.identities[f"new-{NEW}"] = f"new-{NEW} first"
        (incident,) = await looks(judged)
        assert incident.state == "resolved"


class TestALegThatWasEdited:
    @pytest.mark.parametrize("shares", [(), (Share(port=9, percent=100),)], ids=["to nowhere", "elsewhere"])
    async def test_holds_the_forwarder_s_own_answers_against_nobody(self, judged: Judged, shares: tuple[Share, ...]) -> None:
        leg = Leg(route="shop.staging", kind="stable", port=judged.place.stable_port)
        await judged.forwarder.point(leg, shares, "by-hand")
        await looks(judged, 1)
        requests(judged)
        assert await looks(judged) == []
        await judged.forwarder.point(leg, evenly([local(port) for port in THREE]), "by-hand")
        requests(judged)
        assert await looks(judged) == []
        judged.forwarder.upstreams |= dict.fromkeys(THREE, 500)
        requests(judged)
        (incident,) = await looks(judged)
        assert incident.found_by == "watch"

    async def test_in_a_run_s_watch_too(self, judged: Judged) -> None:
        await judged.deploy("newer", (7010,))
        await judged.serves("newer", evenly([local(7010)]))
        leg = Leg(route="shop.staging", kind="stable", port=judged.place.stable_port)
        await judged.forwarder.point(leg, (), "by-hand")
        task = msgspec.structs.replace(judged.watch(), deployment_id="dep_newer")
        watch = asyncio.create_task(judged.watching.watch(judged.context(task)))
        await asyncio.sleep(0)
        for _ in range(100):
            requests(judged, 5)
            await asyncio.sleep(0.002)
        await watch
        assert await judged.incidents.listing(judged.scope) == []


async def test_what_the_candidate_was_asked_in_its_checks_is_not_taken_from_what_serves(judged: Judged) -> None:
    """Of more requests than there was traffic; else its errors could not be seen until it had had as many."""
    candidate = judged.place.candidate_port
    judged.forwarder.upstreams[7020] = 200
    await judged.forwarder.point(Leg(route="shop.staging", kind="candidate", port=candidate), evenly([local(7020)]), "c1")
    judged.forwarder.count("shop.staging", "candidate", requests=500)
    await judged.serves("new", (Share(port=candidate, percent=10), *evenly([local(port) for port in THREE], 90)))
    await looks(judged, 1)
    judged.forwarder.upstreams |= dict.fromkeys(THREE, 500)
    requests(judged, 40)
    (incident,) = await looks(judged, 1)
    assert incident.found_by == "watch"
    assert "100.0%" in incident.title


class TestATargetThatHangs:
    async def test_keeps_nobody_from_being_watched(self, judged: Judged) -> None:
        judged.host.hangs = {f"old-{OLD}", *(f"new-{port}" for port in THREE)}
        await judged.delivery.add_service(judged.scope, "blog", "/repositories/blog")
        release = await judged.delivery.release(judged.scope, "rel_new")
        await judged.delivery.record_release(
            judged.scope, msgspec.structs.replace(release, release_id="rel_blog", service="blog", content="blog")
        )
        first = await judged.delivery.deployment(judged.scope, "dep_new")
        other = msgspec.structs.replace(
            first, deployment_id="dep_blog", service="blog", release_id="rel_blog", state="good", instances=()
        )
        key = await judged.deploy("aside", (7030,))
        await judged.delivery.record_instance(judged.scope, other, key.instances[0])
        await judged.delivery.lead(judged.scope, "blog", "staging", evenly([local(7030)]))
        await judged.delivery.switch(judged.scope, "blog", "staging", "dep_blog", "it was switched")
        judged.web.says[7030] = 500
        watch = asyncio.create_task(judged.watcher.run(judged.scope))
        try:
            async with asyncio.timeout(20):
                while not (found := await judged.incidents.listing(judged.scope)):
                    await asyncio.sleep(0.02)
        finally:
            watch.cancel()
            await asyncio.wait([watch])
        assert [(item.service, item.found_by) for item in found] == [("blog", "watch")]

    async def test_is_unknown_and_no_verdict(self, judged: Judged) -> None:
        judged.host.hangs = {f"new-{THREE[0]}"}
        deployment = await judged.delivery.deployment(judged.scope, "dep_new")
        statuses = await judged.targets.statuses(deployment)
        assert [status.state for status in statuses.values()] == ["unknown", "running", "running"]
        assert await looks(judged) == []
