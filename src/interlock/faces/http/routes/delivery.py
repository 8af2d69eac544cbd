"""Services, releases, deployments and the quarantine."""

from typing import Any

from fastapi import APIRouter

from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.board import board
from interlock.faces.http.routes.plans import Limit
from interlock.faces.http.shapes import AddService, Page, Watch, drift_body, plain
from interlock.sources.model import WatchPolicy

router = APIRouter(tags=["delivery"])


@router.post("/services", status_code=201, summary="Register a service")
async def add_service(body: AddService, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    """The repository is fetched first: one that cannot be reached is not registered."""
    await services.tenancy.require_owner(scope, "register services")
    await services.sources.sync(scope, body.repository)
    service = await services.delivery.add_service(scope, body.name, body.repository)
    routes = [route for route in await services.delivery.routes(scope) if route.service == service.name]
    return plain(service) | {"environments": {route.environment: route.url for route in routes}}


@router.get("/services", summary="All services")
async def list_services(scope: CallerScope, services: TheServices) -> Page:
    return Page(items=[plain(service) for service in await services.delivery.services(scope)])


@router.put("/services/{name}/watch", summary="Set the service's own thresholds")
async def set_watch(name: str, body: Watch, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.delivery.set_watch(scope, name, WatchPolicy(**body.model_dump())))


@router.get("/status", summary="What serves where, as observed now")
async def status(scope: CallerScope, services: TheServices, service: str | None = None, environment: str | None = None) -> Page:
    await services.delivery.check_known(scope, service, environment)
    rows = await board(services, scope, service=service, environments=(environment,) if environment else ())
    return Page(items=rows)


@router.get("/drift", summary="Where what runs is not what should run")
async def drift(scope: CallerScope, services: TheServices, service: str | None = None, environment: str | None = None) -> Page:
    """Each place with what differs, and with what cannot be observed at this moment; none where all is as it should be."""
    await services.delivery.check_known(scope, service, environment)
    known = {(item.service, item.environment): item for item in await services.drift.listing(scope, service, environment)}
    unseen = {
        place: reasons
        for place, reasons in services.drift_observer.unseen.items()
        if service in {None, place[0]} and environment in {None, place[1]}
    }
    rows = [drift_body(known.get(place), place, unseen.get(place, ())) for place in sorted(known.keys() | unseen.keys())]
    return Page(items=[row for row in rows if row["drifts"] or row["unseen"]])


@router.get("/releases", summary="Releases, newest first")
async def list_releases(scope: CallerScope, services: TheServices, service: str | None = None, limit: Limit = 100) -> Page:
    await services.delivery.check_known(scope, service)
    quarantined = {(item.service, item.content): item for item in await services.incidents.quarantined(scope)}
    where: dict[str, list[str]] = {}
    for route in await services.delivery.routes(scope):
        if route.deployment_id and service in {None, route.service}:
            serving = await services.delivery.deployment(scope, route.deployment_id)
            where.setdefault(serving.release_id, []).append(route.environment)
    items: list[dict[str, Any]] = []
    for release in await services.delivery.releases(scope, service, limit):
        item = quarantined.get((release.service, release.content))
        fields = {"serving_in": where.get(release.release_id, []), "quarantined_by": item.incident_id if item else None}
        items.append(plain(release) | fields)
    return Page(items=items)


@router.get("/deployments", summary="Deployments, newest first")
async def list_deployments(
    scope: CallerScope,
    services: TheServices,
    service: str | None = None,
    environment: str | None = None,
    limit: Limit = 100,
) -> Page:
    await services.delivery.check_known(scope, service, environment)
    found = await services.delivery.deployments(scope, service, environment, limit)
    return Page(items=[plain(deployment) for deployment in found])


@router.get("/quarantine", summary="Content that must not be deployed again")
async def list_quarantine(scope: CallerScope, services: TheServices) -> Page:
    return Page(items=[plain(item) for item in await services.incidents.quarantined(scope)])


@router.post("/quarantine/{service}/{version}/lift", summary="Allow a quarantined content again")
async def lift_quarantine(service: str, version: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.incidents.lift(scope, service, version))
