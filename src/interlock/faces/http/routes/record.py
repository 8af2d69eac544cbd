"""The inbox and the record."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from interlock.core.scope import Scope
from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.routes.plans import Limit
from interlock.faces.http.services import Services
from interlock.faces.http.shapes import AnswerItem, Page, plain

router = APIRouter()


@router.get("/inbox", tags=["inbox"], summary="What waits for a person")
async def list_inbox(scope: CallerScope, services: TheServices, state: str = "open", limit: Limit = 100) -> Page:
    items = await services.inbox.listing(scope, None if state == "all" else state, limit)
    return Page(items=[plain(item) for item in items])


@router.post("/inbox/{item_id}/answer", tags=["inbox"], summary="Answer an item")
async def answer_item(item_id: str, body: AnswerItem, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.answering.answer(scope, item_id, body.answer))


@router.get("/audit/verify", tags=["record"], summary="Recompute the chain of the whole record")
async def verify(scope: CallerScope, services: TheServices, head: str = "") -> dict[str, Any]:
    return plain(await services.audit.verify(scope, head))


@router.get("/audit/export", tags=["record"], summary="The whole record as JSON lines, verifiable elsewhere")
async def export(scope: CallerScope, services: TheServices) -> StreamingResponse:
    return StreamingResponse(_lines(services, scope), media_type="application/x-ndjson")


async def _lines(services: Services, scope: Scope) -> AsyncGenerator[bytes]:
    async for entry in services.audit.export(scope):
        yield msgspec.json.encode(entry) + b"\n"


@router.get("/events", tags=["record"], summary="What happened to one subject, as CloudEvents")
async def list_events(subject: str, scope: CallerScope, services: TheServices) -> Page:
    """``subject`` is such as ``plan:…``, ``deployment:…`` or ``incident:…``."""
    found = await services.events.about(scope, subject)
    return Page(items=[event.cloud_event(scope.tenant) for event in found])
