"""The journal on the tenant's database, with group commit."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError

from interlock.core.errors import Conflict
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.group import GroupCommit
from interlock.db.session import Session
from interlock.runs import store
from interlock.runs.model import Run, RunEvent, RunFinished, RunStarted, RunStatus


@dataclass(frozen=True, slots=True)
class _Append:
    run_id: str
    epoch: int
    seq: int
    events: Sequence[RunEvent]


class DatabaseJournal:
    """`Journal` for one tenant. ``on_commit`` is called with the run ids after each commit."""

    def __init__(self, database: Database, scope: Scope, on_commit: Callable[[set[str]], None]) -> None:
        self._database = database
        self._scope = scope
        self._on_commit = on_commit
        self._group = GroupCommit[_Append](database, scope, self._apply)

    async def create(self, run: Run, events: Sequence[RunEvent], owner: str) -> int:
        try:
            async with self._database.write(self._scope) as session:
                fields = {"run_id": run.run_id, "plan_id": run.plan_id, "role": run.role, "title": run.title}
                fields["correlation_id"] = run.correlation_id
                values = {"status": str(RunStatus.PENDING), "owner": owner, "epoch": 1, "submitted_at": events[0].at}
                await store.add_run(session.connection, fields | values)
                await store.append(session, _rows(run.run_id, 1, 1, events))
                session.after_commit(lambda: self._on_commit({run.run_id}))
        except IntegrityError as error:
            raise Conflict("run_exists", f"the plan {run.plan_id} has its {run.role} run already") from error
        return 1

    def append(self, run_id: str, epoch: int, seq: int, events: Sequence[RunEvent]) -> asyncio.Future[None]:
        """Queued in the order of the calls, so that a run may append again before the first append is durable."""
        return self._group.submit(_Append(run_id, epoch, seq, events))

    async def _apply(self, session: Session, items: Sequence[_Append]) -> list[Exception | None]:
        epochs = await store.epochs(session.connection, list({item.run_id for item in items}))
        owned = [item for item in items if epochs.get(item.run_id) == item.epoch]
        rows = [row for item in owned for row in _rows(item.run_id, item.epoch, item.seq, item.events)]
        if rows:
            await store.append(session, rows)
        for item in owned:
            for event in item.events:
                if isinstance(event, RunStarted):
                    await store.set_status(session.connection, item.run_id, str(RunStatus.RUNNING), "")
                elif isinstance(event, RunFinished):
                    await store.set_status(session.connection, item.run_id, str(event.status), event.at)
        session.after_commit(lambda: self._on_commit({item.run_id for item in owned}))
        return [None if item in owned else _fenced(item) for item in items]

    async def load(self, run_id: str) -> list[RunEvent]:
        async with self._database.read(self._scope) as connection:
            return [event for _, event in await store.events(connection, run_id, 0)]

    async def unfinished(self) -> list[str]:
        async with self._database.read(self._scope) as connection:
            return await store.unfinished(connection)

    async def take_over(self, run_id: str, owner: str) -> int:
        async with self._database.write(self._scope) as session:
            return await store.take_over(session.connection, run_id, owner)


def _rows(run_id: str, epoch: int, seq: int, events: Sequence[RunEvent]) -> list[dict[str, object]]:
    return [
        {"run_id": run_id, "seq": number, "epoch": epoch, "event": store.encoder.encode(event)}
        for number, event in enumerate(events, seq)
    ]


def _fenced(item: _Append) -> Conflict:
    return Conflict("fenced", f"{item.run_id} was taken over by another control plane", where=f"epoch {item.epoch}")
