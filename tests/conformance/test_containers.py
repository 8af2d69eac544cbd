"""Every container engine passes the suite of the port."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.containers import TestEngine
from harness.ports import free_port
from interlock.adapters.containers.engine import DockerEngine
from interlock.testing.container_suite import SUITE_SCRIPTS, ContainerBehaviour, RegistryBehaviour, job, service
from interlock.testing.containers import FakeEngine
from interlock.testing.hosts import SAYS, STAYS
from interlock.tools.containers.ports import BuildSpec


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

    async def test_its_images_are_told_in_one_look(
        self, engine: DockerEngine, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(3):
            text = f"FROM {image}\nLABEL number={number}\n"
            await engine.build(
                BuildSpec(folder=str(tmp_path), tag=f"tests/one-look:{number}", dockerfile_text=text), lambda _: None
            )
        asked: list[str] = []
        ask = engine._ask

        async def counted(method: str, path: str, **options: object) -> object:
            asked.append(path)
            return await ask(method, path, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(engine, "_ask", counted)
        assert len(await engine.images()) == 3
        assert asked == ["images/json"]

    async def test_offsets_go_on_where_the_engine_rotates_the_log(self, engine: DockerEngine, image: str) -> None:
        command = ("/bin/sh", "-c", "for i in $(seq 100 299); do echo line $i; sleep 0.01; done; sleep 600")
        await engine.start("chatty", service(image, command, log_limit_bytes=4000))
        shown, offset = "", 0
        async with asyncio.timeout(60):
            while "line 299\n" not in shown:
                chunk = await engine.log("chatty", offset, 500)
                shown, offset = shown + chunk.text, chunk.next_offset
        assert shown == "".join(f"line {number}\n" for number in range(100, 300))
        assert (await engine.log("chatty", 0)).text != shown
        assert (await engine.log("chatty", -9)).next_offset == len(shown)

    async def test_bytes_that_are_no_text_and_lines_without_end_are_kept(self, engine: DockerEngine, image: str) -> None:
        command = ("/bin/sh", "-c", r"printf 'a\377b\n'; head -c 40000 /dev/zero | tr '\0' x; printf 'é'")
        await engine.start("odd", job(image, command))
        await engine.wait("odd", 60)
        assert (await engine.log("odd")).text == "a\ufffdb\n" + 40000 * "x" + "é"
