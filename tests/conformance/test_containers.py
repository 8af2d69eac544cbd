"""Every container engine passes the suite of the port."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from harness.containers import TestEngine
from harness.ports import free_port
from interlock.adapters.containers.engine import DockerEngine
from interlock.testing.container_suite import SUITE_SCRIPTS, ContainerBehaviour, RegistryBehaviour, job, service
from interlock.testing.containers import FakeEngine
from interlock.testing.hosts import SAYS, STAYS


class TestFakeEngine(ContainerBehaviour, RegistryBehaviour):
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(SUITE_SCRIPTS)

    @pytest.fixture
    def image(self, engine: FakeEngine) -> str:
        return engine.add_image("local/busybox:1")

    @pytest.fixture
    def port(self) -> int:
        return 8000

    @pytest.fixture
    def registry(self) -> str:
        return "127.0.0.1:5000"

    async def test_it_can_be_told_what_happens_later(self, engine: FakeEngine, image: str) -> None:
        await engine.start("api", service(image, STAYS, max_restarts=1, port=8000))
        engine.print("api", "hello")
        assert engine.end("api", 1).restarts == 1
        assert engine.end("api", 1).reason == "gave_up"
        await engine.start("work", job(image, STAYS))
        engine.lose("work")
        assert (await engine.wait("work")).state == "lost"
        engine.is_down = True
        assert (await engine.status("work")).state == "unknown"
        assert [key for key, _ in engine.started] == ["api", "work"]


class TestDockerEngine(ContainerBehaviour, RegistryBehaviour):
    @pytest.fixture
    async def engine(self, container_engine: TestEngine) -> AsyncIterator[DockerEngine]:
        name = f"tests-{uuid4().hex[:12]}"
        engine = DockerEngine(container_engine.url, lambda: name)
        yield engine
        keys = list(await engine.list())
        await asyncio.gather(*(engine.stop(key, 0) for key in keys))
        await asyncio.gather(*(engine.remove(key) for key in keys))
        for image in await engine.images():
            await engine.remove_image(image.image_id)

    @pytest.fixture
    async def image(self, engine: DockerEngine, container_engine: TestEngine) -> str:
        image = await engine.image(await asyncio.to_thread(container_engine.busybox))
        assert image is not None
        return image.image_id

    @pytest.fixture
    def port(self) -> int:
        return free_port()

    @pytest.fixture
    def registry(self, container_engine: TestEngine) -> str:
        if not container_engine.registry:
            pytest.skip("docker-registry is not installed (apt install docker-registry)")
        return container_engine.registry

    async def test_control_planes_on_one_engine_do_not_see_each_other(
        self, engine: DockerEngine, container_engine: TestEngine, image: str
    ) -> None:
        name = f"tests-{uuid4().hex[:12]}"
        other = DockerEngine(container_engine.url, lambda: name)
        await engine.start("mine", job(image, SAYS))
        assert (await other.status("mine")).state == "absent"
        assert await other.list() == {}
        assert await other.images() == []
