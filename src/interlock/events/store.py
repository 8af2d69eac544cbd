"""The events table, the cursors of the subscriptions, and the dead letters."""

from typing import Any

import msgspec
from sqlalchemy import Column, Integer, LargeBinary, String, Table, Text, cast, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.db import feeds
from interlock.db.database import tenant_metadata
from interlock.db.prepared import Prepared
from interlock.db.session import Session, Turn
from interlock.events.model import Envelope

FEED = "events"

events = Table(
    "events",
    tenant_metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("event_type", String, nullable=False, index=True),
    Column("subject", String, nullable=False, index=True),
    Column("envelope", LargeBinary, nullable=False),
)

cursors = Table(
    "event_cursors",
    tenant_metadata,
    Column("subscription", String, primary_key=True),
    Column("position", Integer, nullable=False),
)

dead_letters = Table(
    "dead_letters",
    tenant_metadata,
    Column("letter", Integer, primary_key=True, autoincrement=True),
    Column("subscription", String, nullable=False),
    Column("position", Integer, nullable=False),
    Column("at", String, nullable=False),
    Column("error", Text, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
)

_APPEND = Prepared(insert(events))
_decoder = msgspec.json.Decoder(Envelope)


def sealed(event_type: str, subject: str, envelope: bytes) -> bytes:
    """The bytes that stand for a row in the record."""
    return f"{event_type} {subject} ".encode() + envelope


def append(turn: Turn, envelope: Envelope) -> int:
    content = msgspec.json.encode(envelope)
    position = feeds.take(turn.plain, FEED, 1)
    row = {"event_type": envelope.event_type, "subject": envelope.subject, "envelope": content}
    _APPEND.run(turn.plain, row | {"position": position})
    turn.record(FEED, position, sealed(envelope.event_type, envelope.subject, content))
    return position


async def after(connection: AsyncConnection, position: int, limit: int) -> list[tuple[int, Envelope | None]]:
    query = select(events.c.position, events.c.envelope).where(events.c.position > position)
    rows = (await connection.execute(query.order_by(events.c.position).limit(limit))).all()
    return [(row.position, _decoder.decode(row.envelope)) for row in rows]


async def content(connection: AsyncConnection, first: int, last: int) -> list[tuple[int, bytes]]:
    """The rows from ``first`` to ``last`` as the audit chain seals them."""
    # As blobs: whatever somebody has put in there, it can be read and compared.
    parts = [cast(column, LargeBinary) for column in (events.c.event_type, events.c.subject, events.c.envelope)]
    query = select(events.c.position, *parts).where(events.c.position.between(first, last)).order_by(events.c.position)
    return [(position, b" ".join(parts)) for position, *parts in (await connection.execute(query)).all()]


async def last_position(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.coalesce(func.max(events.c.position), 0)))).scalar_one())


async def about(connection: AsyncConnection, subject: str, limit: int) -> list[Envelope]:
    query = select(events.c.envelope).where(events.c.subject == subject).order_by(events.c.position).limit(limit)
    return [_decoder.decode(row.envelope) for row in (await connection.execute(query)).all()]


async def load_cursors(connection: AsyncConnection) -> dict[str, int]:
    rows = (await connection.execute(select(cursors))).all()
    return {row.subscription: row.position for row in rows}


async def save_cursor(session: Session, subscription: str, position: int) -> None:
    statement = upsert(cursors).values(subscription=subscription, position=position)
    await session.connection.execute(
        statement.on_conflict_do_update(index_elements=["subscription"], set_={"position": position})
    )


async def bury(session: Session, subscription: str, position: int, at: str, error: str, envelope: Envelope) -> None:
    values: dict[str, Any] = {"subscription": subscription, "position": position, "at": at, "error": error}
    await session.connection.execute(insert(dead_letters).values(envelope=msgspec.json.encode(envelope), **values))


async def count_dead(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.count()).select_from(dead_letters))).scalar_one())
