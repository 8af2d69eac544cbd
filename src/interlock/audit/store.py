"""The chain's table."""

import msgspec
from sqlalchemy import Column, Integer, LargeBinary, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.audit.model import Seal
from interlock.db.database import tenant_metadata

seals = Table(
    "audit_seals",
    tenant_metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("seal", LargeBinary, nullable=False),
)

_decoder = msgspec.json.Decoder(Seal)


async def last(connection: AsyncConnection) -> Seal | None:
    row = (await connection.execute(select(seals.c.seal).order_by(seals.c.seq.desc()).limit(1))).first()
    return None if row is None else _decoder.decode(row.seal)


async def append(connection: AsyncConnection, seal: Seal) -> None:
    await connection.execute(insert(seals).values(seq=seal.seq, seal=msgspec.json.encode(seal)))


async def page(connection: AsyncConnection, after: int, limit: int) -> list[bytes]:
    """Seals as stored, undecoded: a verification must be able to say that one cannot be read."""
    query = select(seals.c.seal).where(seals.c.seq > after).order_by(seals.c.seq).limit(limit)
    return [bytes(row.seal) for row in (await connection.execute(query)).all()]
