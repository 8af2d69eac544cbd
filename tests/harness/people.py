"""People beside the owner, each with a token of their own."""

from typing import Any

import httpx

from harness.plane import Client, Plane


class Person(Client):
    """Speaks to a control plane with a token that `interlock user add` printed."""

    def __init__(self, plane: Client, name: str, token: str) -> None:
        self.plane = plane
        self.name = name
        self.token = token

    @property
    def http(self) -> httpx.AsyncClient:  # type: ignore[override]
        """The connection of the owner, as it is after the last start, under another name."""
        return _Renamed(self.plane.http, self.token)  # type: ignore[return-value]


class _Renamed:
    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._http.request(method, path, headers=self._headers | options.pop("headers", {}), **options)


async def people(plane: Client, *names: str) -> list[Person]:
    """New users of these names."""
    return [Person(plane, name, (await plane.call("PUT", f"/users/{name}", 201))["token"]) for name in names]


async def rules(plane: Client, environment: str, **said: Any) -> dict[str, Any]:
    """Set rules as the owner."""
    return await plane.call("PATCH", f"/environments/{environment}", json=said)


async def refusals(plane: Client) -> list[tuple[str, str]]:
    """What was refused, and why, as it is on the record."""
    events = (await plane.get("/events", params={"subject": "plan:refused"}))["items"]
    return [(event["data"]["text"], event["data"]["code"]) for event in events]


def without_reactions(plane: Plane) -> None:
    """Nothing reacts to what happens until the next start: as if the control plane died right behind each answer."""
    for work in plane.inside._background:
        work.cancel()
