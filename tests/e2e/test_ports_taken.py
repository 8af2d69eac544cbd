"""Ports that somebody else has: said clearly, what was there stays, and once they are free it works."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.plane import Plane
from harness.sample import Sample
from interlock.delivery.steps import starting

pytestmark = pytest.mark.asyncio(loop_scope="module")


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as somebody:
        somebody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        somebody.bind(("127.0.0.1", port))
        somebody.listen()
        yield


async def test_the_services_port_is_taken(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    port = int((await plane.url(sample)).rpartition(":")[2])
    with taken(port):
        run = await plane.do(f"deploy {sample.name} v1.0.0 to staging")
        assert run["status"] in {"failed", "rolled_back"}
        assert (run["error"]["code"], run["error"]["task"]) == ("port_taken", "switch-staging")
        assert str(port) in run["error"]["message"]
        assert await plane.serving(sample) is None
        # It is nobody's fault: no incident, no alarm, no quarantine, and nothing is left running.
        assert await plane.incidents(sample) == []
        assert await plane.inbox(sample) == []
        keys = [effect["key"] for effect in run["effects"] if effect["tool"] == "process.start"]
        assert [(await plane.host.status(key)).state for key in keys] == ["exited"]
    await plane.deploy(sample, "v1.0.0")
    assert await plane.ask(sample) == (200, "v1.0.0")


async def test_the_candidates_leg_is_taken(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    start = next(task for task in plan["content"]["graph"]["tasks"] if task["id"] == "start-staging")
    with taken(start["inputs"]["place"]["candidate_port"]):
        await plane.approve(plan)
        run = await plane.ended(await plane.run_of(plan["plan_id"]))
        assert (run["status"], run["error"]["code"]) == ("failed", "port_taken")
        assert await plane.serving(sample) is None
        assert await plane.inbox(sample) == []
        discard = next(task for task in run["tasks"] if task["id"] == "discard-staging")
        assert discard["status"] == "completed", discard["error"]
    await plane.deploy(sample, "v1.0.0")


async def test_a_port_that_somebody_else_gets_first_is_given_up_for_another(
    plane: Plane, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    choose = starting.any_free_port
    lost = choose()
    choices = iter([lost, lost])
    monkeypatch.setattr(starting, "any_free_port", lambda: next(choices, None) or choose())
    with taken(lost):
        run = await plane.deploy(sample, "v1.0.0")
    starts = [effect for effect in run["effects"] if effect["tool"] == "process.start"]
    assert [effect["outcome"] for effect in starts] == ["failed", "failed", "done"]
    assert await plane.ask(sample) == (200, "v1.0.0")


async def test_when_no_ports_are_left_a_service_is_not_half_registered(make_plane, sample: Sample) -> None:
    plane: Plane = await make_plane()
    first = plane.settings.first_port
    await plane.stop()
    plane.settings = plane.settings.model_copy(update={"last_port": first + 4})
    await plane.start()
    sample.release("v1.0.0")
    await plane.add(sample)
    body = {"name": "another", "repository": str(sample.path)}
    refused = await plane.post("/services", body, 503)
    assert refused["code"] == "no_free_port"
    assert [service["name"] for service in (await plane.get("/services"))["items"]] == [sample.name]
