"""Nothing but health is told to somebody without the token."""

import re

import httpx
import pytest

from harness.plane import Plane

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN = {("get", "/health"), ("get", "/ready")}
STRANGERS = {
    "nobody": {},
    "a wrong token": {"Authorization": "Bearer ilk_0000000000000000000000000000000000000000000"},
    "another scheme": {"Authorization": "Basic b3duZXI6b3duZXI="},
    "an empty token": {"Authorization": "Bearer "},
    "a token of odd letters": {"Authorization": "Bearer \xff\xfe".encode("latin-1").decode("latin-1")},
}


async def routes(plane: Plane) -> list[tuple[str, str]]:
    document = await plane.get("/openapi.json")
    return [(method, path) for path, methods in document["paths"].items() for method in methods]


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "x", path)


@pytest.mark.parametrize("headers", STRANGERS.values(), ids=STRANGERS.keys())
async def test_every_route_but_health_demands_the_token(plane: Plane, headers: dict[str, str]) -> None:
    found = await routes(plane)
    assert len(found) > 25
    transport = httpx.ASGITransport(plane.app, raise_app_exceptions=False)
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url="http://interlock") as http:
        for method, path in [*found, ("get", "/api/v1/openapi.json")]:
            answer = await http.request(method.upper(), filled(path), headers=encoded)
            if (method, path) in OPEN:
                assert answer.status_code == 200, path
            else:
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path
                assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_every_answer_carries_the_protecting_headers(plane: Plane) -> None:
    for path in ("/health", "/api/v1/plans", "/api/v1/nowhere", "/nowhere"):
        headers = (await plane.http.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert "server" not in headers
