"""The chain's table."""

from typing import NamedTuple

import msgspec
from sqlalchemy import Column, Integer, LargeBinary, Table, cast, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.audit.model import Seal
from interlock.db.database import tenant_metadata

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


_decoder = msgspec.json.Decoder(Seal)


async def last(connection: AsyncConnection) -> Seal | None:
    row = (await connection.execute(select(seals.c.seal).order_by(seals.c.seq.desc()).limit(1))).first()
    return None if row is None else _decoder.decode(row.seal)


async def append(connection: AsyncConnection, seal: Seal) -> None:
    await connection.execute(insert(seals).values(seq=seal.seq, seal=msgspec.json.encode(seal)))


async def last_seq(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.coalesce(func.max(seals.c.seq), 0)))).scalar_one())


async def page(connection: AsyncConnection, after: int, end: int, limit: int) -> list[SealRow]:
    """Seals behind ``after`` up to ``end``."""
    query = select(seals.c.seq, cast(seals.c.seal, LargeBinary)).where(seals.c.seq > after, seals.c.seq <= end)
    return [SealRow(seq, raw) for seq, raw in (await connection.execute(query.order_by(seals.c.seq).limit(limit))).all()]
