"""What tests of every kind share: a database with all tables, a scope, a clock that stands still."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from harness.engine import make_tables
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.testing.clocks import ManualClock


@pytest.fixture
def scope() -> Scope:
    return Scope(tenant="default", principal="user:owner", origin="test", correlation_id="cor_test")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    found = Database(tmp_path / "data")
    make_tables(found, "default")
    yield found
    await found.close()
