"""A registry that asks for a login lets in who is set, and nobody else; the password is shown nowhere."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.containers import TestEngine
from harness.engine_keeper import end, start_registry
from interlock.adapters.containers.engine import DockerEngine
from interlock.adapters.containers.registries import RegistryLogin, build_headers, transfer_headers
from interlock.bootstrap.outside import registry_login
from interlock.core.errors import Conflict, Invalid
from interlock.settings import Settings
from interlock.tools.containers.ports import BuildSpec

PASSWORD = "correct-horse"
LOGIN = "deployer:$2b$05$abcdefghijklmnopqrstuuZ0Fx87Pb/Aqb0E90lfvCwzXnaFKUHpS"


@pytest.fixture
def registry(container_engine: TestEngine, tmp_path: Path) -> Iterator[str]:
    started = start_registry(tmp_path / "registry", LOGIN)
    if started is None:
        pytest.skip("docker-registry is not installed (apt install docker-registry)")
    process, address = started
    yield address
    end(process)


def login_of(registry: str, password: str | None) -> RegistryLogin | None:
    settings = Settings(
        container_registry=f"{registry}/shop",
        container_registry_user="deployer",
        container_registry_password_secret="registry",
    )
    return registry_login(settings, {"registry": password}.get)


@pytest.fixture
async def plane(container_engine: TestEngine, registry: str) -> AsyncIterator[tuple[DockerEngine, str]]:
    """An engine with the right login, and the name of an image on it that the registry may get."""
    name = f"tests-{uuid4().hex[:12]}"
    engine = DockerEngine(container_engine.url, lambda: name, login_of(registry, PASSWORD))
    busybox = await engine.image(await asyncio.to_thread(container_engine.busybox))
    assert busybox is not None
    reference = f"{registry}/shop/base:1"
    await engine.tag(busybox.image_id, reference)
    yield engine, reference
    await engine.remove_image(reference)
    for image in await engine.images():
        await engine.remove_image(image.image_id)


async def test_images_are_sent_fetched_and_built_upon_after_a_login(
    plane: tuple[DockerEngine, str], registry: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    engine, reference = plane
    empty = tmp_path / "empty"
    empty.mkdir()
    spec = BuildSpec(folder=str(empty), tag=f"{registry}/shop/own:1", dockerfile_text=f"FROM {reference}\nLABEL made=here\n")
    image = await engine.build(spec, lambda _: None)
    digest = await engine.push(f"{registry}/shop/own:1")
    await engine.remove_image(image)
    own = f"{registry}/shop/own@{digest}"
    assert await engine.pull(own) == image
    await engine.remove_image(image)
    upon = BuildSpec(folder=str(empty), tag="tests/upon:1", dockerfile_text=f"FROM {own}\nLABEL made=upon\n")
    # It holds the other one as long as it is there.
    await engine.remove_image(await engine.build(upon, lambda _: None))
    assert PASSWORD not in caplog.text


async def test_who_has_no_login_or_a_wrong_one_is_refused(
    plane: tuple[DockerEngine, str], container_engine: TestEngine
) -> None:
    _, reference = plane
    registry = reference.partition("/")[0]
    for login in (None, login_of(registry, "wrong-horse")):
        engine = DockerEngine(container_engine.url, lambda: "tests", login)
        with pytest.raises(Conflict) as refusal:
            await engine.push(reference)
        assert refusal.value.code == "push_refused"
        assert "INTERLOCK_CONTAINER_REGISTRY_USER" in refusal.value.hint
        assert "wrong-horse" not in repr(refusal.value.as_dict())


async def test_a_password_that_is_not_there_is_said(plane: tuple[DockerEngine, str], container_engine: TestEngine) -> None:
    _, reference = plane
    engine = DockerEngine(container_engine.url, lambda: "tests", login_of(reference.partition("/")[0], None))
    with pytest.raises(Invalid) as refusal:
        await engine.push(reference)
    assert refusal.value.code == "no_password"


def test_the_password_goes_to_its_own_registry_alone_and_is_not_shown() -> None:
    login = login_of("registry.example.com", PASSWORD)
    assert login is not None
    nobody = transfer_headers(None, "registry.example.com/shop/own")
    assert transfer_headers(login, "elsewhere.example.com/shop/own") == nobody
    assert transfer_headers(login, "registry.example.com/shop/own") != nobody
    assert build_headers(None) == {}
    assert PASSWORD not in repr(login)
    assert registry_login(Settings(container_registry="registry.example.com"), {}.get) is None


def test_a_user_without_a_registry_or_a_password_is_refused_at_the_start() -> None:
    for said in ({}, {"container_registry": "registry.example.com"}):
        with pytest.raises(ValueError, match="INTERLOCK_CONTAINER_REGISTRY_USER"):
            Settings(container_registry_user="deployer", **said)
