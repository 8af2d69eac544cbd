"""The journal on the tenant's database, with group commit."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from interlock.core.errors import Conflict, Unavailable
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.group import GroupCommit
from interlock.db.session import Turn
from interlock.runs import model as m
from interlock.runs import store
from interlock.runs.model import Run, RunEvent, RunFinished, RunStatus

_AFTER: dict[type[m.Event], RunStatus] = {
    m.RunStarted: RunStatus.RUNNING,
    m.RunContinued: RunStatus.RUNNING,
    m.RunPaused: RunStatus.PAUSED,
    m.RunResumed: RunStatus.PENDING,
}
"""What a run is after an event that does not end it."""


@dataclass(frozen=True, slots=True)
class _Append:
    run_id: str
    epoch: int
    rows: Sequence[dict[str, Any]]
    status: tuple[RunStatus, str] | None
    """The run's new status and the time of its end, where the events change it."""
    new: store.NewRun | None = None
    """Of a run that is made by this append."""

    @property
    def place(self) -> tuple[int, int]:
        """What has to hold of the run for this to be appended: its epoch, and the number of its last event."""
        return self.epoch, self.rows[0]["seq"] - 1


class DatabaseJournal:
    """`Journal` for one tenant. ``on_commit`` is called with the run ids after each commit."""

    def __init__(self, database: Database, scope: Scope, on_commit: Callable[[set[str]], None]) -> None:
        self._database = database
        self._scope = scope
        self._on_commit = on_commit
        self._group = GroupCommit[_Append](database, scope, self._apply)

    async def create(self, run: Run, events: Sequence[RunEvent], owner: str) -> int:
        new = store.NewRun(run=run, owner=owner, epoch=1, submitted_at=events[0].at)
        await self._group.submit(_Append(run.run_id, new.epoch, _rows(run.run_id, new.epoch, 1, events), None, new))
        return new.epoch

    def append(self, run_id: str, epoch: int, seq: int, events: Sequence[RunEvent]) -> asyncio.Future[None]:
        """Queued in the order of the calls, so that a run may append again before the first append is durable."""
        # Encoded here, not in the writer's turn: what cannot be written fails its run and nobody else's.
        return self._group.submit(_Append(run_id, epoch, _rows(run_id, epoch, seq, events), _status_after(events)))

    async def drain(self) -> None:
        await self._group.drain()

    def _apply(self, turn: Turn, items: Sequence[_Append]) -> list[Exception | None]:
        places: dict[str, tuple[int, int] | None] = {}
        refusals: list[Exception | None] = []
        accepted: list[_Append] = []
        for item in items:
            if item.new is not None:
                refusal = _create(turn, item.new)
            else:
                if item.run_id not in places:
                    places[item.run_id] = store.place(turn.plain, item.run_id)
                refusal = _refusal(item, places[item.run_id])
            refusals.append(refusal)
            if refusal is None:
                accepted.append(item)
                places[item.run_id] = (item.epoch, item.rows[-1]["seq"])
        if accepted:
            store.append(turn, [row for item in accepted for row in item.rows])
        for item in accepted:
            if item.status is not None:
                store.set_status(turn.plain, item.run_id, *item.status)
        turn.after_commit(lambda: self._on_commit({item.run_id for item in accepted}))
        return refusals

    async def load(self, run_id: str) -> list[RunEvent]:
        async with self._database.read(self._scope) as connection:
            return [event for _, event in await store.events(connection, run_id, 0)]

    async def unfinished(self) -> list[str]:
        async with self._database.read(self._scope) as connection:
            return await store.unfinished(connection)

    async def take_over(self, run_id: str, owner: str) -> int:
        async with self._database.write(self._scope) as session:
            return await store.take_over(session.connection, run_id, owner)


def _rows(run_id: str, epoch: int, seq: int, events: Sequence[RunEvent]) -> list[dict[str, Any]]:
    return [
        {"run_id": run_id, "seq": number, "epoch": epoch, "event": store.encoder.encode(event)}
        for number, event in enumerate(events, seq)
    ]


def _status_after(events: Sequence[RunEvent]) -> tuple[RunStatus, str] | None:
    if isinstance(events[-1], RunFinished):
        return events[-1].status, events[-1].at
    found = (_AFTER.get(type(event)) for event in reversed(events))
    return next(((status, "") for status in found if status is not None), None)


def _create(turn: Turn, new: store.NewRun) -> Exception | None:
    if store.add_run(turn.plain, new):
        return None
    return Conflict("run_exists", f"the plan {new.run.plan_id} has its {new.run.role} run already")


def _refusal(item: _Append, place: tuple[int, int] | None) -> Exception | None:
    if place == item.place:
        return None
    if place is None or place[0] != item.epoch:
        return Conflict("fenced", f"{item.run_id} was taken over by another control plane", where=f"epoch {item.epoch}")
    # An append before this one was not written; without it this one would make no sense.
    return Unavailable("journal_gap", f"{item.run_id} ends with event {place[1]}", where=f"event {item.rows[0]['seq']}")
