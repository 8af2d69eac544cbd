"""Control planes on temporary data folders. Whatever a test starts is ended with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio

from harness.plane import MakePlane, Plane
from harness.sample import Sample

StartDemo = Callable[..., subprocess.Popen[str]]
DEMO_PATIENCE_S = 60.0


def environment() -> dict[str, str]:
    """What the control plane sees of the environment: nothing that somebody set for another one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> None:
    # Which engine the tests use is for them, not for the control planes.
    for name in [name for name in os.environ if name.startswith("INTERLOCK_") and name != "INTERLOCK_TEST_ENGINE"]:
        del os.environ[name]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    """One control plane for all tests of a module; each test brings services of its own."""
    shared = Plane(tmp_path_factory.mktemp("plane"), environment())
    await shared.start()
    yield shared
    await shared.stop()
    await shared.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def make_plane(tmp_path: Path) -> AsyncIterator[MakePlane]:
    """Control planes of a test's own, for what would disturb others."""
    async with AsyncExitStack() as stack:

        async def make(environ: Mapping[str, str] | None = None, **options: Any) -> Plane:
            own = Plane(tmp_path / f"plane-{len(os.listdir(tmp_path))}", environment() | dict(environ or {}), **options)
            stack.push_async_callback(own.clear)
            await own.start()
            stack.push_async_callback(own.stop)
            return own

        yield make


@pytest.fixture
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    """A repository whose service is named after the test."""
    return Sample(tmp_path / "repositories", sample_name(request.node.name))


def sample_name(test: str) -> str:
    """A service's name: made of the test's, short and without words that mean something in a sentence."""
    return f"svc{crc32(test.encode()) % 10**6}"


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    """Starts `interlock demo` with settings and a folder of its own for what is temporary; ends it in order at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, **settings: str) -> subprocess.Popen[str]:
        environ = environment() | {f"INTERLOCK_{name.upper()}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "interlock", "demo", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environ | {"TMPDIR": str(tmp_path)}, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEMO_PATIENCE_S)


def until_is(is_true: Callable[[], bool], what: str) -> None:
    """Wait for it, where there is no event loop."""
    deadline = time.monotonic() + DEMO_PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)
