"""Health, readiness and numbers."""

from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from interlock import __version__
from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.services import Component

log = structlog.get_logger(__name__)

router = APIRouter(tags=["health"])
guarded = APIRouter(tags=["health"])


@router.get("/health", summary="The process answers")
async def health() -> dict[str, str]:
    return {"status": "ok", "version": __version__}


@router.get("/ready", summary="It can do its work; each part reports")
async def ready(services: TheServices) -> JSONResponse:
    """Names parts and whether they work, no more: it answers without a token."""
    components = {name: await _report(check) for name, check in services.components.items()}
    is_ready = all(component["ok"] for component in components.values() if not component.get("optional"))
    body = {"status": "ready" if is_ready else "not ready", "components": components}
    return JSONResponse(body, status_code=200 if is_ready else 503)


async def _report(check: Component) -> dict[str, Any]:
    """What a part says of itself; one that cannot even say it does not work."""
    try:
        return await check()
    except Exception as error:
        log.warning("ready.check_failed", error=str(error))
        return {"ok": False, "problem": "it does not answer; the reason is in the log of the server"}


@guarded.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request, scope: CallerScope) -> dict[str, Any]:
    """The description of this interface; it needs the token like everything else."""
    return request.app.openapi()


@guarded.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
async def metrics(scope: CallerScope, services: TheServices) -> Response:
    # Loaded when somebody asks: it is no part of a fast start.
    from prometheus_client import CollectorRegistry, Gauge, generate_latest  # noqa: PLC0415
    from prometheus_client.exposition import CONTENT_TYPE_LATEST  # noqa: PLC0415

    registry = CollectorRegistry()
    runs = Gauge("interlock_runs", "Runs by status.", ["status"], registry=registry)
    for status, count in (await services.runs.counts(scope)).items():
        runs.labels(status).set(count)
    dead = Gauge("interlock_dead_letters", "Events that could not be handled.", registry=registry)
    dead.set(await services.events.dead_letter_count(scope))
    inbox = Gauge("interlock_inbox_open", "Items that wait for a person.", registry=registry)
    inbox.set(len(await services.inbox.listing(scope, "open", 1000)))
    incidents = Gauge("interlock_incidents_open", "Incidents that are not resolved.", registry=registry)
    unresolved = [await services.incidents.listing(scope, state, 1000) for state in ("open", "acknowledged")]
    incidents.set(sum(len(found) for found in unresolved))
    deliveries = Gauge("interlock_deliveries", "Notifications by state.", ["state"], registry=registry)
    for state, count in (await services.notifications.counts(scope)).items():
        deliveries.labels(state).set(count)
    up = Gauge("interlock_component_up", "Whether a part works.", ["component"], registry=registry)
    for name, check in services.components.items():
        up.labels(name).set(bool((await _report(check))["ok"]))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
