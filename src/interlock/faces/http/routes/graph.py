"""GraphQL for querying."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from interlock.faces.http.access import CallerScope, TheServices
from interlock.faces.http.shapes import Body

router = APIRouter(tags=["graphql"])


class GraphQuery(Body):
    query: str
    variables: dict[str, Any] = Field(default_factory=dict[str, Any])
    operationName: str | None = None  # noqa: N815 - the name that GraphQL over HTTP gives it


@router.post("/graphql", summary="Query with GraphQL; nothing can be changed here")
async def graphql(body: GraphQuery, scope: CallerScope, services: TheServices) -> dict[str, Any]:
    # Loaded at the first query: most servers never get one, and all of them have to start fast.
    from interlock.faces.http.querying import Asking, query  # noqa: PLC0415

    return await query(Asking(services, scope), body.query, body.variables, body.operationName)
