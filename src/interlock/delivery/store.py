"""The tables of delivery: a key, what is searched for, and the value as JSON."""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import JSON, Column, Integer, LargeBinary, String, Table, UniqueConstraint, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.db.database import tenant_metadata
from interlock.db.values import many, one
from interlock.delivery.model import Deployment, Drill, Release, Route, Service, Shares
from interlock.delivery.rules import EnvironmentRules
from interlock.sources.model import Target

services = Table(
    "services",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False, unique=True),
    Column("value", LargeBinary, nullable=False),
)

routes = Table(
    "routes",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("service", String, nullable=False),
    Column("environment", String, nullable=False),
    Column("stable_port", Integer, nullable=False, unique=True),
    Column("candidate_port", Integer, nullable=False, unique=True),
    Column("deployment_id", String, nullable=False, server_default=""),
    Column("shares", JSON, nullable=False, server_default="[]"),
    UniqueConstraint("service", "environment", name="one_route_for_a_service_in_an_environment"),
)

releases = Table(
    "releases",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("release_id", String, nullable=False, unique=True),
    Column("service", String, nullable=False, index=True),
    Column("content", String, nullable=False, index=True),
    Column("value", LargeBinary, nullable=False),
)

deployments = Table(
    "deployments",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("deployment_id", String, nullable=False, unique=True),
    Column("service", String, nullable=False, index=True),
    Column("environment", String, nullable=False),
    Column("release_id", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("good_at", String, nullable=False),
    Column("run_id", String, nullable=False, index=True),
    Column("target", String, nullable=False, index=True),
    Column("value", LargeBinary, nullable=False),
)

deployment_instances = Table(
    "deployment_instances",
    tenant_metadata,
    Column("key", String, primary_key=True),
    Column("deployment_id", String, primary_key=True),
)
"""Every key that a deployment ever had."""

drills = Table(
    "drills",
    tenant_metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("drill_id", String, nullable=False, unique=True),
    Column("service", String, nullable=False, index=True),
    Column("environment", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
)

environment_rules = Table(
    "environment_rules",
    tenant_metadata,
    Column("environment", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

# --- services and routes ---


async def add_service(connection: AsyncConnection, service: Service) -> None:
    await connection.execute(insert(services).values(name=service.name, value=msgspec.json.encode(service)))


async def save_service(connection: AsyncConnection, service: Service) -> None:
    values = {"value": msgspec.json.encode(service)}
    await connection.execute(update(services).where(services.c.name == service.name).values(values))


async def service(connection: AsyncConnection, name: str) -> Service | None:
    return await one(connection, services, services.c.name == name, Service)


async def all_services(connection: AsyncConnection) -> list[Service]:
    return await many(connection, select(services.c.value).order_by(services.c.name), Service)


async def add_route(connection: AsyncConnection, route: Route) -> None:
    await connection.execute(insert(routes).values(msgspec.to_builtins(route)))


async def set_shares(connection: AsyncConnection, service_name: str, environment: str, shares: Shares) -> None:
    where = (routes.c.service == service_name) & (routes.c.environment == environment)
    await connection.execute(update(routes).where(where).values(shares=msgspec.to_builtins(shares)))


async def all_routes(connection: AsyncConnection) -> list[Route]:
    columns = [routes.c[name] for name in Route.__struct_fields__]
    rows = (await connection.execute(select(*columns).order_by(routes.c.number))).mappings()
    return [msgspec.convert({name: row[name] for name in Route.__struct_fields__}, Route) for row in rows]


async def route(connection: AsyncConnection, service_name: str, environment: str) -> Route | None:
    found = [item for item in await all_routes(connection) if (item.service, item.environment) == (service_name, environment)]
    return found[0] if found else None


async def set_serving(connection: AsyncConnection, service_name: str, environment: str, deployment_id: str) -> None:
    where = (routes.c.service == service_name) & (routes.c.environment == environment)
    await connection.execute(update(routes).where(where).values(deployment_id=deployment_id))


# --- environments ---


async def put_rules(connection: AsyncConnection, rules: EnvironmentRules) -> None:
    statement = upsert(environment_rules).values(environment=rules.environment, value=msgspec.json.encode(rules))
    updated = {"value": msgspec.json.encode(rules)}
    await connection.execute(statement.on_conflict_do_update(index_elements=["environment"], set_=updated))


async def all_rules(connection: AsyncConnection) -> dict[str, EnvironmentRules]:
    found = await many(connection, select(environment_rules.c.value), EnvironmentRules)
    return {rules.environment: rules for rules in found}


# --- releases ---


async def add_release(connection: AsyncConnection, release: Release) -> None:
    values = {"release_id": release.release_id, "service": release.service, "content": release.content}
    statement = upsert(releases).values(value=msgspec.json.encode(release), **values)
    await connection.execute(statement.on_conflict_do_nothing(index_elements=["release_id"]))


async def release(connection: AsyncConnection, release_id: str) -> Release | None:
    return await one(connection, releases, releases.c.release_id == release_id, Release)


async def known_releases(connection: AsyncConnection, release_ids: Collection[str]) -> set[str]:
    query = select(releases.c.release_id).where(releases.c.release_id.in_(release_ids))
    return set((await connection.execute(query)).scalars())


async def releases_of(connection: AsyncConnection, service_name: str | None, limit: int) -> list[Release]:
    query = select(releases.c.value).order_by(releases.c.number.desc()).limit(limit)
    return await many(connection, query.where(releases.c.service == service_name) if service_name else query, Release)


async def releases_with(connection: AsyncConnection, service_name: str, content: str) -> list[Release]:
    query = select(releases.c.value).where(releases.c.service == service_name, releases.c.content == content)
    return await many(connection, query.order_by(releases.c.number.desc()), Release)


# --- deployments ---


async def put_deployment(connection: AsyncConnection, deployment: Deployment) -> None:
    fields = {"state": deployment.state, "good_at": deployment.good_at, "value": msgspec.json.encode(deployment)}
    names = ("deployment_id", "service", "environment", "release_id", "run_id", "target")
    statement = upsert(deployments).values(**{name: getattr(deployment, name) for name in names}, **fields)
    await connection.execute(statement.on_conflict_do_update(index_elements=["deployment_id"], set_=fields))
    rows = [{"key": instance.key, "deployment_id": deployment.deployment_id} for instance in deployment.instances]
    if rows:
        await connection.execute(upsert(deployment_instances).on_conflict_do_nothing(), rows)


async def deployment(connection: AsyncConnection, deployment_id: str) -> Deployment | None:
    return await one(connection, deployments, deployments.c.deployment_id == deployment_id, Deployment)


async def deployments_of(
    connection: AsyncConnection, service_name: str | None, environment: str | None, limit: int
) -> list[Deployment]:
    query = select(deployments.c.value).order_by(deployments.c.number.desc()).limit(limit)
    if service_name is not None:
        query = query.where(deployments.c.service == service_name)
    if environment is not None:
        query = query.where(deployments.c.environment == environment)
    return await many(connection, query, Deployment)


_WAS_GOOD = deployments.c.state.in_(("good", "retired")) & (deployments.c.good_at != "")
"""Its watch has passed, and nothing was found wrong with it since."""


async def _place_of(connection: AsyncConnection, deployment_id: str) -> Any:
    """The row in whose place a deployment stands among the others: what a rollback has brought is as old as what it went back
    to, so that the next one goes on from there, and never forward."""
    row = None
    while deployment_id:
        row = (await connection.execute(select(deployments).where(deployments.c.deployment_id == deployment_id))).first()
        deployment_id = "" if row is None else msgspec.json.decode(row.value, type=Deployment).stands_for
    return row


async def last_good(connection: AsyncConnection, service_name: str, environment: str, before_id: str) -> Deployment | None:
    """The newest one that was good; older than the deployment ``before_id`` and of another release, where there is that one."""
    where = [deployments.c.service == service_name, deployments.c.environment == environment, _WAS_GOOD]
    if before_id and (before := await _place_of(connection, before_id)):
        where += [deployments.c.number < before.number, deployments.c.release_id != before.release_id]
    query = select(deployments.c.value).where(*where).order_by(deployments.c.number.desc()).limit(1)
    found = await many(connection, query, Deployment)
    return found[0] if found else None


async def good_before(
    connection: AsyncConnection, service_name: str, environment: str, before: str, page: int, size: int
) -> list[Deployment]:
    """A page of those that passed their watch, newest first; with ``before``, of those that are older than that one."""
    query = select(deployments.c.value).order_by(deployments.c.number.desc()).limit(size).offset(page * size)
    query = query.where(deployments.c.service == service_name, deployments.c.environment == environment, _WAS_GOOD)
    if before and (place := await _place_of(connection, before)):
        query = query.where(deployments.c.number < place.number)
    return await many(connection, query, Deployment)


async def targets(connection: AsyncConnection) -> set[Target]:
    return set((await connection.execute(select(deployments.c.target).distinct())).scalars())


async def owners(connection: AsyncConnection, key: str) -> list[Deployment]:
    """See `Delivery.owners`."""
    query = select(deployments.c.value).order_by(deployments.c.number.desc())
    mine = select(deployment_instances.c.deployment_id).where(deployment_instances.c.key == key)
    if found := await many(connection, query.where(deployments.c.deployment_id.in_(mine)), Deployment):
        return found
    # The runs of a plan are named alike, such as run_1, run_1_rb_staging; and what they start begins with run-1-.
    first, _, rest = key.partition("-")
    run_id = f"{first}_{rest.partition('-')[0]}"
    is_of_plan = (deployments.c.run_id == run_id) | deployments.c.run_id.startswith(f"{run_id}_", autoescape=True)
    return await many(connection, query.where(is_of_plan), Deployment)


async def deployments_in(connection: AsyncConnection, *states: str) -> list[Deployment]:
    return await many(connection, select(deployments.c.value).where(deployments.c.state.in_(states)), Deployment)


async def serving_deployments(connection: AsyncConnection) -> list[Deployment]:
    serving = select(routes.c.deployment_id).where(routes.c.deployment_id != "")
    return await many(connection, select(deployments.c.value).where(deployments.c.deployment_id.in_(serving)), Deployment)


# --- drills ---


async def drill(connection: AsyncConnection, drill_id: str) -> Drill | None:
    return await one(connection, drills, drills.c.drill_id == drill_id, Drill)


async def add_drill(connection: AsyncConnection, item: Drill) -> None:
    keys = {name: getattr(item, name) for name in ("drill_id", "service", "environment")}
    await connection.execute(insert(drills).values(**keys, value=msgspec.json.encode(item)))


async def last_drills(connection: AsyncConnection) -> list[Drill]:
    newest = select(func.max(drills.c.number)).group_by(drills.c.service, drills.c.environment)
    return await many(connection, select(drills.c.value).where(drills.c.number.in_(newest)), Drill)
