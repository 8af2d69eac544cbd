"""What tests of every kind share: a database with all tables, a scope, a clock that stands still."""

import contextlib
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from harness import examples as _profiles  # noqa: F401 - few examples, unless all are asked for
from harness.containers import TestEngine, Unusable, test_engine
from harness.engine import make_tables
from harness.postgres import PostgresOfTests, postgres_server
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.postgres import PostgresSchemas
from interlock.db.sqlite import SqliteFiles
from interlock.testing.clocks import ManualClock


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: the collector of garbage need not look at it again and again."""
    gc.freeze()


@pytest.fixture
def scope() -> Scope:
    return Scope(tenant="default", principal="user:owner", origin="test", correlation_id="cor_test")


@pytest.fixture(scope="session")
def container_engine() -> Iterator[TestEngine]:
    """The machine's container engine, shared with all other test sessions; skips where there can be none."""
    try:
        with test_engine() as engine:
            yield engine
    except Unusable as problem:
        pytest.skip(f"no container engine: {problem}")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What is served inside of a test logs to streams that are gone after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresOfTests]:
    """A server of this session's own."""
    with postgres_server() as server:
        yield server


@pytest_asyncio.fixture
async def database(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """With all tables and no rows, on a file; `ON_BOTH` has a test on a server too."""
    with contextlib.ExitStack() as stack:
        if getattr(request, "param", "sqlite") == "sqlite":
            found = Database(SqliteFiles(tmp_path / "data"))
            make_tables(found, "default")
        else:
            url = stack.enter_context(request.getfixturevalue("postgres").database())
            found = Database(PostgresSchemas(url))
        yield found
        await found.close()
