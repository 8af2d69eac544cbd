"""Who ended a container is told from what the engine knows: the program itself, this control plane, or somebody outside."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from harness.containers import TestEngine, docker
from harness.own_engine import OwnEngine, own_engine
from interlock.adapters.containers.engine import DockerEngine
from interlock.core.errors import Conflict
from interlock.testing.container_suite import PATIENCE_S, job, service, until_log
from interlock.testing.hosts import FAILS, STAYS
from interlock.tools.ports import ProcessStatus

ENDS_WELL = ("/bin/sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
DIES_OF_IT = ("/bin/sh", "-c", "trap 'exit 143' TERM; echo ready; while :; do sleep 0.05; done")
ENDS_LATER = ("/bin/sh", "-c", "echo ready; sleep 0.5")


@pytest.fixture
async def engine(container_engine: TestEngine) -> AsyncIterator[DockerEngine]:
    name = f"tests-{uuid4().hex[:12]}"
    engine = DockerEngine(container_engine.url, lambda: name)
    yield engine
    for key in await engine.list():
        await engine.stop(key, 0)
        await engine.remove(key)


@pytest.fixture
async def image(engine: DockerEngine, container_engine: TestEngine) -> str:
    image = await engine.image(await asyncio.to_thread(container_engine.busybox))
    assert image is not None
    return image.image_id


async def by_hand(container_engine: TestEngine, status: ProcessStatus, *arguments: str) -> None:
    await asyncio.to_thread(docker, container_engine.url, *arguments, status.identity)


@pytest.mark.parametrize("command", [ENDS_WELL, DIES_OF_IT])
@pytest.mark.parametrize("max_restarts", [0, 5])
async def test_a_service_that_was_stopped_by_hand_is_lost_whatever_it_ended_with(
    engine: DockerEngine, container_engine: TestEngine, image: str, command: tuple[str, ...], max_restarts: int
) -> None:
    status = await engine.start("served", service(image, command, max_restarts=max_restarts))
    await until_log(engine, "served", "ready")
    await by_hand(container_engine, status, "stop")
    ended = await engine.wait("served", PATIENCE_S)
    assert (ended.state, ended.reason) == ("lost", "")
    assert "stopped from outside" in ended.message
    assert await engine.status("served") == ended


async def test_one_that_was_stopped_while_it_waited_to_be_started_again_is_lost(
    engine: DockerEngine, container_engine: TestEngine, image: str
) -> None:
    status = await engine.start("crashes", service(image, ("/bin/sh", "-c", "sleep 0.5; exit 3"), max_restarts=50))
    async with asyncio.timeout(PATIENCE_S):
        while (await engine.status("crashes")).restarts < 3:
            await asyncio.sleep(0.05)
    await by_hand(container_engine, status, "stop")
    assert (await engine.wait("crashes", PATIENCE_S)).state == "lost"


async def test_one_that_ended_by_itself_is_told_so(engine: DockerEngine, image: str) -> None:
    await engine.start("well", service(image, ENDS_LATER))
    assert (await engine.wait("well", PATIENCE_S)).reason == "completed"
    await engine.start("once", service(image, FAILS, max_restarts=0))
    assert (await engine.wait("once", PATIENCE_S)).reason == "gave_up"
    await engine.start("often", service(image, FAILS, max_restarts=1))
    assert (await engine.wait("often", PATIENCE_S)).reason == "gave_up"


async def test_a_paused_service_is_lost_until_it_goes_on_and_can_be_stopped(
    engine: DockerEngine, container_engine: TestEngine, image: str
) -> None:
    status = await engine.start("frozen", service(image, STAYS))
    await by_hand(container_engine, status, "pause")
    frozen = await engine.status("frozen")
    assert (frozen.state, frozen.identity) == ("lost", status.identity)
    assert "is paused" in frozen.message
    assert (await engine.survey())["frozen"].is_paused
    with pytest.raises(Conflict) as refusal:
        await engine.remove("frozen")
    assert refusal.value.code == "process_running"
    await by_hand(container_engine, status, "unpause")
    assert (await engine.status("frozen")).state == "running"
    assert not (await engine.survey())["frozen"].is_paused
    await by_hand(container_engine, status, "pause")
    assert (await engine.stop("frozen", 0)).reason == "stopped"


async def test_a_paused_job_is_waited_for(engine: DockerEngine, container_engine: TestEngine, image: str) -> None:
    status = await engine.start("work", job(image, ("/bin/sleep", "0.5")))
    await by_hand(container_engine, status, "pause")
    assert (await engine.wait("work", 0.1)).state == "running"
    await by_hand(container_engine, status, "unpause")
    assert (await engine.wait("work", PATIENCE_S)).reason == "completed"


@pytest.fixture
def daemon(container_engine: TestEngine) -> Iterator[OwnEngine]:
    with own_engine(container_engine, 5, "vfs") as engine:
        yield engine


async def test_what_an_orderly_end_of_the_engine_ended_well_is_lost(daemon: OwnEngine) -> None:
    engine = DockerEngine(daemon.url, lambda: "tests")
    image = await engine.image("local/busybox:1")
    assert image is not None
    await engine.start("served", service(image.image_id, ENDS_WELL))
    await until_log(engine, "served", "ready")
    daemon.process.terminate()
    await asyncio.to_thread(daemon.process.wait, PATIENCE_S)
    daemon.start()
    assert (await engine.wait("served", PATIENCE_S)).state == "lost"
