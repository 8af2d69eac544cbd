"""The tables of incidents and quarantines; see `delivery.store`."""

import msgspec
from sqlalchemy import Column, Integer, LargeBinary, String, Table, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.db.database import tenant_metadata
from interlock.db.values import many, one
from interlock.delivery.incidents.facts import Facts
from interlock.delivery.model import Incident, Quarantine

quarantines = Table(
    "quarantines",
    tenant_metadata,
    Column("service", String, primary_key=True),
    Column("content", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

incidents = Table(
    "incidents",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("incident_id", String, nullable=False, unique=True),
    Column("deployment_id", String, nullable=False, index=True),
    Column("state", String, nullable=False, index=True),
    Column("value", LargeBinary, nullable=False),
)

facts = Table(
    "incident_facts",
    tenant_metadata,
    Column("incident_id", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


async def put_quarantine(connection: AsyncConnection, item: Quarantine) -> None:
    statement = upsert(quarantines).values(service=item.service, content=item.content, value=msgspec.json.encode(item))
    updated = {"value": msgspec.json.encode(item)}
    await connection.execute(statement.on_conflict_do_update(index_elements=["service", "content"], set_=updated))


async def quarantine(connection: AsyncConnection, service_name: str, content: str) -> Quarantine | None:
    where = (quarantines.c.service == service_name) & (quarantines.c.content == content)
    return await one(connection, quarantines, where, Quarantine)


async def all_quarantines(connection: AsyncConnection) -> list[Quarantine]:
    return await many(connection, select(quarantines.c.value), Quarantine)


async def put_incident(connection: AsyncConnection, incident: Incident) -> None:
    fields = {"state": incident.state, "value": msgspec.json.encode(incident)}
    keys = {"incident_id": incident.incident_id, "deployment_id": incident.deployment_id}
    statement = upsert(incidents).values(**keys, **fields)
    await connection.execute(statement.on_conflict_do_update(index_elements=["incident_id"], set_=fields))


async def incident(connection: AsyncConnection, incident_id: str) -> Incident | None:
    return await one(connection, incidents, incidents.c.incident_id == incident_id, Incident)


async def open_incident_of(connection: AsyncConnection, deployment_id: str) -> Incident | None:
    return await one(
        connection, incidents, (incidents.c.deployment_id == deployment_id) & (incidents.c.state != "resolved"), Incident
    )


async def all_incidents(connection: AsyncConnection, state: str | None, limit: int) -> list[Incident]:
    query = select(incidents.c.value).order_by(incidents.c.number.desc()).limit(limit)
    return await many(connection, query.where(incidents.c.state == state) if state else query, Incident)


async def incident_facts(connection: AsyncConnection, incident_id: str) -> Facts | None:
    return await one(connection, facts, facts.c.incident_id == incident_id, Facts)


async def keep_incident_facts(connection: AsyncConnection, found: Facts) -> Facts:
    """Keep the facts unless there are some already, and return those that are kept: the first look counts."""
    statement = upsert(facts).values(incident_id=found.incident_id, value=msgspec.json.encode(found))
    await connection.execute(statement.on_conflict_do_nothing(index_elements=["incident_id"]))
    return await incident_facts(connection, found.incident_id) or found
