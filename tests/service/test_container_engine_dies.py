"""What is told of containers when their engine ends in the middle, by a daemon of the tests' own that may be killed."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.containers import TestEngine
from harness.own_engine import OwnEngine, own_engine
from interlock.adapters.containers.engine import DockerEngine
from interlock.core.errors import InterlockError, Unavailable
from interlock.testing.container_suite import PATIENCE_S, job, service, until_log
from interlock.testing.hosts import SAYS, STAYS, STUBBORN
from interlock.tools.containers.ports import BuildSpec


@pytest.fixture
def daemon(container_engine: TestEngine) -> Iterator[OwnEngine]:
    with own_engine(container_engine, 2, "vfs") as engine:
        yield engine


@pytest.fixture
def engine(daemon: OwnEngine) -> DockerEngine:
    return DockerEngine(daemon.url, lambda: "tests")


async def image_of(engine: DockerEngine) -> str:
    image = await engine.image("local/busybox:1")
    assert image is not None
    return image.image_id


async def refusals(engine: DockerEngine, image: str, folder: Path) -> list[str]:
    """The code of what each call raises."""
    build = BuildSpec(folder=str(folder), tag="tests/none:1", dockerfile_text="FROM scratch\n")
    calls = [
        engine.start("new", job(image, SAYS)),
        engine.stop("stays", 0),
        engine.log("stays"),
        engine.list(),
        engine.remove("stays"),
        engine.build(build, lambda _: None),
        engine.image(image),
        engine.images(),
        engine.tag(image, "tests/none:2"),
        engine.push("127.0.0.1:9/tests/none:1"),
        engine.pull(f"127.0.0.1:9/tests/none@sha256:{'0' * 64}"),
        engine.remove_image(image),
        engine.ping(),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return [outcome.code if isinstance(outcome, InterlockError) else repr(outcome) for outcome in outcomes]


async def test_an_engine_that_died_is_unknown_and_what_it_ran_is_told_when_it_is_back(
    daemon: OwnEngine, engine: DockerEngine, tmp_path: Path
) -> None:
    image = await image_of(engine)
    await engine.start("stays", service(image, STAYS))
    await engine.start("work", job(image, STUBBORN))
    await engine.start("done", job(image, SAYS))
    await engine.wait("done", PATIENCE_S)
    await until_log(engine, "work", "ready")
    waiting = asyncio.create_task(engine.wait("work", 120))
    daemon.kill()
    assert (await engine.status("stays")).state == "unknown"
    assert (await engine.wait("stays", 0.1)).state == "unknown"
    assert set(await refusals(engine, image, tmp_path)) == {"engine_down"}
    daemon.start()
    # A daemon that comes back ends what it finds; a service is started again, a job is not.
    assert (await waiting).state == "lost"
    assert (await engine.status("done")).reason == "completed"
    assert (await engine.log("done")).text == "hello\n"
    async with asyncio.timeout(PATIENCE_S):
        while (await engine.status("stays")).state != "running":
            await asyncio.sleep(0.05)
    assert (await engine.stop("stays", 0)).reason == "stopped"


async def test_an_engine_that_dies_during_a_build_breaks_it_off(
    daemon: OwnEngine, engine: DockerEngine, tmp_path: Path
) -> None:
    text = 'FROM local/busybox:1\nRUN ["/bin/sh", "-c", "echo begun; sleep 600"]\n'
    begun = asyncio.Event()
    spec = BuildSpec(folder=str(tmp_path / "empty"), tag="tests/slow:1", dockerfile_text=text)
    (tmp_path / "empty").mkdir()
    build = asyncio.create_task(engine.build(spec, lambda output: begun.set() if "begun\n" in output else None))
    async with asyncio.timeout(PATIENCE_S):
        await begun.wait()
    daemon.kill()
    with pytest.raises(Unavailable) as failure:
        await build
    assert failure.value.code == "engine_down"
    daemon.start()
    assert (await engine.image("tests/slow:1")) is None


async def test_a_container_that_was_made_and_never_started_gives_its_key_free(daemon: OwnEngine, engine: DockerEngine) -> None:
    image = await image_of(engine)
    made = [
        "docker",
        "--host",
        daemon.url,
        "create",
        "--name",
        "interlock.tests.half",
        "--label",
        "interlock.instance=tests",
        image,
    ]
    await asyncio.to_thread(subprocess.run, [*made, "/bin/sleep", "600"], check=True, capture_output=True)
    assert (await engine.status("half")).state == "absent"
    assert await engine.list() == {}
    await engine.start("half", job(image, SAYS))
    assert (await engine.wait("half", PATIENCE_S)).reason == "completed"


async def test_a_registry_that_is_away_is_not_an_engine_that_is(daemon: OwnEngine, engine: DockerEngine) -> None:
    image = await image_of(engine)
    await engine.tag(image, "127.0.0.1:9/tests/none:1")
    with pytest.raises(Unavailable) as pushed:
        await engine.push("127.0.0.1:9/tests/none:1")
    with pytest.raises(Unavailable) as pulled:
        await engine.pull(f"127.0.0.1:9/tests/none@sha256:{'0' * 64}")
    assert (pushed.value.code, pulled.value.code) == ("registry_down", "registry_down")
