"""Containers that are removed, replaced and started by hand, on a real engine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from zlib import crc32

import pytest
import pytest_asyncio

from e2e.conftest import environment
from e2e.test_containers import contained, inspect
from e2e.test_drift import OFTEN, answer, deployed, found, gone, heal_runs, healed, question
from harness.containers import TestEngine, docker
from harness.people import rules
from harness.plane import Plane, until
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(container_engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    """Staging asks, production heals."""
    python = await asyncio.to_thread(container_engine.python)
    settings = {"container_engine": container_engine.url, "container_python_image": python} | OFTEN
    made = Plane(tmp_path_factory.mktemp("plane"), environment(), **settings)
    await made.start()
    await rules(made, "production", drift="heal")
    yield made
    containers = made.inside.services.targets.of("container")
    for key in await containers.list():
        await containers.stop(key, 0)
        await containers.remove(key)
    await made.stop()
    await made.clear()


@pytest.fixture
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    return Sample(tmp_path / "repositories", f"box{crc32(request.node.name.encode()) % 10**6}")


async def on(engine: TestEngine, *arguments: str) -> str:
    return (await asyncio.to_thread(docker, engine.url, *arguments)).stdout.strip()


async def test_a_removed_container_comes_back_from_the_pinned_image(
    plane: Plane, sample: Sample, container_engine: TestEngine
) -> None:
    serving = await deployed(plane, sample, "production", contained())
    (before,) = await asyncio.to_thread(inspect, container_engine, sample)
    await on(container_engine, "rm", "--force", before["Id"])
    await healed(plane, sample, "production", serving["deployment_id"])
    (after,) = await asyncio.to_thread(inspect, container_engine, sample)
    assert after["Image"] == before["Image"]
    assert await plane.ask(sample, environment="production") == (200, "v1.0.0")


@pytest.mark.parametrize("how", ["stop", "pause"])
async def test_a_container_that_is_stopped_or_frozen_by_hand_is_started_again_and_the_old_one_ended(
    plane: Plane, sample: Sample, container_engine: TestEngine, how: str
) -> None:
    serving = await deployed(plane, sample, "production", contained())
    (before,) = await asyncio.to_thread(inspect, container_engine, sample)
    await on(container_engine, how, before["Id"])
    await healed(plane, sample, "production", serving["deployment_id"])
    assert await plane.ask(sample, environment="production") == (200, "v1.0.0")
    (after,) = await asyncio.to_thread(inspect, container_engine, sample)
    assert after["Id"] != before["Id"]
    assert await on(container_engine, "inspect", "--format", "{{.State.Status}}", before["Id"]) == "exited"
    assert sample.name not in {item["service"] for item in (await plane.get("/quarantine"))["items"]}


async def test_a_frozen_container_is_named_and_no_drift_any_more_once_it_goes_on(
    plane: Plane, sample: Sample, container_engine: TestEngine
) -> None:
    await deployed(plane, sample, "staging", contained())
    (container,) = await asyncio.to_thread(inspect, container_engine, sample)
    await on(container_engine, "pause", container["Id"])
    seen = await found(plane, sample, "stopped")
    assert "it is paused" in seen["drifts"][0]["detail"]
    await on(container_engine, "unpause", container["Id"])
    await gone(plane, sample)
    assert await plane.ask(sample) == (200, "v1.0.0")


async def test_a_container_replaced_under_its_name_by_another_image_is_taken_out_again(
    plane: Plane, sample: Sample, container_engine: TestEngine
) -> None:
    serving = await deployed(plane, sample, "production", contained())
    (before,) = await asyncio.to_thread(inspect, container_engine, sample)
    name = before["Name"].removeprefix("/")
    busybox = await asyncio.to_thread(container_engine.busybox)
    await on(container_engine, "rm", "--force", name)
    stranger = await on(container_engine, "run", "--detach", "--name", name, busybox, "/bin/sleep", "600")
    await healed(plane, sample, "production", serving["deployment_id"])
    assert await plane.ask(sample, environment="production") == (200, "v1.0.0")
    assert await on(container_engine, "inspect", "--format", "{{.State.Running}}", stranger) == "false"


async def test_a_replaced_container_is_asked_about_and_left_where_the_rule_is_to_ask(
    plane: Plane, sample: Sample, container_engine: TestEngine
) -> None:
    serving = await deployed(plane, sample, "staging", contained())
    (before,) = await asyncio.to_thread(inspect, container_engine, sample)
    name = before["Name"].removeprefix("/")
    busybox = await asyncio.to_thread(container_engine.busybox)
    await on(container_engine, "rm", "--force", name)
    stranger = await on(container_engine, "run", "--detach", "--name", name, busybox, "/bin/sleep", "600")
    seen = await found(plane, sample, "replaced")
    assert seen["drifts"][0]["expected"] == before["Image"]
    item = await question(plane, sample)
    assert item["options"] == ["heal", "leave"]
    assert await heal_runs(plane, serving["plan_id"]) == []
    assert await on(container_engine, "inspect", "--format", "{{.State.Running}}", stranger) == "true"
    await answer(plane, item, "heal")
    await healed(plane, sample, "staging", serving["deployment_id"])


async def test_a_container_with_our_labels_that_nothing_wants_is_stopped(
    plane: Plane, sample: Sample, container_engine: TestEngine
) -> None:
    await deployed(plane, sample, "production", contained())
    (ours,) = await asyncio.to_thread(inspect, container_engine, sample)
    names = ("interlock.instance", "interlock.service", "interlock.environment")
    labels = [word for name in names for word in ("--label", f"{name}={ours['Config']['Labels'][name]}")]
    busybox = await asyncio.to_thread(container_engine.busybox)
    # Its first process ends when it is told to, which one without a handler would not.
    obedient = ("/bin/sh", "-c", "trap exit TERM; sleep 600 & wait")
    orphan = await on(container_engine, "run", "--detach", *labels, busybox, *obedient)

    async def is_stopped() -> bool:
        return await on(container_engine, "inspect", "--format", "{{.State.Running}}", orphan) == "false"

    await until(is_stopped, "the orphan is stopped")
    await gone(plane, sample)
    assert await plane.ask(sample, environment="production") == (200, "v1.0.0")
    await on(container_engine, "rm", "--force", orphan)
