"""A container engine that really dies, and takes what it runs with it when it comes back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from e2e.conftest import environment, sample_name
from harness.containers import TestEngine
from harness.own_engine import OwnEngine, own_engine
from harness.plane import Plane, until
from harness.sample import MODULE, Sample
from harness.small_site import release

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

BASE = "local/busybox:1"


@pytest.fixture(scope="module")
def daemon(container_engine: TestEngine) -> Iterator[OwnEngine]:
    with own_engine(container_engine, 1) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(daemon: OwnEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    made = Plane(tmp_path_factory.mktemp("plane"), environment(), container_engine=daemon.url)
    await made.start()
    yield made
    await made.stop()
    await made.clear()


@pytest.fixture
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    return Sample(tmp_path / "repositories", sample_name(request.node.name))


async def answers(plane: Plane, sample: Sample, version: str) -> bool:
    return await plane.ask(sample, "/index.html") == (200, version)


async def test_it_dies_in_a_watch_and_what_it_ran_is_judged_only_once_it_runs_again(
    plane: Plane, sample: Sample, daemon: OwnEngine
) -> None:
    release(sample, "v1.0.0", BASE)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    release(sample, "v1.1.0", BASE, watch=MODULE["watch"] | {"window": "4s", "interval": "0.3s"})
    run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
    await plane.task_runs(run_id, "watch-staging")
    daemon.kill()
    await asyncio.sleep(1)
    daemon.start()
    run = await plane.ended(run_id, 90)
    assert run["status"] == "completed", run["error"]
    assert await answers(plane, sample, "v1.1.0")
    assert (await plane.get("/quarantine"))["items"] == []
    assert await plane.incidents(sample) == []


async def test_while_it_is_dead_people_are_told_no_release_is_blamed_and_its_return_settles_it(
    plane: Plane, sample: Sample, daemon: OwnEngine
) -> None:
    for version in ("v1.0.0", "v1.1.0"):
        release(sample, version, BASE, watch=MODULE["watch"] | {"window": "10s"})
        if version == "v1.0.0":
            await plane.add(sample)
        run_id = await plane.begin(f"deploy {sample.name} {version} to staging")
        assert (await plane.ended(run_id, 60))["status"] == "completed"
    daemon.kill()

    async def alarm() -> Any:
        return next((item for item in await plane.inbox(sample) if item["kind"] == "alarm"), None)

    item = await until(alarm, "a person is told")
    assert "cannot be observed" in item["title"]
    (incident,) = await plane.incidents(sample, "open")
    assert (incident["severity"], incident["found_by"]) == ("critical", "host")
    daemon.start()
    await until(lambda: answers(plane, sample, "v1.1.0"), "the engine has started it again")

    async def is_settled() -> bool:
        return await plane.inbox(sample) == [] and await plane.incidents(sample, "open") == []

    await until(is_settled, "incident and alarm are closed")
    assert (await plane.get("/quarantine"))["items"] == []
    serving = await plane.serving(sample)
    assert serving is not None
    assert (serving["version"], serving["state"]) == ("v1.1.0", "good")
