"""Channels to the outside, and what is delivered through them."""

from datetime import timedelta
from typing import Any, Literal

from fastapi import APIRouter, Response

from interlock.core.scope import Scope
from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.routes.plans import Limit
from interlock.faces.http.shapes import AddChannel, Page, RotateSecret, plain
from interlock.notifications.model import Channel, Delivery
from interlock.tenancy.model import is_owner

router = APIRouter(prefix="/notifications", tags=["notifications"])

TEST_LIMIT_S = 65.0


@router.post("/channels", status_code=201, summary="Add a channel; its signing secret is shown this once")
async def add_channel(body: AddChannel, response: Response, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    channel, secret = await services.notifications.add(scope, body.name, body.kind, body.target, body.events)
    response.headers["Cache-Control"] = "no-store"
    return _shown(channel) | ({"secret": secret} if secret else {})


@router.get("/channels", summary="All channels")
async def list_channels(scope: CallerScope, services: TheServices) -> Page:
    return Page(items=[_shown(channel) for channel in await services.notifications.channels(scope)])


@router.delete("/channels/{name}", summary="Take a channel away; what is on its way through it is cancelled")
async def remove_channel(name: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return _shown(await services.notifications.remove(scope, name))


@router.post("/channels/{name}/test", summary="Send a test event, and wait for what came of it")
async def test_channel(name: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    item = await services.notifications.test(scope, name)
    return _told(scope, await services.notifications.tried(scope, item.delivery_id, TEST_LIMIT_S))


@router.post("/channels/{name}/rotate", summary="Make a new signing secret, which is shown this once")
async def rotate_secret(
    name: str, body: RotateSecret, response: Response, scope: CallerScope, services: TheServices
) -> dict[str, Any]:
    overlap = timedelta(hours=body.overlap_hours)
    channel, secret = await services.notifications.rotate(scope, name, overlap)
    response.headers["Cache-Control"] = "no-store"
    return _shown(channel) | {"secret": secret}


@router.post("/channels/{name}/enable", summary="Deliver to a disabled channel again")
async def enable_channel(name: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return _shown(await services.notifications.enable(scope, name))


@router.post("/channels/{name}/redrive", summary="Send everything again that was given up for a channel")
async def redrive_channel(name: str, scope: CallerScope, services: TheServices) -> Page:
    return Page(items=[_told(scope, item) for item in await services.notifications.redrive_all(scope, name)])


@router.get("/deliveries", summary="Deliveries, newest first")
async def list_deliveries(
    scope: CallerScope,
    services: TheServices,
    channel: str | None = None,
    state: Literal["pending", "delivered", "dead", "cancelled"] | None = None,
    limit: Limit = 100,
) -> Page:
    return Page(items=[_told(scope, item) for item in await services.notifications.deliveries(scope, channel, state, limit)])


@router.get("/deliveries/{delivery_id}", summary="A delivery, and what came of its last attempt")
async def get_delivery(delivery_id: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return _told(scope, await services.notifications.delivery(scope, delivery_id))


@router.post("/deliveries/{delivery_id}/redrive", summary="Send again what was given up")
async def redrive_delivery(delivery_id: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return _told(scope, await services.notifications.redrive(scope, delivery_id))


def _shown(channel: Channel) -> dict[str, Any]:
    """A channel without what may be a secret in its target."""
    return plain(channel) | {"target": channel.shown_target}


def _told(scope: Scope, item: Delivery) -> dict[str, Any]:
    """A delivery; what its receiver said is for the owner, who chose where it goes."""
    shown = plain(item)
    return shown if is_owner(scope) else shown | {"answer": ""}
