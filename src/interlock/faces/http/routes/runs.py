"""Runs: look, follow live, pause, cancel."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Query, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from interlock.core.scope import Scope
from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.holding import CallerToken, while_valid
from interlock.faces.http.routes.plans import Limit, number_of
from interlock.faces.http.services import Services
from interlock.faces.http.shapes import CancelRun, Page, PauseRun, plain, run_body
from interlock.plans.report import markdown
from interlock.runs.wording import face_type

router = APIRouter(tags=["runs"])
After = Annotated[int, Query(ge=0, lt=10**18, description="The last sequence number that was seen.")]


@router.get("/runs", summary="Runs, newest first")
async def list_runs(
    scope: CallerScope, services: TheServices, plan: str | None = None, cursor: str | None = None, limit: Limit = 50
) -> Page:
    page = await services.runs.listing(scope, plan_id=plan, before=number_of(cursor), limit=limit)
    if plan is not None and not page:
        # No run of it yet, or no such plan: the second must not be taken for the first.
        await services.plans.get(scope, plan)
    following = str(page[-1].number) if len(page) == limit else None
    return Page(items=[plain(item) for item in page], next=following)


@router.get("/runs/{run_id}", summary="A run with its tasks and effects")
async def get_run(run_id: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return run_body(await services.runs.get(scope, run_id))


@router.get("/runs/{run_id}/report", summary="The report: what was asked, done, changed, failed, left, and what it took")
async def get_report(
    run_id: str,
    scope: CallerScope,
    services: TheServices,
    format: Literal["json", "markdown"] = "json",  # noqa: A002
) -> Any:
    report = await services.plans.report(scope, run_id)
    if format == "markdown":
        return Response(markdown(report), media_type="text/markdown; charset=utf-8")
    return plain(report)


@router.post("/runs/{run_id}/cancel", summary="End a run; what it changed is brought back")
async def cancel_run(run_id: str, body: CancelRun, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    await services.runs.cancel(scope, run_id, body.reason)
    return run_body(await services.runs.get(scope, run_id))


@router.get("/runs/{run_id}/why", summary="What a run waits for, and what decides when it ends")
async def why_run(run_id: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.runs.why(scope, run_id))


@router.get("/runs/{run_id}/tasks/{task_id}/why", summary="Why a task does not run, followed to the cause")
async def why_task(run_id: str, task_id: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.runs.why_task(scope, run_id, task_id))


@router.post("/runs/{run_id}/pause", summary="Let no further task of a run start; what is under way goes on to its end")
async def pause_run(run_id: str, body: PauseRun, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    await services.runs.pause(scope, run_id, body.reason)
    return run_body(await services.runs.get(scope, run_id))


@router.post("/runs/{run_id}/resume", summary="End the pause of a run; it goes on as soon as there is a slot for it")
async def resume_run(run_id: str, body: PauseRun, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    await services.runs.resume(scope, run_id, body.reason)
    return run_body(await services.runs.get(scope, run_id))


@router.get("/runs/{run_id}/events", summary="The events of a run, a page at a time")
async def list_events(
    run_id: str, scope: CallerScope, services: TheServices, after: After = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> Page:
    page = await services.runs.events(scope, run_id, after, limit)
    following = str(page[-1][0]) if len(page) == limit else None
    return Page(items=[{"seq": seq} | plain(event) for seq, event in page], next=following)


@router.get("/runs/{run_id}/stream", summary="The events of a run as they happen (server-sent events)")
async def stream_events(
    run_id: str,
    scope: CallerScope,
    token: CallerToken,
    services: TheServices,
    after: After = 0,
    last_event_id: Annotated[str | None, Header()] = None,
) -> EventSourceResponse:
    """Resumes behind ``after``, or behind ``Last-Event-ID`` as browsers send it when they reconnect."""
    start = number_of(last_event_id) or after
    await services.runs.events(scope, run_id, start, 1)
    return EventSourceResponse(_sse(services, scope, token, run_id, start), ping=15)


async def _sse(services: Services, scope: Scope, token: str, run_id: str, after: int) -> AsyncGenerator[ServerSentEvent]:
    async with aclosing(while_valid(services.tenancy, scope, token, services.runs.follow(scope, run_id, after))) as events:
        async for seq, event in events:
            data = msgspec.json.encode({"seq": seq} | plain(event)).decode()
            yield ServerSentEvent(data=data, id=str(seq), event=face_type(event))


@router.get("/runs/{run_id}/tasks/{task_id}/log", summary="The output of a task's processes")
async def task_log(
    run_id: str,
    task_id: str,
    scope: CallerScope,
    services: TheServices,
    offset: Annotated[int, Query(description="Negative counts from the end.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1024 * 1024)] = 65536,
) -> dict[str, Any]:
    run = await services.runs.get(scope, run_id)
    key, chunk = await services.task_logs.read(run, task_id, offset, limit)
    return {"key": key, "text": chunk.text, "next_offset": chunk.next_offset}
