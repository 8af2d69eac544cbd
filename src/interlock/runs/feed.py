"""The journal as a feed of events, and as part of the record."""

from typing import Any

import msgspec

from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.events.model import Envelope, EventData
from interlock.runs import model as m
from interlock.runs import store
from interlock.runs.contracts import RunBegan, RunEnded, RunHeld, RunReleased, TaskAsks


class JournalFeed:
    """`events.ports.Feed` and `audit.ports.RecordedFeed` over the run events."""

    name = store.FEED

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, scope: Scope, position: int, limit: int) -> list[tuple[int, Envelope | None]]:
        async with self._database.read(scope) as connection:
            rows = await store.after(connection, position, limit)
        return [(row.position, _envelope(row)) for row in rows]

    async def content(self, scope: Scope, first: int, last: int) -> list[tuple[int, bytes]]:
        async with self._database.read(scope) as connection:
            return await store.content(connection, first, last)

    async def last_position(self, scope: Scope) -> int:
        async with self._database.read(scope) as connection:
            return await store.last_position(connection)


def _envelope(row: Any) -> Envelope | None:
    event: m.RunEvent = store.decoder.decode(row.event)
    data = _data(row, event)
    if data is None:
        return None
    return Envelope(
        # Derived, not drawn: the same entry of the journal is the same event however often it is read.
        event_id=f"{row.run_id}-{row.seq}",
        event_type=data.event_type,
        version=data.contract_version,
        subject=f"run:{row.run_id}",
        timestamp=event.at,
        originating_agent=f"run:{row.run_id}",
        origin="engine",
        correlation_id=row.correlation_id,
        data=msgspec.to_builtins(data),
    )


def _data(row: Any, event: m.RunEvent) -> EventData | None:
    about: dict[str, Any] = {"run_id": row.run_id, "plan_id": row.plan_id, "role": row.role}
    match event:
        case m.RunStarted():
            return RunBegan(**about)
        case m.RunPaused(by=by, reason=reason):
            return RunHeld(by=by, reason=reason, **about)
        case m.RunResumed(by=by, reason=reason):
            return RunReleased(by=by, reason=reason, **about)
        case m.RunFinished(status=status, error=error):
            return RunEnded(status=str(status), error=error, **about)
        case m.TaskParked(task=task, question=question, options=options, evidence=evidence):
            shown = list(options)
            return TaskAsks(task=task, question=question, options=shown, evidence=evidence, asked=row.seq, **about)
        case _:
            return None
