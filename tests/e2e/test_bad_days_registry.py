"""The registry is full, away or dies while it is sent something; images are deleted behind our back, with one and without."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio

from e2e.conftest import environment
from harness.containers import TestEngine, docker
from harness.disks import fill, free
from harness.engine_keeper import REGISTRY
from harness.plane import PATIENCE_S, Plane, until
from harness.ports import free_port
from harness.sample import MODULE, Sample
from harness.small_site import containers, forget, release

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Registry:
    """A registry of the tests' own, on a disk of its own, that may be killed and started again."""

    def __init__(self, folder: Path, program: str) -> None:
        self.disk = folder / "disk"
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = folder / "log"
        self._folder = folder
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "registry.yml").write_text(REGISTRY.format(root=self.disk, port=self.port))

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [self._program, "serve", str(self._folder / "registry.yml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def freeze(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None:
        pytest.skip("no registry: apt install docker-registry")
    made = Registry(tmp_path_factory.mktemp("registry"), program)
    made.disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(made.disk)], check=False)
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    made.start()
    yield made
    made.kill()
    subprocess.run(["umount", "-l", str(made.disk)], check=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(
    container_engine: TestEngine, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Plane]:
    """With a registry."""
    made = Plane(
        tmp_path_factory.mktemp("plane"),
        environment(),
        container_engine=container_engine.url,
        container_registry=registry.address,
    )
    await made.start()
    yield made
    await _end(made)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def alone(container_engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    """Without one."""
    made = Plane(tmp_path_factory.mktemp("alone"), environment(), container_engine=container_engine.url)
    await made.start()
    yield made
    await _end(made)


async def _end(plane: Plane) -> None:
    found = plane.inside.services.targets.of("container")
    for key in await found.list():
        await found.stop(key, 0)
        await found.remove(key)
    await plane.stop()
    await plane.clear()


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path / "repositories", f"site{crc32(str(tmp_path).encode()) % 10**6}")


async def begun(plane: Plane, sample: Sample, engine: TestEngine, version: str, **module: Any) -> str:
    release(sample, version, await asyncio.to_thread(engine.busybox), **module)
    if version == "v1.0.0":
        await plane.add(sample)
    return await plane.begin(f"deploy {sample.name} {version} to staging")


async def deployed(plane: Plane, sample: Sample, engine: TestEngine, *versions: str) -> None:
    for version in versions:
        run = await plane.ended(await begun(plane, sample, engine, version))
        assert run["status"] == "completed", run["error"]


async def trouble(plane: Plane, run_id: str, task: str = "push", patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """Why an attempt at a task has failed, once one has."""

    async def look() -> Any:
        events = (await plane.get(f"/runs/{run_id}/events"))["items"]
        failed = [event for event in events if event["type"] == "TaskRetryScheduled" and event["task"] == task]
        return failed[0]["error"] if failed else None

    return await until(look, f"{task} has failed once", patience_s)


async def image_of(plane: Plane, sample: Sample, version: str) -> str:
    releases = (await plane.get("/releases", params={"service": sample.name}))["items"]
    return next(item["image"] for item in releases if item["version"] == version)


class TestSending:
    """What serves is not touched by any of it: the release is not even sealed before its image is safe."""

    async def test_a_registry_without_room_holds_the_run_up_until_there_is_some(
        self, plane: Plane, sample: Sample, container_engine: TestEngine, registry: Registry
    ) -> None:
        fill(registry.disk)
        try:
            run_id = await begun(plane, sample, container_engine, "v1.0.0")
            await until(lambda: _is_full(registry), "the registry has refused it")
            assert (await plane.get("/releases", params={"service": sample.name}))["items"] == []
        finally:
            free(registry.disk)
        run = await plane.ended(run_id, 120)
        assert run["status"] == "completed", run["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")

    async def test_a_registry_that_is_away_is_waited_for(
        self, plane: Plane, sample: Sample, container_engine: TestEngine, registry: Registry
    ) -> None:
        registry.kill()
        try:
            run_id = await begun(plane, sample, container_engine, "v1.0.0")
            error = await trouble(plane, run_id)
            assert (error["kind"], error["code"]) == ("unavailable", "registry_down")
            assert "refused" in error["message"]
        finally:
            registry.start()
        assert (await plane.ended(run_id, 90))["status"] == "completed"

    @pytest.mark.slow
    @pytest.mark.timeout(400)
    async def test_one_that_stays_without_room_is_told_as_one_that_cannot_take_it(
        self, plane: Plane, sample: Sample, container_engine: TestEngine, registry: Registry
    ) -> None:
        """The engine itself tries for more than a minute before it gives up; the run does then, again and again."""
        fill(registry.disk)
        try:
            run_id = await begun(plane, sample, container_engine, "v1.0.0")
            error = await trouble(plane, run_id, patience_s=200)
            assert (error["kind"], error["code"]) == ("unavailable", "registry_down"), error
        finally:
            free(registry.disk)
        assert (await plane.ended(run_id, 150))["status"] == "completed"

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    async def test_one_that_is_away_for_good_ends_the_run_and_what_serves_stays(
        self, plane: Plane, sample: Sample, container_engine: TestEngine, registry: Registry
    ) -> None:
        await deployed(plane, sample, container_engine, "v1.0.0")
        registry.kill()
        try:
            run_id = await begun(plane, sample, container_engine, "v1.1.0")
            run = await plane.ended(run_id, 500)
        finally:
            registry.start()
        assert (run["status"], run["error"]["code"]) == ("failed", "registry_down")
        events = (await plane.get(f"/runs/{run_id}/events", params={"limit": 1000}))["items"]
        again = [event for event in events if event["type"] == "TaskRetryScheduled" and event["task"] == "push"]
        assert len(again) == 9
        assert await plane.ask(sample) == (200, "v1.0.0")
        assert [item["version"] for item in (await plane.get("/releases", params={"service": sample.name}))["items"]] == [
            "v1.0.0"
        ]
        await until(lambda: _listens(registry), "the registry is back")
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert run["status"] == "completed", run["error"]

    async def test_one_that_dies_in_the_middle_of_a_push_has_all_of_it_in_the_end(
        self, plane: Plane, sample: Sample, container_engine: TestEngine, registry: Registry
    ) -> None:
        registry.freeze()
        try:
            run_id = await begun(plane, sample, container_engine, "v1.0.0")
            await plane.task_runs(run_id, "push")
        finally:
            registry.kill()
        error = await trouble(plane, run_id)
        assert (error["kind"], error["code"]) == ("unavailable", "registry_down"), error
        registry.start()
        assert (await plane.ended(run_id, 90))["status"] == "completed"
        found = (await plane.get("/releases", params={"service": sample.name}))["items"][0]
        await asyncio.to_thread(forget, container_engine, found["image"])
        assert await plane.inside.services.targets.of("container").pull(found["reference"]) == found["image"]  # type: ignore[attr-defined]


class TestDeleted:
    async def test_with_a_registry_that_is_away_too_it_is_not_said_to_be_gone(
        self, plane: Plane, sample: Sample, container_engine: TestEngine, registry: Registry
    ) -> None:
        await deployed(plane, sample, container_engine, "v1.0.0", "v1.1.0")
        await asyncio.to_thread(forget, container_engine, await image_of(plane, sample, "v1.0.0"))
        registry.kill()
        try:
            refused = await plane.refusal(f"roll back {sample.name} in staging", 503)
            assert refused["code"] == "registry_down"
        finally:
            registry.start()
        await until(lambda: _listens(registry), "the registry is back")
        run = await plane.do(f"roll back {sample.name} in staging")
        assert run["status"] == "completed", run["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")

    async def test_without_a_registry_a_plan_that_could_not_be_taken_back_is_refused(
        self, alone: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        await deployed(alone, sample, container_engine, "v1.0.0")
        image = await image_of(alone, sample, "v1.0.0")
        for name in docker(
            container_engine.url, "image", "inspect", image, "-f", "{{range .RepoTags}}{{.}} {{end}}"
        ).stdout.split():
            docker(container_engine.url, "rmi", "--force", name)
        (running,) = containers(container_engine, sample)
        docker(container_engine.url, "rmi", "--force", image, check=False)
        if docker(container_engine.url, "image", "inspect", image, check=False).returncode == 0:
            # An engine keeps the image of what runs, so it has to go first: somebody stops it by hand.
            docker(container_engine.url, "rm", "--force", running)
            docker(container_engine.url, "rmi", "--force", image)
        release(sample, "v1.1.0", container_engine.busybox())
        refused = await alone.refusal(f"deploy {sample.name} v1.1.0 to staging")
        assert refused["code"] == "rollback_target_missing"
        assert "is gone from the engine" in refused["title"]
        assert "stop" in refused["hint"]

    async def test_without_a_registry_at_the_moment_of_need_it_is_said_loudly_and_what_serves_stays(
        self, alone: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        await deployed(alone, sample, container_engine, "v1.0.0")
        image = await image_of(alone, sample, "v1.0.0")
        run_id = await begun(alone, sample, container_engine, "v1.1.0", watch=MODULE["watch"] | {"window": "60s"})
        await alone.task_runs(run_id, "watch-staging")
        await asyncio.to_thread(forget, container_engine, image)
        (running,) = containers(container_engine, sample)
        # It answers no more, and the engine knows nothing of that.
        for pid in docker(container_engine.url, "top", running, "-eo", "pid").stdout.split()[1:]:
            os.kill(int(pid), signal.SIGSTOP)
        try:
            run = await alone.ended(run_id, 90)
        finally:
            for pid in docker(container_engine.url, "top", running, "-eo", "pid").stdout.split()[1:]:
                os.kill(int(pid), signal.SIGCONT)
        assert run["status"] == "failed"

        async def alarm() -> Any:
            return next((item for item in await alone.inbox(sample) if item["kind"] == "alarm"), None)

        item = await until(alarm, "there is an alarm")
        assert "needs a person now" in item["title"]
        (incident,) = await alone.incidents(sample, "open")
        assert incident["severity"] == "critical"
        error = incident["evidence"]["rollback_error"]
        assert error["code"] == "image_missing"
        assert "deploy it again" in error["hint"]
        assert await alone.ask(sample) == (200, "v1.1.0")


async def _listens(registry: Registry) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", registry.port)
    except OSError:
        return False
    writer.close()
    return True


async def _is_full(registry: Registry) -> bool:
    return "no space left" in registry.log.read_text()
