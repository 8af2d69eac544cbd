"""The environments: their rules, whether they are open, and what serves in them."""

from typing import Any

from fastapi import APIRouter

from interlock.core.clock import to_text
from interlock.core.scope import Scope
from interlock.delivery.rules import EnvironmentRules
from interlock.delivery.windows import Closed, parse_window
from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.services import Services
from interlock.faces.http.shapes import ChangeRules, FreezeEnvironment, Page, plain

router = APIRouter(tags=["environments"])


@router.get("/environments", summary="The environments with their rules, in promotion order")
async def list_environments(services: TheServices, scope: CallerScope) -> Page:
    return Page(items=[await _body(services, scope, rules) for rules in await services.environments.listing(scope)])


@router.get("/environments/{name}", summary="One environment with its rules")
async def get_environment(name: str, services: TheServices, scope: CallerScope) -> dict[str, Any]:
    return await _body(services, scope, await services.environments.get(scope, name))


@router.patch("/environments/{name}", summary="Change rules; what is left out stays")
async def change_rules(name: str, body: ChangeRules, services: TheServices, scope: CallerScope) -> dict[str, Any]:
    said: dict[str, Any] = body.model_dump(exclude_none=True)
    if body.approvers is not None:
        said["approvers"] = tuple(body.approvers)
    if body.windows is not None:
        said["windows"] = tuple(parse_window(text) for text in body.windows)
    return await _body(services, scope, await services.environments.change(scope, name, **said))


@router.post("/environments/{name}/freeze", summary="Let nothing new begin, until a moment or until it is thawed")
async def freeze(name: str, body: FreezeEnvironment, services: TheServices, scope: CallerScope) -> dict[str, Any]:
    return await _body(services, scope, await services.environments.freeze(scope, name, body.until, body.reason))


@router.post("/environments/{name}/thaw", summary="End a freeze")
async def thaw(name: str, services: TheServices, scope: CallerScope) -> dict[str, Any]:
    return await _body(services, scope, await services.environments.thaw(scope, name))


async def _body(services: Services, scope: Scope, rules: EnvironmentRules) -> dict[str, Any]:
    """The rules, with windows as people write them, whether changes may begin now, and what serves."""
    state = services.environments.state(rules)
    closed = state if isinstance(state, Closed) else None
    body = (
        {"name": rules.environment}
        | plain(rules)
        | {
            "windows": [str(window) for window in rules.windows],
            "open": closed is None,
            "closed_why": closed.why if closed else "",
            "opens_at": to_text(closed.until) if closed and closed.until else "",
            "serves": [],
        }
    )
    del body["environment"]
    for route in await services.delivery.routes(scope):
        if route.environment == rules.environment and route.deployment_id:
            serving = await services.delivery.deployment(scope, route.deployment_id)
            body["serves"].append({"service": route.service, "version": serving.version, "url": route.url})
    return body
