"""Services, releases and deployments: what exists, and what is observed of it."""

import itertools
from collections.abc import Callable, Collection, Sequence

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, Invalid, NotFound
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.delivery import contracts, store
from interlock.delivery.artifacts import Artifacts
from interlock.delivery.model import (
    Deployment,
    DeploymentState,
    Instance,
    Release,
    Route,
    Service,
    Shares,
    gets_requests,
    may_become,
)
from interlock.delivery.naming import check_service_name, free_ports, unknown_environment, unknown_service
from interlock.events.service import Events
from interlock.sources.model import Target, WatchPolicy
from interlock.tenancy.service import Tenancy

IN_USE: tuple[DeploymentState, ...] = ("starting", "live", "good", "paused", "drilling")
PAGE_SIZE = 50
"""Deployments that are read at a time where most often one of the first is meant."""


class Delivery:
    """The use cases of delivery. ``environments`` are in promotion order; the forwarder listens within ``ports``."""

    def __init__(
        self,
        database: Database,
        events: Events,
        tenancy: Tenancy,
        artifacts: Artifacts,
        clock: Clock,
        environments: Sequence[str],
        ports: tuple[int, int],
    ) -> None:
        self._database = database
        self._events = events
        self._tenancy = tenancy
        self._artifacts = artifacts
        self._clock = clock
        self._ports = ports
        self.environments = tuple(environments)

    # --- services ---

    async def add_service(self, scope: Scope, name: str, repository: str) -> Service:
        """Register a service and give it its ports. Raises Forbidden ``owner_only``, Invalid ``service_name``, Conflict
        ``service_exists``."""
        await self._tenancy.require_owner(scope, "register services")
        check_service_name(name, self.environments)
        service = Service(name=name, repository=repository, created_at=self._now())
        async with self._database.write(scope) as session:
            if await store.service(session.connection, name):
                raise Conflict("service_exists", f"{name} is registered already", hint="choose another name")
            await store.add_service(session.connection, service)
            taken = {
                port for item in await store.all_routes(session.connection) for port in (item.stable_port, item.candidate_port)
            }
            ports = free_ports(self._ports, taken, 2 * len(self.environments))
            for index, environment in enumerate(self.environments):
                stable, candidate = ports[2 * index], ports[2 * index + 1]
                route = Route(service=name, environment=environment, stable_port=stable, candidate_port=candidate)
                await store.add_route(session.connection, route)
            data = contracts.ServiceAdded(name=name, repository=repository)
            await self._events.publish(session, data, subject=f"service:{name}")
        return service

    async def set_watch(self, scope: Scope, name: str, watch: WatchPolicy) -> Service:
        """Replace the service's own thresholds, which go before its module's in later plans. Raises Forbidden
        ``owner_only``, NotFound ``service``."""
        await self._tenancy.require_owner(scope, "set thresholds")
        async with self._database.write(scope) as session:
            found = await store.service(session.connection, name)
            if found is None:
                raise unknown_service(name, [item.name for item in await store.all_services(session.connection)])
            service = msgspec.structs.replace(found, watch=watch)
            await store.save_service(session.connection, service)
            data = contracts.ServiceWatchChanged(name=name, watch=msgspec.to_builtins(watch))
            await self._events.publish(session, data, subject=f"service:{name}")
        return service

    async def service(self, scope: Scope, name: str) -> Service:
        """Raises NotFound ``service`` with the ``nearest`` names in its details."""
        async with self._database.read(scope) as connection:
            found = await store.service(connection, name)
            if found is None:
                raise unknown_service(name, [item.name for item in await store.all_services(connection)])
        return found

    async def check_known(self, scope: Scope, service: str | None = None, environment: str | None = None) -> None:
        """Raises NotFound ``service`` or ``environment`` for a name that does not exist; None stands for any.

        For whoever narrows a list: nothing found must not be taken for nothing there.
        """
        if service is not None:
            await self.service(scope, service)
        if environment is not None and environment not in self.environments:
            raise unknown_environment(environment, self.environments)

    async def services(self, scope: Scope) -> list[Service]:
        """All services, by name."""
        async with self._database.read(scope) as connection:
            return await store.all_services(connection)

    async def routes(self, scope: Scope) -> list[Route]:
        """Where each service is reached in each environment."""
        async with self._database.read(scope) as connection:
            return await store.all_routes(connection)

    async def standing(self, scope: Scope) -> tuple[list[Route], dict[str, Deployment]]:
        """The routes, and what serves by them, by id; looked up at once."""
        async with self._database.read(scope) as connection:
            serving = await store.serving_deployments(connection)
            return await store.all_routes(connection), {item.deployment_id: item for item in serving}

    async def route(self, scope: Scope, service: str, environment: str) -> Route:
        """Raises Invalid ``environment``."""
        async with self._database.read(scope) as connection:
            found = await store.route(connection, service, environment)
        if found is None:
            choices = ", ".join(self.environments)
            raise Invalid("environment", f"{service} has no environment {environment!r}", hint=f"environments: {choices}")
        return found

    # --- releases ---

    async def record_release(self, scope: Scope, release: Release) -> None:
        """Make a built release known. Recording it again changes nothing: releases are immutable."""
        async with self._database.write(scope) as session:
            if await store.release(session.connection, release.release_id):
                return
            await store.add_release(session.connection, release)
            fields = ("release_id", "service", "version", "commit", "content", "bundle")
            data = contracts.ReleaseBuilt(**{name: getattr(release, name) for name in fields})
            await self._events.publish(session, data, subject=f"release:{release.release_id}")

    async def release(self, scope: Scope, release_id: str) -> Release:
        """Raises NotFound ``release``."""
        async with self._database.read(scope) as connection:
            found = await store.release(connection, release_id)
        if found is None:
            raise NotFound("release", f"there is no release {release_id}", hint="see: interlock releases")
        return found

    async def releases(self, scope: Scope, service: str | None = None, limit: int = 100) -> list[Release]:
        """Releases, newest first."""
        async with self._database.read(scope) as connection:
            return await store.releases_of(connection, service, limit)

    async def known_releases(self, scope: Scope, release_ids: Collection[str]) -> set[str]:
        """Those of them that are on record."""
        async with self._database.read(scope) as connection:
            return await store.known_releases(connection, release_ids)

    async def built(self, scope: Scope, service: str, content: str) -> Release | None:
        """An intact release of exactly this content, if there is one: it need not be built again."""
        async with self._database.read(scope) as connection:
            candidates = await store.releases_with(connection, service, content)
        for release in candidates:
            try:
                await self.check_intact(release)
            except Conflict:
                continue
            return release
        return None

    async def check_intact(self, release: Release) -> None:
        """Raises Conflict ``bundle_missing``, ``bundle_changed`` or ``image_missing`` unless the release is what was built."""
        await self._artifacts.check(release)

    # --- deployments ---

    async def record_instance(self, scope: Scope, deployment: Deployment, instance: Instance) -> None:
        """Make a started instance known, and with the first one its deployment. Recording it again changes nothing."""
        async with self._database.write(scope) as session:
            found = await store.deployment(session.connection, deployment.deployment_id) or deployment
            if any(known.key == instance.key for known in found.instances):
                return
            changed = msgspec.structs.replace(found, instances=(*found.instances, instance))
            await store.put_deployment(session.connection, changed)
            if not found.instances:
                await self._publish(session, changed, "it was started")

    async def drop_instances(self, scope: Scope, deployment_id: str, instances: Sequence[Instance]) -> None:
        """Say that a deployment goes on without these instances. Raises NotFound ``deployment``."""
        async with self._database.write(scope) as session:
            found = _known(await store.deployment(session.connection, deployment_id), deployment_id)
            gone = {instance.key for instance in instances}
            left = tuple(instance for instance in found.instances if instance.key not in gone)
            await store.put_deployment(session.connection, msgspec.structs.replace(found, instances=left))

    async def deployment(self, scope: Scope, deployment_id: str) -> Deployment:
        """Raises NotFound ``deployment``."""
        async with self._database.read(scope) as connection:
            return _known(await store.deployment(connection, deployment_id), deployment_id)

    async def deployments(
        self, scope: Scope, service: str | None = None, environment: str | None = None, limit: int = 100
    ) -> list[Deployment]:
        """Deployments, newest first."""
        async with self._database.read(scope) as connection:
            return await store.deployments_of(connection, service, environment, limit)

    async def serving(self, scope: Scope, service: str, environment: str) -> Deployment | None:
        """What serves in the environment, according to the record of the switches; None for nothing."""
        route = await self.route(scope, service, environment)
        return await self.deployment(scope, route.deployment_id) if route.deployment_id else None

    async def targets(self, scope: Scope) -> set[Target]:
        """The kinds of target that deployments were ever made to, that of processes included."""
        async with self._database.read(scope) as connection:
            return {"process", *await store.targets(connection)}

    async def owners(self, scope: Scope, key: str) -> list[Deployment]:
        """The deployments to which ``key`` belongs or belonged; where none ever had it, those of the plan whose run made its
        name. Newest first."""
        async with self._database.read(scope) as connection:
            return await store.owners(connection, key)

    async def in_use(self, scope: Scope) -> list[Deployment]:
        """Deployments that run, or that something is to go back to."""
        async with self._database.read(scope) as connection:
            return await store.deployments_in(connection, *IN_USE)

    async def watched(self, scope: Scope) -> list[Deployment]:
        """Deployments which serve, good or not: somebody has to keep an eye on them. One that is ``live`` may have a run that
        watches it."""
        async with self._database.read(scope) as connection:
            serving = await store.serving_deployments(connection)
        return [deployment for deployment in serving if deployment.state in {"live", "good"}]

    async def under_traffic(self, scope: Scope, run_ids: Collection[str]) -> list[Deployment]:
        """What these runs have started, has not passed its watch and gets requests."""
        async with self._database.read(scope) as connection:
            found = await store.deployments_in(connection, "starting", "live")
            routes = {(route.service, route.environment): route for route in await store.all_routes(connection)}
        return [
            item for item in found if item.run_id in run_ids and gets_requests(item, routes[item.service, item.environment])
        ]

    async def last_good(self, scope: Scope, service: str, environment: str, *, before: str = "") -> Deployment | None:
        """The newest deployment that passed its watch; with ``before``, the newest older than that deployment and of other
        content than the one serving."""
        async with self._database.read(scope) as connection:
            return await store.last_good(connection, service, environment, before)

    async def newest_good(
        self, scope: Scope, service: str, environment: str, is_meant: Callable[[Deployment], bool], *, before: str = ""
    ) -> Deployment | None:
        """The newest one that passed its watch and ``is_meant``, however long ago; ``before`` leaves the older ones."""
        async with self._database.read(scope) as connection:
            for page in itertools.count():
                found = await store.good_before(connection, service, environment, before, page, PAGE_SIZE)
                if meant := next((item for item in found if is_meant(item)), None):
                    return meant
                if len(found) < PAGE_SIZE:
                    return None
        raise AssertionError("unreachable")

    async def change(
        self, scope: Scope, deployment_id: str, state: DeploymentState, reason: str, **fields: object
    ) -> Deployment:
        """Take a deployment to ``state``. Raises Conflict ``deployment_state`` for an impossible step; repeating is fine."""
        async with self._database.write(scope) as session:
            return await self._change(session, deployment_id, state, reason, **fields)

    async def lead(self, scope: Scope, service: str, environment: str, shares: Shares) -> None:
        """Record where the stable leg is about to be led."""
        async with self._database.write(scope) as session:
            await store.set_shares(session.connection, service, environment, shares)

    async def switch(self, scope: Scope, service: str, environment: str, deployment_id: str, reason: str) -> None:
        """Record that ``deployment_id`` (empty for none) serves from now on."""
        async with self._database.write(scope) as session:
            if deployment_id:
                deployment = await store.deployment(session.connection, deployment_id)
                if deployment is not None and deployment.state in {"starting", "live"}:
                    at = deployment.live_at or self._now()
                    await self._change(session, deployment_id, "live", reason, live_at=at)
            await store.set_serving(session.connection, service, environment, deployment_id)

    async def take_over(
        self, scope: Scope, former_id: str, deployment_id: str, survivors: Sequence[Instance], reason: str
    ) -> None:
        """Record in one step that a deployment serves in the place of ``former_id``, whose ``survivors`` are its own from now
        on, and counts for as much as that did; repeating changes nothing. Raises NotFound ``deployment``."""
        async with self._database.write(scope) as session:
            found = _known(await store.deployment(session.connection, deployment_id), deployment_id)
            joined = tuple(instance for instance in survivors if instance not in found.instances)
            await store.put_deployment(
                session.connection, msgspec.structs.replace(found, instances=(*found.instances, *joined))
            )
            if found.state == "starting":
                await self._change(session, deployment_id, "live", reason, live_at=self._now())
            await self._change(session, deployment_id, found.settled, reason)
            await self._change(session, former_id, "retired", reason)
            await store.set_serving(session.connection, found.service, found.environment, deployment_id)

    async def _change(
        self, session: Session, deployment_id: str, state: DeploymentState, reason: str, **fields: object
    ) -> Deployment:
        found = _known(await store.deployment(session.connection, deployment_id), deployment_id)
        if not may_become(found.state, state):
            raise Conflict("deployment_state", f"{deployment_id} is {found.state}, it cannot become {state}")
        if state not in {"starting", "live", "good", "paused", "drilling"}:
            fields.setdefault("ended_at", self._now())
        changed = msgspec.structs.replace(found, state=state, **fields)
        if changed != found:
            await store.put_deployment(session.connection, changed)
            await self._publish(session, changed, reason)
        return changed

    async def _publish(self, session: Session, deployment: Deployment, reason: str) -> None:
        names = ("deployment_id", "service", "environment", "release_id", "version", "state")
        data = contracts.DeploymentChanged(reason=reason, **{name: getattr(deployment, name) for name in names})
        await self._events.publish(session, data, subject=f"deployment:{deployment.deployment_id}")

    def _now(self) -> str:
        return to_text(self._clock.now())


def _known(found: Deployment | None, deployment_id: str) -> Deployment:
    if found is None:
        raise NotFound("deployment", f"there is no deployment {deployment_id}")
    return found
