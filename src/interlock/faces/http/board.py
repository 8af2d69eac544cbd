"""What runs where, as observed now."""

import asyncio
from collections.abc import Sequence
from typing import Any

from interlock.core.scope import Scope
from interlock.delivery.drift.observer import problems
from interlock.delivery.model import Drill, Route
from interlock.faces.http.services import Services
from interlock.faces.http.shapes import plain


async def board(
    services: Services, scope: Scope, *, service: str | None = None, environments: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """One row for each service in each environment, observed at the same time."""
    routes = [
        route
        for route in await services.delivery.routes(scope)
        if (service is None or route.service == service) and (not environments or route.environment in environments)
    ]
    drills = await services.drills.last(scope)
    drifts = {(item.service, item.environment): problems(item.drifts) for item in await services.drift.listing(scope, service)}
    found = [_row(services, scope, route, drills.get((route.service, route.environment))) for route in routes]
    rows = await asyncio.gather(*found)
    return [row | {"drift": drifts.get((row["service"], row["environment"]), [])} for row in rows]


async def _row(services: Services, scope: Scope, route: Route, drill: Drill | None) -> dict[str, Any]:
    row: dict[str, Any] = {"service": route.service, "environment": route.environment, "url": route.url, "serving": None}
    row |= {"back_to": None, "last_drill": plain(drill) if drill else None}
    if not route.deployment_id:
        return row
    deployment = await services.delivery.deployment(scope, route.deployment_id)
    release = await services.delivery.release(scope, deployment.release_id)
    recipe = release.recipe
    health = recipe.health if recipe.takes_port else None
    if not recipe.takes_port and recipe.port is not None:
        # It is told no port, so the forwarder leads nowhere: it is reached where it listens by itself.
        row["url"] = f"http://127.0.0.1:{recipe.port}"
    back = await services.delivery.last_good(scope, route.service, route.environment, before=route.deployment_id)
    if back is not None:
        row["back_to"] = {"release_id": back.release_id, "version": back.version}
    observed = await services.observer.observe(deployment, health)
    return row | {"serving": plain(deployment) | {"observed": plain(observed)}}
