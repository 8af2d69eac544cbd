"""A run engine over a real database, with bodies and tools of a test's own."""

import asyncio
import contextlib
import functools
import importlib.util
import pkgutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy

import interlock
from interlock.adapters.keys.files import KeyFiles
from interlock.audit.service import Audit
from interlock.core.clock import Clock, SystemClock
from interlock.core.scope import Scope
from interlock.db.database import Database, control_metadata, tenant_metadata
from interlock.db.namespaces import CONTROL
from interlock.events.service import EventsFeed
from interlock.runs import model as m
from interlock.runs.active import Equipment
from interlock.runs.driver import LocalDriver
from interlock.runs.feed import JournalFeed
from interlock.runs.graph import TaskGraph, TaskSpec
from interlock.runs.journal import DatabaseJournal
from interlock.runs.ports import Executor, TaskContext
from interlock.runs.service import Runs
from interlock.tools.grants import Grant, Rule
from interlock.tools.model import Effect, Tool
from interlock.tools.service import Toolbox

PATIENCE_S = 20.0


def make_tables(database: Database, *tenants: str) -> None:
    """Make the tables of every slice in the control namespace and in those of ``tenants``."""
    for namespace in (CONTROL, *tenants):
        file = database.store.file(namespace)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_empty(namespace == CONTROL))


@functools.cache
def _empty(is_control: bool) -> bytes:
    """A database file with all tables and no rows."""
    for module in pkgutil.walk_packages(interlock.__path__, "interlock."):
        if module.name.endswith(".store"):
            importlib.import_module(module.name)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        engine = sqlalchemy.create_engine("sqlite://", creator=lambda: connection, poolclass=sqlalchemy.StaticPool)
        (control_metadata if is_control else tenant_metadata).create_all(engine)
        image = connection.serialize()
    # Both say that the file has a write-ahead log, as one has that was migrated: https://www.sqlite.org/fileformat2.html
    return image[:18] + b"\x02\x02" + image[20:]


def task(name: str, *needs: str, kind: str = "work", effect: Effect = Effect.WRITE, **fields: Any) -> TaskSpec:
    """A node that needs ``needs``."""
    return TaskSpec(id=name, kind=kind, title=name, effect=effect, needs=needs, **fields)


def run_of(*tasks: TaskSpec, run_id: str = "run_1", tools: Iterable[str] = (), **fields: Any) -> m.Run:
    """A run over ``tasks``, each of which may use ``tools`` with any label."""
    grants = tuple(
        Grant(task=spec.id, tool=tool, arguments={"label": Rule(rule="decided")}) for spec in tasks for tool in tools
    )
    names = {"plan_id": f"plan_{run_id}", "role": "main", "title": "a test", "requested_by": "user:owner"}
    return m.Run(run_id=run_id, correlation_id="cor_test", graph=TaskGraph(tasks=tasks), grants=grants, **(names | fields))


async def nothing(_context: TaskContext) -> dict[str, Any]:
    """A body without work."""
    return {}


async def until(holds: Callable[[], Any], what: str = "it never came true") -> Any:
    """Wait until ``holds()`` is true; returns it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (seen := holds()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.002)
    return seen


@dataclass
class Engine:
    """The engine as one process has it: start it again on the same database to see what a crash leaves."""

    database: Database
    scope: Scope
    executors: Mapping[str, Executor] = field(default_factory=lambda: {"work": nothing})
    tools: Iterable[Tool[Any, Any]] = ()
    clock: Clock = field(default_factory=SystemClock)
    max_concurrent_runs: int = 10
    owner: str = "first"

    def __post_init__(self) -> None:
        self.commits: list[set[str]] = []
        self.journal = DatabaseJournal(self.database, self.scope, self._committed)
        equipment = Equipment(self.journal, self.executors, Toolbox(self.tools), self.clock, self.scope)
        self.driver = LocalDriver(equipment, self.owner, self.max_concurrent_runs)
        self.runs = Runs(self.database, self.driver, self.clock)

    def _committed(self, run_ids: set[str]) -> None:
        self.commits.append(run_ids)
        self.runs.committed(run_ids)

    async def state(self, run_id: str = "run_1") -> m.RunState:
        return await self.runs.get(self.scope, run_id)

    async def events(self, run_id: str = "run_1") -> list[m.RunEvent]:
        return await self.journal.load(run_id)

    async def ended(self, run_id: str = "run_1") -> m.RunState:
        """The state of the run, once it has ended."""
        return await self.when(lambda state: state.status in m.RUN_ENDED, run_id)

    async def when(self, holds: Callable[[m.RunState], Any], run_id: str = "run_1") -> m.RunState:
        """The durable state of the run, once ``holds(state)``."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(state := await self.state(run_id)):
            assert time.monotonic() < deadline, f"{run_id} is {state.status}: { {k: t.status for k, t in state.tasks.items()} }"
            await asyncio.sleep(0.005)
        return state


def seal_commits(database: Database, folder: Path, clock: Clock | None = None) -> Audit:
    """Have every commit of ``database`` sealed with keys in ``folder``."""
    feeds = {feed.name: feed for feed in (EventsFeed(database), JournalFeed(database))}
    audit = Audit(database, clock or SystemClock(), KeyFiles(folder), feeds)
    database.before_commit(audit.seal)
    return audit
