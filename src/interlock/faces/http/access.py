"""Who is asking: the bearer token of every request, and the services behind the app."""

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from interlock.core.errors import Forbidden
from interlock.core.scope import Scope
from interlock.faces.http.services import Services

bearer = HTTPBearer(
    auto_error=False, description="A token: the owner's is in the data folder, in owner.token; other users have their own."
)


def services_of(request: Request) -> Services:
    """The services that `create_app` was given."""
    return cast("Services", request.app.state.services)


async def scope_of(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    services: Annotated[Services, Depends(services_of)],
) -> Scope:
    """The scope of the caller. Raises Forbidden ``unauthenticated``."""
    if credentials is None:
        raise Forbidden("unauthenticated", "a token is needed", hint="Authorization: Bearer TOKEN; it is in owner.token")
    address = request.client.host if request.client else "unknown"
    trace_id = trace_of(request.headers.get("traceparent", ""))
    return await services.tenancy.authenticate(credentials.credentials, f"http {address}", trace_id)


def trace_of(traceparent: str) -> str:
    """The trace id of a W3C ``traceparent`` header; empty where there is none that can be read."""
    parts = traceparent.split("-")
    is_trace = len(parts) == 4 and len(parts[1]) == 32 and set(parts[1]) <= set("0123456789abcdef")
    return parts[1] if is_trace else ""


CallerScope = Annotated[Scope, Depends(scope_of)]
TheServices = Annotated[Services, Depends(services_of)]
