"""The plans' table. ``content`` is the canonical JSON as approved; nothing ever rewrites it."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Column, Integer, LargeBinary, String, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.db.database import tenant_metadata
from interlock.plans.model import Plan

plans = Table(
    "plans",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("plan_id", String, nullable=False, unique=True),
    Column("service", String, nullable=False, index=True),
    Column("state", String, nullable=False, index=True),
    Column("content_hash", String, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
)

_decoder = msgspec.json.Decoder(Plan)


@dataclass(frozen=True, slots=True)
class Stored:
    """A plan beside the bytes of its content, as they are in the database; ``number`` grows with time."""

    number: int
    plan: Plan
    content: bytes


async def add(connection: AsyncConnection, plan: Plan, content: bytes) -> None:
    names = ("plan_id", "service", "state", "content_hash")
    values = {name: getattr(plan, name) for name in names}
    await connection.execute(insert(plans).values(content=content, value=msgspec.json.encode(plan), **values))


async def save(connection: AsyncConnection, plan: Plan) -> None:
    values = {"state": plan.state, "value": msgspec.json.encode(plan)}
    await connection.execute(update(plans).where(plans.c.plan_id == plan.plan_id).values(values))


async def get(connection: AsyncConnection, plan_id: str) -> Stored | None:
    query = select(plans.c.number, plans.c.value, plans.c.content).where(plans.c.plan_id == plan_id)
    row = (await connection.execute(query)).first()
    return None if row is None else Stored(row.number, _decoder.decode(row.value), bytes(row.content))


async def in_states(connection: AsyncConnection, service: str | None, states: list[str]) -> list[Plan]:
    query = select(plans.c.value).where(plans.c.state.in_(states)).order_by(plans.c.number)
    if service is not None:
        query = query.where(plans.c.service == service)
    return [_decoder.decode(row.value) for row in (await connection.execute(query)).all()]


async def page(
    connection: AsyncConnection, *, service: str | None, state: str | None, before: int | None, limit: int
) -> list[tuple[int, Plan]]:
    query = select(plans.c.number, plans.c.value).order_by(plans.c.number.desc()).limit(limit)
    if service is not None:
        query = query.where(plans.c.service == service)
    if state is not None:
        query = query.where(plans.c.state == state)
    if before is not None:
        query = query.where(plans.c.number < before)
    return [(row.number, _decoder.decode(row.value)) for row in (await connection.execute(query)).all()]
