"""Errors as problem details (RFC 9457)."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from interlock.core.errors import InterlockError, Kind

log = structlog.get_logger(__name__)

STATUS: dict[Kind, int] = {
    "not_found": 404,
    "conflict": 409,
    "forbidden": 403,
    "invalid": 422,
    "unavailable": 503,
    "limit": 429,
    "internal": 500,
}


def problem(status: int, code: str, title: str, **members: Any) -> JSONResponse:
    """A problem document; empty members are left out."""
    body = {"type": f"urn:interlock:{code}", "title": title, "status": status, "code": code}
    body |= {name: value for name, value in members.items() if value not in ("", None, {})}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status_code=status, media_type="application/problem+json", headers=headers)


def install(app: FastAPI) -> None:
    """Map every error that leaves a route."""

    async def interlock_error(_request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, InterlockError):
            raise error
        status = 401 if error.code == "unauthenticated" else STATUS[error.kind]
        return problem(status, error.code, error.message, where=error.where, hint=error.hint, details=error.details)

    async def validation_error(_request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, RequestValidationError):
            raise error
        fields = [{"where": ".".join(str(part) for part in item["loc"]), "message": item["msg"]} for item in error.errors()]
        summary = "; ".join(f"{field['where']}: {field['message']}" for field in fields)
        return problem(422, "request", f"the request cannot be accepted: {summary}", fields=fields)

    async def http_error(_request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, HTTPException):
            raise error
        return problem(error.status_code, f"http_{error.status_code}", str(error.detail))

    async def crash(request: Request, error: Exception) -> JSONResponse:
        log.error("request.crashed", path=request.url.path, exc_info=error)
        return problem(500, "crashed", "a defect of Interlock; it is in the log of the server", where=request.url.path)

    app.add_exception_handler(InterlockError, interlock_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, crash)
