"""A container that wants too much: memory, time to end, room for what it writes."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio

from e2e.conftest import environment
from e2e.test_containers import contained, inspect
from harness.containers import TestEngine
from harness.plane import Plane, until
from harness.sample import MODULE, Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(container_engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    python = await asyncio.to_thread(container_engine.python)
    settings = {"container_engine": container_engine.url, "container_python_image": python}
    made = Plane(tmp_path_factory.mktemp("plane"), environment(), **settings)
    await made.start()
    yield made
    containers = made.inside.services.targets.of("container")
    for key in await containers.list():
        await containers.stop(key, 0)
        await containers.remove(key)
    await made.stop()
    await made.clear()


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path / "repositories", f"greedy{crc32(str(tmp_path).encode()) % 10**6}")


async def test_one_that_eats_memory_is_killed_brought_back_and_the_incident_says_why(plane: Plane, sample: Sample) -> None:
    quick = {"deploy": {"drain": "1s"}}
    sample.release("v1.0.0", contained(**quick))
    watch = MODULE["watch"] | {"window": "60s", "health_failures": 100}
    limits = {"resources": {"memory_mb": 64}, "watch": watch}
    sample.release("v1.1.0", contained(**(quick | limits)), eats_after_s=2)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    run = await plane.ended(await plane.begin(f"deploy {sample.name} v1.1.0 to staging"), 90)
    assert (run["status"], run["error"]["code"]) == ("rolled_back", "threshold_crossed")
    assert "restarted" in run["error"]["message"]
    assert await plane.ask(sample) == (200, "v1.0.0")
    (incident,) = await plane.incidents(sample)
    report = await plane.get(f"/incidents/{incident['incident_id']}/report")
    assert "it needed more memory than it may have" in json.dumps(report)


@pytest.mark.slow
async def test_one_that_ignores_sigterm_is_killed_after_its_grace_and_nothing_is_lost(
    plane: Plane, sample: Sample, container_engine: TestEngine
) -> None:
    quick = {"deploy": {"drain": "1s"}}
    sample.release("v1.0.0", contained(**quick), ignores_sigterm=True)
    sample.release("v1.1.0", contained(**quick))
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    async with plane.traffic(sample) as answers:
        run = await plane.ended(await plane.begin(f"deploy {sample.name} v1.1.0 to staging"), 90)
    assert run["status"] == "completed", run["error"]
    assert {status for status, _ in answers} == {200}
    assert len(await asyncio.to_thread(inspect, container_engine, sample)) == 1
    assert await plane.incidents(sample) == []


@pytest.mark.parametrize("target", ["process", "container"])
async def test_a_flood_of_words_takes_no_more_disk_than_it_may(
    plane: Plane, sample: Sample, container_engine: TestEngine, target: str
) -> None:
    if target == "container" and not container_engine.is_own:
        pytest.skip("where an engine that the tests have not started keeps its logs is its own affair")
    module: dict[str, Any] = contained() if target == "container" else {}
    sample.release("v1.0.0", module)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    serving = await plane.serving(sample)
    assert serving is not None
    assert await plane.ask(sample, "/flood") == (200, "listen")

    async def is_over() -> bool:
        pieces = (await plane.get(f"/services/{sample.name}/environments/staging/logs"))["pieces"]
        return any("the flood is over" in piece["text"] for piece in pieces)

    # 27 MB were written; 4 MiB and two older pieces of that size are kept, and what the engine adds to each line.
    await until(is_over, "all of it is written", 120)
    if target == "container":
        (found,) = await asyncio.to_thread(inspect, container_engine, sample)
        files = list(Path(found["LogPath"]).parent.glob("*-json.log*"))
    else:
        files = list((plane.home / "processes" / serving["instances"][0]["key"]).glob("*"))
    assert files
    assert sum(file.stat().st_size for file in files if file.is_file()) < 13 * MIB
    assert await plane.ask(sample) == (200, "v1.0.0")
