"""People and their tokens."""

from typing import Any

from fastapi import APIRouter

from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.shapes import Page, plain

router = APIRouter(tags=["users"])


@router.get("/users", summary="Everybody who has a token, the owner first")
async def list_users(scope: CallerScope, services: TheServices) -> Page:
    return Page(items=[plain(user) for user in await services.tenancy.users(scope)])


# By PUT, whose answers are never kept for a repeated request: the token is told once and stored nowhere.
@router.put("/users/{name}", status_code=201, summary="Add a user; the answer holds the token, this once")
async def add_user(name: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    user, token = await services.tenancy.add_user(scope, name)
    return plain(user) | {"token": token}


@router.delete("/users/{name}", summary="Remove a user; the token is void, and what was approved with it counts no more")
async def remove_user(name: str, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    return plain(await services.tenancy.remove_user(scope, name))
