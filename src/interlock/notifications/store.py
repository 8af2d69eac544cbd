"""The tables of notifications: channels with their sealed secrets, and deliveries with the bytes that are sent."""

from typing import Any

import msgspec
from sqlalchemy import Column, Integer, LargeBinary, String, Table, UniqueConstraint, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.db.database import tenant_metadata
from interlock.notifications.model import Channel, Delivery, SealedSecret

channels = Table(
    "notification_channels",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("channel_id", String, nullable=False, unique=True),
    Column("name", String, nullable=False, unique=True),
    Column("secrets", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
)

deliveries = Table(
    "notification_deliveries",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("delivery_id", String, nullable=False, unique=True),
    Column("channel_id", String, nullable=False, index=True),
    Column("event_id", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("due_at", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
    UniqueConstraint("channel_id", "event_id", name="one_delivery_of_an_event_to_a_channel"),
)

_channel = msgspec.json.Decoder(Channel)
_secrets = msgspec.json.Decoder(tuple[SealedSecret, ...])
_delivery = msgspec.json.Decoder(Delivery)

# --- channels ---


async def add_channel(connection: AsyncConnection, channel: Channel, secrets: tuple[SealedSecret, ...]) -> None:
    values = {"channel_id": channel.channel_id, "name": channel.name, "secrets": msgspec.json.encode(secrets)}
    await connection.execute(insert(channels).values(value=msgspec.json.encode(channel), **values))


async def save_channel(connection: AsyncConnection, channel: Channel) -> None:
    where = channels.c.channel_id == channel.channel_id
    await connection.execute(update(channels).where(where).values(value=msgspec.json.encode(channel)))


async def save_secrets(connection: AsyncConnection, channel_id: str, secrets: tuple[SealedSecret, ...]) -> None:
    where = channels.c.channel_id == channel_id
    await connection.execute(update(channels).where(where).values(secrets=msgspec.json.encode(secrets)))


async def remove_channel(connection: AsyncConnection, channel_id: str) -> None:
    await connection.execute(delete(channels).where(channels.c.channel_id == channel_id))


async def all_channels(connection: AsyncConnection) -> list[Channel]:
    rows = (await connection.execute(select(channels.c.value).order_by(channels.c.name))).all()
    return [_channel.decode(row.value) for row in rows]


async def channel_named(connection: AsyncConnection, name: str) -> Channel | None:
    row = (await connection.execute(select(channels.c.value).where(channels.c.name == name))).first()
    return None if row is None else _channel.decode(row.value)


async def channel_with_secrets(connection: AsyncConnection, channel_id: str) -> tuple[Channel, tuple[SealedSecret, ...]] | None:
    query = select(channels.c.value, channels.c.secrets).where(channels.c.channel_id == channel_id)
    row = (await connection.execute(query)).first()
    return None if row is None else (_channel.decode(row.value), _secrets.decode(row.secrets))


# --- deliveries ---


async def add_delivery(connection: AsyncConnection, item: Delivery, body: bytes) -> bool:
    """Whether it is new: there is one delivery of an event to a channel, whoever asks for it."""
    names = ("delivery_id", "channel_id", "event_id", "state", "due_at")
    values: dict[str, Any] = {name: getattr(item, name) for name in names}
    statement = upsert(deliveries).values(body=body, value=msgspec.json.encode(item), **values)
    result = await connection.execute(statement.on_conflict_do_nothing(index_elements=["channel_id", "event_id"]))
    return result.rowcount > 0


async def save_delivery(connection: AsyncConnection, item: Delivery) -> None:
    values = {"state": item.state, "due_at": item.due_at, "value": msgspec.json.encode(item)}
    await connection.execute(update(deliveries).where(deliveries.c.delivery_id == item.delivery_id).values(values))


async def delivery(connection: AsyncConnection, delivery_id: str) -> tuple[Delivery, bytes] | None:
    query = select(deliveries.c.value, deliveries.c.body).where(deliveries.c.delivery_id == delivery_id)
    row = (await connection.execute(query)).first()
    return None if row is None else (_delivery.decode(row.value), row.body)


async def due(connection: AsyncConnection, channel_id: str, at: str, limit: int) -> list[str]:
    """Deliveries to one channel that may be tried, the longest due first."""
    query = select(deliveries.c.delivery_id).where(
        deliveries.c.channel_id == channel_id, deliveries.c.state == "pending", deliveries.c.due_at <= at
    )
    rows = await connection.execute(query.order_by(deliveries.c.due_at, deliveries.c.number).limit(limit))
    return [row.delivery_id for row in rows]


async def next_due(connection: AsyncConnection, after: str) -> str | None:
    """When the next delivery is due that is not due yet."""
    query = select(func.min(deliveries.c.due_at)).where(deliveries.c.state == "pending", deliveries.c.due_at > after)
    return (await connection.execute(query)).scalar_one_or_none()


async def deliveries_of(connection: AsyncConnection, channel_id: str, state: str) -> list[Delivery]:
    query = select(deliveries.c.value).where(deliveries.c.channel_id == channel_id, deliveries.c.state == state)
    return [_delivery.decode(row.value) for row in (await connection.execute(query.order_by(deliveries.c.number))).all()]


async def listing(connection: AsyncConnection, channel_id: str | None, state: str | None, limit: int) -> list[Delivery]:
    query = select(deliveries.c.value).order_by(deliveries.c.number.desc()).limit(limit)
    if channel_id is not None:
        query = query.where(deliveries.c.channel_id == channel_id)
    if state is not None:
        query = query.where(deliveries.c.state == state)
    return [_delivery.decode(row.value) for row in (await connection.execute(query)).all()]


async def counts(connection: AsyncConnection) -> dict[str, int]:
    query = select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
    return {state: int(count) for state, count in (await connection.execute(query)).all()}


async def forget_before(connection: AsyncConnection, at: str) -> int:
    """Remove what ended, and was due, before ``at``."""
    where = (deliveries.c.state != "pending") & (deliveries.c.due_at < at)
    return (await connection.execute(delete(deliveries).where(where))).rowcount
