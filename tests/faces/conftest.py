"""A control plane without a deployment: enough for what the faces do with requests."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.plane import Plane


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    shared = Plane(tmp_path_factory.mktemp("plane"), environ)
    await shared.start()
    yield shared
    await shared.stop()
    await shared.clear()
