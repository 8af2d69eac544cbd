"""Incidents: what went wrong, who takes care of it, and the report."""

from typing import Any, Literal

from fastapi import APIRouter, Response

from interlock.delivery.incidents.report import markdown
from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.routes.plans import Limit
from interlock.faces.http.shapes import AcknowledgeIncident, NoteIncident, Page, ResolveIncident, plain

router = APIRouter(prefix="/incidents", tags=["incidents"])


@router.get("", summary="Incidents, newest first")
async def list_incidents(
    scope: CallerScope,
    services: TheServices,
    state: Literal["open", "acknowledged", "resolved"] | None = None,
    limit: Limit = 100,
) -> Page:
    return Page(items=[plain(incident) for incident in await services.incidents.listing(scope, state, limit)])


@router.get("/{incident_id}", summary="An incident with its evidence and timeline")
async def get_incident(incident_id: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.incidents.get(scope, incident_id))


@router.get("/{incident_id}/report", summary="The report: impact, evidence, timeline, what changed, a draft of the cause")
async def get_report(
    incident_id: str,
    scope: CallerScope,
    services: TheServices,
    format: Literal["json", "markdown"] = "json",  # noqa: A002
) -> Any:
    report = await services.capturing.report(scope, incident_id)
    if format == "markdown":
        return Response(markdown(report), media_type="text/markdown; charset=utf-8")
    return plain(report)


@router.post("/{incident_id}/acknowledge", summary="Say that you take care of it")
async def acknowledge(incident_id: str, body: AcknowledgeIncident, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.incidents.acknowledge(scope, incident_id, body.note))


@router.post("/{incident_id}/resolve", summary="Close it by hand")
async def resolve(incident_id: str, body: ResolveIncident, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.incidents.settle(scope, incident_id, body.reason))


@router.post("/{incident_id}/notes", summary="Add what was found out")
async def note(incident_id: str, body: NoteIncident, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.incidents.note(scope, incident_id, body.text))
