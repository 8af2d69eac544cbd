"""Tenants and tokens, in the control namespace; users and submissions, in the tenant's."""

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, String, Table, delete, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.db.database import control_metadata, tenant_metadata
from interlock.tenancy.model import User

tenants = Table(
    "tenants",
    control_metadata,
    Column("tenant", String, primary_key=True),
    Column("created_at", String, nullable=False),
)

tokens = Table(
    "tokens",
    control_metadata,
    Column("digest", String, primary_key=True),
    Column("tenant", String, ForeignKey("tenants.tenant"), nullable=False),
    Column("principal", String, nullable=False),
    Column("created_at", String, nullable=False),
)

users = Table(
    "users",
    tenant_metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("created_at", String, nullable=False),
)

submissions = Table(
    "submissions",
    tenant_metadata,
    Column("key", String, primary_key=True),
    Column("principal", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("at", String, nullable=False),
    Column("status", Integer, nullable=False),
    Column("media_type", String, nullable=False, server_default=""),
    Column("body", LargeBinary, nullable=False, server_default=""),
)


async def ensure_tenant(connection: AsyncConnection, tenant: str, at: str) -> None:
    statement = upsert(tenants).values(tenant=tenant, created_at=at)
    await connection.execute(statement.on_conflict_do_nothing(index_elements=["tenant"]))


async def replace_token(connection: AsyncConnection, digest: str, tenant: str, principal: str, at: str) -> None:
    await void_token(connection, tenant, principal)
    values = {"digest": digest, "tenant": tenant, "principal": principal, "created_at": at}
    await connection.execute(insert(tokens).values(values))


async def void_token(connection: AsyncConnection, tenant: str, principal: str) -> None:
    await connection.execute(delete(tokens).where(tokens.c.tenant == tenant, tokens.c.principal == principal))


async def owner_of(connection: AsyncConnection, digest: str) -> tuple[str, str] | None:
    row = (await connection.execute(select(tokens.c.tenant, tokens.c.principal).where(tokens.c.digest == digest))).first()
    return None if row is None else (row.tenant, row.principal)


async def add_user(connection: AsyncConnection, user: User) -> None:
    await connection.execute(insert(users).values(name=user.name, role=user.role, created_at=user.created_at))


async def remove_user(connection: AsyncConnection, name: str) -> None:
    await connection.execute(delete(users).where(users.c.name == name))


async def all_users(connection: AsyncConnection) -> list[User]:
    rows = (await connection.execute(select(users).order_by(users.c.name))).all()
    return [User(name=row.name, role=row.role, created_at=row.created_at) for row in rows]


async def has_user(connection: AsyncConnection, name: str) -> bool:
    return (await connection.execute(select(users.c.name).where(users.c.name == name))).first() is not None
