"""The use cases of runs: submit, look, follow, pause, cancel."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import NotFound
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.runs import model as m
from interlock.runs import store
from interlock.runs.evolve import fold
from interlock.runs.waiting import RunWhy, Waiting, Why

PAGE = 500


class Driver(Protocol):
    """What executes runs: in this process, or elsewhere."""

    async def submit(self, run: m.Run) -> None: ...
    async def cancel(self, run_id: str, by: str, reason: str) -> None: ...
    async def pause(self, run_id: str, by: str, reason: str) -> None: ...
    async def resume(self, run_id: str, by: str, reason: str) -> None: ...
    async def answer(self, run_id: str, task: str, answer: str, by: str, asked: int = 0) -> None: ...


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the list of runs; ``number`` grows with time and serves as the cursor."""

    number: int
    run_id: str
    plan_id: str
    role: str
    title: str
    status: str
    submitted_at: str
    ended_at: str


class Runs:
    """Everything a face may ask about runs."""

    def __init__(self, database: Database, driver: Driver, clock: Clock) -> None:
        self._database = database
        self._driver = driver
        self._clock = clock
        self._followers: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def submit(self, scope: Scope, run: m.Run) -> None:
        """Make ``run`` durable and execute it. Raises Conflict ``run_exists`` for a second run in the same role of a plan."""
        await self._driver.submit(run)

    async def cancel(self, scope: Scope, run_id: str, reason: str) -> None:
        """End a run; what it changed is brought back where the plan says how. Raises NotFound, Conflict ``run_not_active``."""
        await self._summary(scope, run_id)
        await self._driver.cancel(run_id, scope.principal, reason)

    async def pause(self, scope: Scope, run_id: str, reason: str) -> None:
        """Let no further task of a run start until it is resumed. Raises NotFound, Conflict ``run_not_active`` or
        ``run_is_ending``."""
        await self._summary(scope, run_id)
        await self._driver.pause(run_id, scope.principal, reason)

    async def resume(self, scope: Scope, run_id: str, reason: str) -> None:
        """End the pause of a run. Raises NotFound, Conflict ``run_not_active``."""
        await self._summary(scope, run_id)
        await self._driver.resume(run_id, scope.principal, reason)

    async def answer(self, scope: Scope, run_id: str, task: str, answer: str, asked: int = 0) -> None:
        """Answer a task that waits for a person. ``asked`` is the number of the event that asked; 0 answers what is open.

        Raises Conflict ``not_waiting`` or ``run_not_active``, Invalid ``unknown_option``, Unavailable ``run_suspended``.
        """
        await self._driver.answer(run_id, task, answer, scope.principal, asked)

    async def get(self, scope: Scope, run_id: str) -> m.RunState:
        """The state of a run, from its journal. Raises NotFound."""
        return (await self.history(scope, run_id))[0]

    async def history(self, scope: Scope, run_id: str) -> tuple[m.RunState, list[m.RunEvent]]:
        """The state of a run, and every event that led to it, oldest first. Raises NotFound."""
        await self._summary(scope, run_id)
        async with self._database.read(scope) as connection:
            events = [event for _, event in await store.events(connection, run_id, 0)]
        state = fold(events)
        if state is None:
            raise NotFound("run", f"there is no run {run_id}")
        return state, events

    async def why(self, scope: Scope, run_id: str) -> RunWhy:
        """What a run waits for, in words, and what decides when it ends. Raises NotFound."""
        return (await self._waiting(scope, run_id)).why_run()

    async def why_task(self, scope: Scope, run_id: str, task: str) -> Why:
        """Why a task does not run, or since when it does. Raises NotFound, for a task with the names near it."""
        return (await self._waiting(scope, run_id)).why(task)

    async def _waiting(self, scope: Scope, run_id: str) -> Waiting:
        state = await self.get(scope, run_id)
        with_slot = (await self.counts(scope)).get(str(m.RunStatus.RUNNING), 0)
        return Waiting(state, to_text(self._clock.now()), with_slot)

    async def listing(
        self, scope: Scope, *, plan_id: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[RunSummary]:
        """Runs, newest first; ``before`` is the number of the last one of the page before."""
        async with self._database.read(scope) as connection:
            rows = await store.summaries(connection, plan_id, before, limit)
        return msgspec.convert(rows, list[RunSummary])

    async def counts(self, scope: Scope) -> dict[str, int]:
        """How many runs there are in each status."""
        async with self._database.read(scope) as connection:
            return await store.count_by_status(connection)

    async def events(self, scope: Scope, run_id: str, after: int = 0, limit: int = PAGE) -> list[tuple[int, m.RunEvent]]:
        """Events behind sequence number ``after``, oldest first. Raises NotFound."""
        await self._summary(scope, run_id)
        async with self._database.read(scope) as connection:
            return await store.events(connection, run_id, after, limit)

    async def follow(self, scope: Scope, run_id: str, after: int = 0) -> AsyncGenerator[tuple[int, m.RunEvent]]:
        """Events behind ``after``, and each later one once it is durable, until the run has ended. Raises NotFound.

        Every follower reads the journal: one who comes back with the last number it saw misses nothing and sees nothing twice.
        """
        wake = asyncio.Event()
        self._followers[run_id].add(wake)
        try:
            while True:
                wake.clear()
                status, page = await self._page(scope, run_id, after)
                for seq, event in page:
                    yield seq, event
                    after = seq
                    if isinstance(event, m.RunFinished):
                        return
                if not page:
                    if status in m.RUN_ENDED:
                        return
                    # The wake-up is a hint; the journal is the truth, looked at now and then in any case.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(5.0):
                            await wake.wait()
        finally:
            self._followers[run_id].discard(wake)
            if not self._followers[run_id]:
                del self._followers[run_id]

    async def _page(self, scope: Scope, run_id: str, after: int) -> tuple[str, list[tuple[int, m.RunEvent]]]:
        """The run's status and the next events, as they were at one moment."""
        async with self._database.read(scope) as connection:
            summary = await store.summary(connection, run_id)
            page = await store.events(connection, run_id, after, PAGE)
        return _existing(summary, run_id)["status"], page

    def committed(self, run_ids: set[str]) -> None:
        """Called by the journal after each commit."""
        for run_id in run_ids:
            for wake in self._followers.get(run_id, ()):
                wake.set()

    async def _summary(self, scope: Scope, run_id: str) -> dict[str, Any]:
        async with self._database.read(scope) as connection:
            summary = await store.summary(connection, run_id)
        return _existing(summary, run_id)


def _existing(summary: dict[str, Any] | None, run_id: str) -> dict[str, Any]:
    if summary is None:
        raise NotFound("run", f"there is no run {run_id}", hint="see: interlock runs")
    return summary
