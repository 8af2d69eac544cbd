"""The inbox's table."""

import msgspec
from sqlalchemy import Column, Integer, LargeBinary, String, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.db.database import tenant_metadata
from interlock.inbox.model import Item

items = Table(
    "inbox_items",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("item_id", String, nullable=False, unique=True),
    Column("subject", String, nullable=False, index=True),
    Column("state", String, nullable=False, index=True),
    Column("item", LargeBinary, nullable=False),
)

_decoder = msgspec.json.Decoder(Item)


async def add(connection: AsyncConnection, item: Item) -> None:
    values = {"item_id": item.item_id, "subject": item.subject, "state": item.state, "item": msgspec.json.encode(item)}
    await connection.execute(insert(items).values(values))


async def save(connection: AsyncConnection, item: Item) -> None:
    values = {"state": item.state, "item": msgspec.json.encode(item)}
    await connection.execute(update(items).where(items.c.item_id == item.item_id).values(values))


async def get(connection: AsyncConnection, item_id: str) -> Item | None:
    row = (await connection.execute(select(items.c.item).where(items.c.item_id == item_id))).first()
    return None if row is None else _decoder.decode(row.item)


async def open_about(connection: AsyncConnection, subject: str) -> list[Item]:
    query = select(items.c.item).where(items.c.subject == subject, items.c.state == "open").order_by(items.c.number)
    return [_decoder.decode(row.item) for row in (await connection.execute(query)).all()]


async def all_about(connection: AsyncConnection, subject: str) -> list[Item]:
    query = select(items.c.item).where(items.c.subject == subject).order_by(items.c.number)
    return [_decoder.decode(row.item) for row in (await connection.execute(query)).all()]


async def open_below(connection: AsyncConnection, prefix: str) -> list[Item]:
    is_below = items.c.subject.startswith(prefix, autoescape=True)
    query = select(items.c.item).where(is_below, items.c.state == "open").order_by(items.c.number)
    return [_decoder.decode(row.item) for row in (await connection.execute(query)).all()]


async def listing(connection: AsyncConnection, state: str | None, limit: int) -> list[Item]:
    query = select(items.c.item).order_by(items.c.number.desc()).limit(limit)
    if state is not None:
        query = query.where(items.c.state == state)
    return [_decoder.decode(row.item) for row in (await connection.execute(query)).all()]
