"""Logs: a window into what a service has written, and the same as it is written."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent

from interlock.core.scope import Scope
from interlock.delivery.logs.places import LogQuery
from interlock.delivery.logs.reading import CHUNK_BYTES, MAX_BYTES, MAX_LINES
from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.holding import CallerToken, while_valid
from interlock.faces.http.services import Services
from interlock.faces.http.shapes import plain

PING_S = 15

router = APIRouter(tags=["delivery"])

Offset = Annotated[
    str,
    Query(max_length=20_000, description="Where to begin: a number of bytes, negative from the end, or the cursor `next`."),
]
Tail = Annotated[int, Query(ge=0, le=MAX_LINES, description="Where no offset is given: the last so many lines.")]
LimitBytes = Annotated[int, Query(ge=1, le=MAX_BYTES, description="At most so many bytes of each instance.")]
LastEventId = Annotated[str, Header(max_length=20_000)]


async def of_place(
    service: str, environment: str, deployment: str = "", offset: Offset = "", tail: Tail = LogQuery.DEFAULT_TAIL
) -> LogQuery:
    return LogQuery(service=service, environment=environment, deployment_id=deployment, start=offset, tail=tail)


async def of_deployment(
    deployment_id: str, scope: CallerScope, services: TheServices, offset: Offset = "", tail: Tail = LogQuery.DEFAULT_TAIL
) -> LogQuery:
    found = await services.delivery.deployment(scope, deployment_id)
    about = {"service": found.service, "environment": found.environment, "deployment_id": deployment_id}
    return LogQuery(**about, start=offset, tail=tail)


OfPlace = Annotated[LogQuery, Depends(of_place)]
OfDeployment = Annotated[LogQuery, Depends(of_deployment)]


@router.get("/services/{service}/environments/{environment}/logs", summary="The log of what serves there, or last did")
async def place_log(
    query: OfPlace, scope: CallerScope, services: TheServices, limit_bytes: LimitBytes = CHUNK_BYTES
) -> dict[str, Any]:
    return plain(await services.logs.window(scope, query, limit_bytes))


@router.get("/deployments/{deployment_id}/logs", summary="The log of one deployment, whatever became of it")
async def deployment_log(
    query: OfDeployment, scope: CallerScope, services: TheServices, limit_bytes: LimitBytes = CHUNK_BYTES
) -> dict[str, Any]:
    return plain(await services.logs.window(scope, query, limit_bytes))


@router.get("/services/{service}/environments/{environment}/logs/stream", summary="The log as it is written, over switches")
async def place_stream(
    query: OfPlace, scope: CallerScope, token: CallerToken, services: TheServices, last_event_id: LastEventId = ""
) -> EventSourceResponse:
    """Server-sent events: `deployment` whenever another one takes over, `log`, `gap` for what was not kept, `away` while
    nothing can be read, and `end` for one deployment whose process has ended. Each `id` is a cursor; `Last-Event-ID` goes
    before `offset`."""
    return await _streamed(services, scope, token, query, last_event_id)


@router.get("/deployments/{deployment_id}/logs/stream", summary="The log of one deployment as it is written, to its end")
async def deployment_stream(
    query: OfDeployment, scope: CallerScope, token: CallerToken, services: TheServices, last_event_id: LastEventId = ""
) -> EventSourceResponse:
    return await _streamed(services, scope, token, query, last_event_id)


async def _streamed(services: Services, scope: Scope, token: str, query: LogQuery, last_event_id: str) -> EventSourceResponse:
    query = msgspec.structs.replace(query, start=last_event_id or query.start)
    # Refused before the stream begins: in it there is no status any more.
    await services.logs.check(scope, query)
    return EventSourceResponse(_sse(services, scope, token, query), ping=PING_S)


async def _sse(services: Services, scope: Scope, token: str, query: LogQuery) -> AsyncGenerator[ServerSentEvent]:
    async with aclosing(while_valid(services.tenancy, scope, token, services.logs.follow(scope, query))) as events:
        async for event in events:
            data = plain(event)
            yield ServerSentEvent(data=msgspec.json.encode(data).decode(), id=event.cursor, event=data["type"])
