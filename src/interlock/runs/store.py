"""The journal: an append-only table of run events, and one row a run that says who may append to it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    RowMapping,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    cast,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.db import feeds
from interlock.db.database import tenant_metadata
from interlock.db.prepared import Prepared
from interlock.db.session import Turn
from interlock.runs.model import RUN_ENDED, Run, RunEvent, RunStatus

FEED = "run_events"

runs = Table(
    "runs",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String, nullable=False, unique=True),
    Column("plan_id", String, nullable=False, index=True),
    Column("role", String, nullable=False),
    Column("title", String, nullable=False),
    Column("correlation_id", String, nullable=False),
    Column("status", String, nullable=False, index=True),
    Column("owner", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("submitted_at", String, nullable=False),
    Column("ended_at", String, nullable=False, server_default=""),
    UniqueConstraint("plan_id", "role", name="one_run_for_each_role_of_a_plan"),
)

run_events = Table(
    "run_events",
    tenant_metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("event", LargeBinary, nullable=False),
    UniqueConstraint("run_id", "seq", name="one_event_for_each_place_in_a_run"),
)

decoder: msgspec.json.Decoder[RunEvent] = msgspec.json.Decoder(RunEvent)
encoder = msgspec.json.Encoder()


def sealed(run_id: str, seq: int, epoch: int, event: bytes) -> bytes:
    """The bytes that stand for a row in the record."""
    return f"{run_id} {seq} {epoch} ".encode() + event


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run, and who may append to it first."""

    run: Run
    owner: str
    epoch: int
    submitted_at: str


_OF_RUN = ("run_id", "plan_id", "role", "title", "correlation_id")
_ADD = Prepared(
    text(
        "INSERT INTO runs (run_id, plan_id, role, title, correlation_id, status, owner, epoch, submitted_at) VALUES"
        " (:run_id, :plan_id, :role, :title, :correlation_id, :status, :owner, :epoch, :submitted_at) ON CONFLICT DO NOTHING"
    )
)


def add_run(connection: Connection, new: NewRun) -> bool:
    """Whether it was added: it is not where its id, or its role in its plan, is taken."""
    values = {name: getattr(new.run, name) for name in _OF_RUN} | {"status": str(RunStatus.PENDING)}
    values |= {"owner": new.owner, "epoch": new.epoch, "submitted_at": new.submitted_at}
    return _ADD.run(connection, values).rowcount == 1


_LAST_SEQ = select(func.max(run_events.c.seq)).where(run_events.c.run_id == runs.c.run_id).scalar_subquery()
_PLACE = Prepared(select(runs.c.epoch, _LAST_SEQ.label("seq")).where(runs.c.run_id == bindparam("run_id")))
_APPEND = Prepared(insert(run_events))
_SET_STATUS = Prepared(
    update(runs).where(runs.c.run_id == bindparam("which")).values(status=bindparam("status"), ended_at=bindparam("ended_at"))
)


def place(connection: Connection, run_id: str) -> tuple[int, int] | None:
    """The run's epoch and the number of its last event; None where there is no such run."""
    row = _PLACE.run(connection, {"run_id": run_id}).mappings().first()
    return None if row is None else (row["epoch"], row["seq"])


async def take_over(connection: AsyncConnection, run_id: str, owner: str) -> int:
    """Make ``owner`` the only one who may append; returns the new epoch."""
    statement = update(runs).where(runs.c.run_id == run_id).values(owner=owner, epoch=runs.c.epoch + 1)
    return int((await connection.execute(statement.returning(runs.c.epoch))).scalar_one())


def append(turn: Turn, rows: Sequence[dict[str, Any]]) -> None:
    first = feeds.take(turn.plain, FEED, len(rows))
    _APPEND.run(turn.plain, [row | {"position": position} for position, row in enumerate(rows, first)])
    for position, row in enumerate(rows, first):
        turn.record(FEED, position, sealed(row["run_id"], row["seq"], row["epoch"], row["event"]))


def set_status(connection: Connection, run_id: str, status: RunStatus, ended_at: str) -> None:
    _SET_STATUS.run(connection, {"which": run_id, "status": str(status), "ended_at": ended_at})


async def events(connection: AsyncConnection, run_id: str, after: int, limit: int | None = None) -> list[tuple[int, RunEvent]]:
    query = select(run_events.c.seq, run_events.c.event).where(run_events.c.run_id == run_id, run_events.c.seq > after)
    query = query.order_by(run_events.c.seq)
    rows = (await connection.execute(query if limit is None else query.limit(limit))).all()
    return [(row.seq, decoder.decode(row.event)) for row in rows]


async def unfinished(connection: AsyncConnection) -> list[str]:
    query = select(runs.c.run_id).where(runs.c.status.notin_([str(status) for status in RUN_ENDED])).order_by(runs.c.number)
    return list((await connection.execute(query)).scalars())


async def summaries(connection: AsyncConnection, plan_id: str | None, before: int | None, limit: int) -> list[dict[str, Any]]:
    query = select(runs).order_by(runs.c.number.desc()).limit(limit)
    if plan_id is not None:
        query = query.where(runs.c.plan_id == plan_id)
    if before is not None:
        query = query.where(runs.c.number < before)
    return [_plain(row) for row in (await connection.execute(query)).mappings()]


async def summary(connection: AsyncConnection, run_id: str) -> dict[str, Any] | None:
    row = (await connection.execute(select(runs).where(runs.c.run_id == run_id))).mappings().first()
    return None if row is None else _plain(row)


def _plain(row: RowMapping) -> dict[str, Any]:
    # The keys are a subclass of str, which typed conversion does not take.
    return {str(name): value for name, value in row.items()}


async def after(connection: AsyncConnection, position: int, limit: int) -> list[Any]:
    """Rows with ``position``, ``run_id``, ``seq``, ``event`` and what the runs table says of the run."""
    columns = (run_events.c.position, run_events.c.run_id, run_events.c.seq, run_events.c.event)
    query = select(*columns, runs.c.plan_id, runs.c.role, runs.c.title, runs.c.correlation_id)
    query = query.join_from(run_events, runs, runs.c.run_id == run_events.c.run_id).where(run_events.c.position > position)
    return list((await connection.execute(query.order_by(run_events.c.position).limit(limit))).all())


async def content(connection: AsyncConnection, first: int, last: int) -> list[tuple[int, bytes]]:
    """The rows from ``first`` to ``last`` as the audit chain seals them."""
    # As blobs: whatever somebody has put in there, it can be read and compared.
    parts = [cast(column, LargeBinary) for column in (run_events.c.run_id, run_events.c.seq, run_events.c.epoch)]
    query = select(run_events.c.position, *parts, cast(run_events.c.event, LargeBinary))
    query = query.where(run_events.c.position.between(first, last)).order_by(run_events.c.position)
    return [(position, b" ".join(parts)) for position, *parts in (await connection.execute(query)).all()]


async def last_position(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.coalesce(func.max(run_events.c.position), 0)))).scalar_one())


async def count_by_status(connection: AsyncConnection) -> dict[str, int]:
    query = select(runs.c.status, func.count()).group_by(runs.c.status)
    return {row[0]: row[1] for row in (await connection.execute(query)).all()}
