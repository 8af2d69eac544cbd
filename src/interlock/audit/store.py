"""The chain's table."""

from typing import NamedTuple

import msgspec
from sqlalchemy import Column, Connection, Integer, LargeBinary, Table, cast, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.audit.model import Seal
from interlock.db.database import tenant_metadata
from interlock.db.prepared import Prepared

seals = Table(
    "audit_seals",
    tenant_metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("seal", LargeBinary, nullable=False),
)


class SealRow(NamedTuple):
    """A seal as stored, undecoded: a verification must be able to say that it cannot be read."""

    seq: int
    seal: bytes


_LAST = Prepared(text("SELECT seal FROM audit_seals ORDER BY seq DESC LIMIT 1"))
_APPEND = Prepared(insert(seals))
_decoder = msgspec.json.Decoder(Seal)


def last(connection: Connection) -> Seal | None:
    row = _LAST.run(connection, {}).first()
    return None if row is None else _decoder.decode(row.seal)


def append(connection: Connection, seal: Seal) -> None:
    _APPEND.run(connection, {"seq": seal.seq, "seal": msgspec.json.encode(seal)})


async def last_seq(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.coalesce(func.max(seals.c.seq), 0)))).scalar_one())


async def page(connection: AsyncConnection, after: int, end: int, limit: int) -> list[SealRow]:
    """Seals behind ``after`` up to ``end``."""
    query = select(seals.c.seq, cast(seals.c.seal, LargeBinary)).where(seals.c.seq > after, seals.c.seq <= end)
    return [SealRow(seq, raw) for seq, raw in (await connection.execute(query.order_by(seals.c.seq).limit(limit))).all()]
