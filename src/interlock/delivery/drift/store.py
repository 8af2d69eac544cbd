"""The table of drift; see `delivery.store`."""

import msgspec
from sqlalchemy import Column, LargeBinary, String, Table, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.db.database import tenant_metadata
from interlock.db.values import many, one
from interlock.delivery.drift.comparison import PlaceDrift

drifts = Table(
    "drifts",
    tenant_metadata,
    Column("service", String, primary_key=True),
    Column("environment", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


async def all_drifts(connection: AsyncConnection) -> list[PlaceDrift]:
    return await many(connection, select(drifts.c.value).order_by(drifts.c.service, drifts.c.environment), PlaceDrift)


async def drift(connection: AsyncConnection, service_name: str, environment: str) -> PlaceDrift | None:
    return await one(connection, drifts, (drifts.c.service == service_name) & (drifts.c.environment == environment), PlaceDrift)


async def put_drift(connection: AsyncConnection, place: PlaceDrift) -> None:
    """Store the drift of a place; delete the row where there is none."""
    keys = {"service": place.service, "environment": place.environment}
    if place.is_empty:
        where = (drifts.c.service == place.service) & (drifts.c.environment == place.environment)
        await connection.execute(delete(drifts).where(where))
        return
    fields = {"value": msgspec.json.encode(place)}
    statement = upsert(drifts).values(**keys, **fields)
    await connection.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=fields))
