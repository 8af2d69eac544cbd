"""Caddy's admin API, over the socket in the forwarder's folder."""

import asyncio
import os

import httpx

from interlock.adapters.caddy.configuration import Data
from interlock.adapters.caddy.folder import ForwarderFolder
from interlock.core.errors import Conflict, InterlockError, Invalid, Unavailable

_TIMEOUT_S = 10.0
_TRIES = 5
_PAUSE_S = 0.02
_SERVERS = "/config/apps/http/servers"


class Admin:
    """One connection a request: Caddy replaces its admin server at each reload. Raises Unavailable ``forwarder_down``."""

    def __init__(self, folder: ForwarderFolder) -> None:
        self._folder = folder

    async def answers(self) -> bool:
        try:
            await self._get("/config/admin/listen")
        except Unavailable:
            return False
        return True

    async def configuration(self) -> Data:
        """The whole live configuration."""
        return (await self._get("/config/")).json()

    async def servers(self) -> dict[str, Data]:
        """The live servers by name."""
        return (await self._get(_SERVERS)).json() or {}

    async def server(self, name: str) -> Data | None:
        """The live server of this name alone: what all of them have to say grows with every leg."""
        response = await self._request("GET", f"/id/{name}")
        if response.status_code == 404:
            return None
        if response.is_error:
            raise _down(f"{name}: {response.status_code} {response.text[:200]}", self._folder)
        return response.json()

    async def put_server(self, name: str, server: Data) -> None:
        """Set or replace one server. Raises Conflict ``port_taken``, Invalid ``forwarder_refused``: then all is as before."""
        response = await self._request("POST", f"{_SERVERS}/{name}", server)
        if response.is_error:
            raise _refusal(response)

    async def delete_server(self, name: str) -> None:
        """Idempotent."""
        response = await self._request("DELETE", f"/id/{name}")
        if response.is_error and response.status_code != 404:
            raise _refusal(response)

    async def metrics(self) -> str:
        return (await self._get("/metrics")).text

    async def _get(self, path: str) -> httpx.Response:
        response = await self._request("GET", path)
        if response.is_error:
            raise _down(f"{path}: {response.status_code} {response.text[:200]}", self._folder)
        return response

    async def _request(self, method: str, path: str, body: Data | None = None) -> httpx.Response:
        tries_left = _TRIES
        while True:
            tries_left -= 1
            try:
                return await self._exchange(method, path, body)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                # The admin server before the last reload took the connection and hung up. Every request here may be repeated.
                if not tries_left:
                    raise _down(str(error) or type(error).__name__, self._folder) from error
                await asyncio.sleep(_PAUSE_S)
            except (httpx.TransportError, OSError) as error:
                raise _down(str(error) or type(error).__name__, self._folder) from error

    async def _exchange(self, method: str, path: str, body: Data | None) -> httpx.Response:
        folder_fd = os.open(self._folder.path, os.O_PATH | os.O_DIRECTORY)
        try:
            socket_path = self._folder.socket_path(folder_fd)
            # There is no TLS on the socket; ``verify`` only spares loading the certificates.
            transport = httpx.AsyncHTTPTransport(uds=socket_path, verify=False, trust_env=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://caddy", timeout=_TIMEOUT_S) as client:
                return await client.request(method, path, json=body)
        finally:
            os.close(folder_fd)


def _down(reason: str, folder: ForwarderFolder) -> Unavailable:
    return Unavailable("forwarder_down", f"the forwarder does not answer: {reason}", where=str(folder.path))


def _refusal(response: httpx.Response) -> InterlockError:
    try:
        words = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        words = response.text[:500]
    if "address already in use" in words or "listener address repeated" in words:
        return Conflict("port_taken", words, hint="choose another port or end what listens there")
    return Invalid("forwarder_refused", f"the forwarder refused the configuration: {words}")
