"""Requests in plain words, and the plans made of them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from interlock.core.errors import Invalid
from interlock.core.scope import Scope
from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.board import board
from interlock.faces.http.services import Services
from interlock.faces.http.shapes import (
    ApprovePlan,
    DrillRollback,
    Page,
    ParseCommand,
    Parsed,
    Promote,
    RejectPlan,
    RollBack,
    plain,
    plan_body,
)
from interlock.plans.drafting.proposing import Draft
from interlock.plans.words.model import Question

router = APIRouter(tags=["plans"])
Limit = Annotated[int, Query(ge=1, le=200)]


@router.post("/commands/parse", summary="Make a plan of a sentence")
async def parse_command(body: ParseCommand, scope: CallerScope, services: TheServices) -> Parsed:
    return await propose(services, scope, body)


async def propose(services: Services, scope: Scope, body: ParseCommand, reason: str = "") -> Parsed:
    options = {"environment": body.environment, "repository": body.repository}
    outcome = await services.plans.propose(scope, body.text, **options, reason=reason, preview=body.preview)
    if isinstance(outcome, Question):
        return Parsed(kind="question", question=plain(outcome))
    if isinstance(outcome, Draft):
        return Parsed(kind="plan", plan=plan_body(outcome.plan, outcome.content))
    rows = await board(services, scope, service=outcome.service, environments=outcome.environments)
    return Parsed(kind="status", status=rows)


@router.get("/plans", summary="Plans, newest first")
async def list_plans(
    scope: CallerScope,
    services: TheServices,
    service: str | None = None,
    state: str | None = None,
    cursor: str | None = None,
    limit: Limit = 50,
) -> Page:
    await services.delivery.check_known(scope, service)
    page = await services.plans.listing(scope, service=service, state=state, before=number_of(cursor), limit=limit)
    following = str(page[-1][0]) if len(page) == limit else None
    return Page(items=[plain(plan) for _, plan in page], next=following)


@router.get("/plans/{plan_id}", summary="A plan with its content")
async def get_plan(plan_id: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plan_body(*await services.plans.get(scope, plan_id))


@router.get("/plans/{plan_id}/content", summary="The canonical bytes that the content hash is over")
async def get_content(plan_id: str, scope: CallerScope, services: TheServices) -> Response:
    return Response(await services.plans.raw_content(scope, plan_id), media_type="application/json")


@router.post("/plans/{plan_id}/approve", summary="Approve exactly this content")
async def approve_plan(plan_id: str, body: ApprovePlan, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    approved = services.plans.approve(scope, plan_id, body.content_hash, override=body.override, when_open=body.when_open)
    return plain(await approved)


@router.post("/plans/{plan_id}/reject", summary="Turn a plan down")
async def reject_plan(plan_id: str, body: RejectPlan, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.plans.reject(scope, plan_id, body.reason))


@router.post("/services/{name}/rollback", summary="Plan the way back to the last known good release")
async def roll_back(name: str, body: RollBack, scope: CallerScope, services: TheServices) -> Parsed:
    # Looked up first: what becomes part of a sentence has to be a name that is known.
    await services.delivery.service(scope, name)
    await services.delivery.route(scope, name, body.environment)
    target = f" to {body.version}" if body.version else ""
    sentence = ParseCommand(text=f"roll back {name} in {body.environment}{target}")
    return await propose(services, scope, sentence, body.reason)


@router.post("/services/{name}/drill", summary="Plan the proof that a rollback would work, without moving traffic")
async def drill(name: str, body: DrillRollback, scope: CallerScope, services: TheServices) -> Parsed:
    await services.delivery.service(scope, name)
    await services.delivery.route(scope, name, body.environment)
    target = f" to {body.version}" if body.version else ""
    return await propose(services, scope, ParseCommand(text=f"drill {name} in {body.environment}{target}"))


@router.post("/services/{name}/promote", summary="Plan to bring the very release that serves in one environment to another")
async def promote(name: str, body: Promote, scope: CallerScope, services: TheServices) -> Parsed:
    await services.delivery.service(scope, name)
    for environment in (body.environment, *([body.source] if body.source else [])):
        await services.delivery.route(scope, name, environment)
    source = f" from {body.source}" if body.source else ""
    return await propose(services, scope, ParseCommand(text=f"promote {name}{source} to {body.environment}"))


def number_of(cursor: str | None) -> int | None:
    """The number that a cursor stands for. Raises Invalid ``cursor``."""
    if cursor is None:
        return None
    if not cursor.isdecimal() or len(cursor) > 18:
        raise Invalid("cursor", f"{cursor!r} is not a cursor", hint="take it from `next` of the page before")
    return int(cursor)
