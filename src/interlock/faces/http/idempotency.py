"""``Idempotency-Key`` on POST requests: sent again, a request gets its first answer and does nothing twice."""

from typing import cast

from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from interlock.core.canonical import digest_bytes
from interlock.core.errors import InterlockError
from interlock.core.scope import Scope
from interlock.faces.http.problems import STATUS, problem
from interlock.faces.http.services import Services
from interlock.tenancy.submissions import Answer

HEADER = "Idempotency-Key"
MAX_KEY = 200


class IdempotencyKeys(BaseHTTPMiddleware):
    """Only successes and refusals are remembered: after a fault of the server the request may be sent again."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        key = request.headers.get(HEADER, "")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if request.method != "POST" or not key or scheme.lower() != "bearer":
            return await call_next(request)
        if len(key) > MAX_KEY:
            return problem(422, "idempotency_key", f"{HEADER} may have {MAX_KEY} characters")
        services = cast("Services", request.app.state.services)
        try:
            scope = await services.tenancy.authenticate(token, "http")
            digest = digest_bytes(request.url.path.encode() + b"\n" + await request.body())
            known = await services.submissions.begin(scope, key, digest)
        except InterlockError as error:
            status = 401 if error.code == "unauthenticated" else STATUS[error.kind]
            return problem(status, error.code, error.message, where=error.where, hint=error.hint)
        if known is not None:
            return Response(known.body, known.status, media_type=known.media_type, headers={"Idempotent-Replay": "true"})
        return await self._first(services, scope, key, request, call_next)

    async def _first(
        self, services: Services, scope: Scope, key: str, request: Request, call_next: RequestResponseEndpoint
    ) -> Response:
        try:
            response = await call_next(request)
        except Exception:
            await services.submissions.forget(scope, key)
            raise
        # What the middleware's `call_next` hands out always streams, whatever the route returned.
        body = b"".join([bytes(chunk) async for chunk in cast("StreamingResponse", response).body_iterator])  # pyright: ignore[reportArgumentType]
        if response.headers.get("cache-control") == "no-store":
            # It shows a secret, which is kept nowhere in plain.
            await services.submissions.forget(scope, key)
        elif response.status_code < 500:
            media_type = response.headers.get("content-type", "application/json")
            await services.submissions.finish(scope, key, Answer(status=response.status_code, media_type=media_type, body=body))
        else:
            await services.submissions.forget(scope, key)
        return Response(body, response.status_code, headers=dict(response.headers))
