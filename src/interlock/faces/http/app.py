"""The HTTP face: REST under ``/api/v1``, health, and the OpenAPI document."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, FastAPI
from starlette.middleware.gzip import GZipMiddleware

from interlock import __version__
from interlock.faces.http import problems
from interlock.faces.http.idempotency import IdempotencyKeys
from interlock.faces.http.limits import BodyLimit, SecurityHeaders
from interlock.faces.http.routes import (
    delivery,
    environments,
    graph,
    health,
    incidents,
    logs,
    notifications,
    plans,
    record,
    runs,
    users,
)
from interlock.faces.http.services import Services

PREFIX = "/api/v1"
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(services: Services, lifespan: Lifespan | None = None, extra: Sequence[APIRouter] = ()) -> FastAPI:
    """The application over ``services``. ``extra`` are routers of other faces that share the server."""
    app = FastAPI(
        title="Interlock",
        version=__version__,
        summary="The control plane for software delivery done by agents",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.services = services
    problems.install(app)
    for module in (plans, runs, delivery, environments, incidents, logs, users, notifications, record, graph):
        app.include_router(module.router, prefix=PREFIX)
    app.include_router(health.guarded, prefix=PREFIX)
    app.include_router(health.router)
    for router in extra:
        app.include_router(router, prefix=PREFIX)
    app.add_middleware(IdempotencyKeys)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=3)
    app.add_middleware(BodyLimit)
    app.add_middleware(SecurityHeaders)
    return app
