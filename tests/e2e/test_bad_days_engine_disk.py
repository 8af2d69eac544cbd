"""The disk of the container engine has no room left in the middle of a build."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from e2e.conftest import environment, sample_name
from e2e.test_bad_days_registry import trouble
from harness.containers import TestEngine, docker
from harness.disks import fill, free
from harness.own_engine import OwnEngine, own_engine
from harness.plane import Plane
from harness.sample import Sample
from harness.small_site import DOCKERFILE, release

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "local/busybox:1"
LARGE = 'RUN ["dd", "if=/dev/zero", "of=/srv/large", "bs=1M", "count=16"]\n'


@pytest.fixture(scope="module")
def engine(container_engine: TestEngine) -> Iterator[OwnEngine]:
    with own_engine(container_engine, 3, disk_mb=64) as engine:
        yield engine


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(engine: OwnEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    made = Plane(tmp_path_factory.mktemp("plane"), environment(), container_engine=engine.url)
    await made.start()
    yield made
    await made.stop()
    await made.clear()


@pytest.fixture
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    return Sample(tmp_path / "repositories", sample_name(request.node.name))


async def test_a_build_that_fills_the_engine_s_disk_is_tried_again_and_leaves_nothing(
    plane: Plane, sample: Sample, engine: OwnEngine
) -> None:
    release(sample, "v1.0.0", BASE)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    sample.write("index.html", "v1.1.0")
    sample.write("Dockerfile", DOCKERFILE.format(base=BASE).replace("EXPOSE", LARGE + "EXPOSE"))
    sample.commit_all("v1.1.0", tag=True)
    fill(engine.disk, but_kb=8 << 10)
    try:
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        error = await trouble(plane, run_id, "image")
        assert (error["kind"], error["code"]) == ("unavailable", "storage"), error
        assert "room" in error["hint"]
        assert await plane.ask(sample, "/index.html") == (200, "v1.0.0")
        assert [item["version"] for item in (await plane.get("/releases"))["items"]] == ["v1.0.0"]
    finally:
        free(engine.disk)
    run = await plane.ended(run_id)
    assert run["status"] == "completed", run["error"]
    assert await plane.ask(sample, "/index.html") == (200, "v1.1.0")
    # What the failed attempts had made is gone: what serves is left, and what served before, whose log is kept.
    left = await asyncio.to_thread(docker, engine.url, "ps", "--all", "--quiet")
    assert len(left.stdout.split()) == 2
    dangling = await asyncio.to_thread(docker, engine.url, "images", "--quiet", "--filter", "dangling=true")
    assert dangling.stdout.split() == []
