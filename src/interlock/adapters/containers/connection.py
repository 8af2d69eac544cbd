"""Requests to an engine's API, over its socket, TCP or TLS, each on a connection of its own and with a time limit.

So a call never depends on what became of an earlier one: an engine that ended and came back is simply asked again.
"""

import asyncio
import json
import os
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from interlock.core.errors import Unavailable

if TYPE_CHECKING:
    import aiohttp

Data = dict[str, Any]

ANSWER_S = 30.0
"""How long an engine may take for what is not a build, a transfer or a wait."""
_CONNECT_S = 5.0
_NO_CONNECTION = 900
_ASKED_FOR = "auto"
"""The API's version is asked for with the first request, and again once one was in vain: Podman takes a second to tell it."""
_OTHER_VERSION = re.compile(r"client version \S+ is too (new|old)", re.IGNORECASE)
_PIECE_BYTES = 1 << 20
_HINT = "see whether the engine runs, and whether INTERLOCK_CONTAINER_ENGINE leads to it"


class Refusal(Exception):  # noqa: N818 - an answer
    """The engine answered, with an error: its HTTP ``status`` (0 where it came in the middle of an answer) and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Connection:
    """The API of the engine at ``url`` (``unix://`` or ``tcp://``); empty for the first of the usual sockets that is there.
    With ``tls`` it is spoken to over that and in no other way.

    Every method raises `Refusal`, and Unavailable ``engine_down`` where no whole answer comes.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = url if tls is None else "https://" + url.removeprefix("tcp://")
        self._tls = tls
        self._version = _ASKED_FOR

    async def ask(
        self, method: str, path: str, *, params: Data | None = None, body: Any = None, timeout_s: float = ANSWER_S
    ) -> Any:
        """One request with a JSON answer; None where the answer is empty, and for "not modified" the number 304."""
        data = json.dumps(body) if isinstance(body, dict | list) else body
        async with self._request(
            method, path, params, data, {"Content-Type": "application/json"}, total_s=timeout_s
        ) as response:
            content = await response.read()
            if response.status == 304:
                return 304
            return json.loads(content) if content.strip() else None

    async def read(self, path: str, params: Data) -> bytes:
        """The raw answer to a GET."""
        async with self._request("GET", path, params, None, {}, total_s=ANSWER_S) as response:
            return await response.read()

    async def stream(self, path: str, params: Data) -> AsyncGenerator[bytes]:
        """The raw answer to a GET, as it comes; whoever has enough of it closes this."""
        async with self._request("GET", path, params, None, {}, idle_s=ANSWER_S) as response:
            async for piece in response.content.iter_any():
                yield piece

    async def follow(
        self,
        path: str,
        *,
        params: Data,
        body: IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        idle_s: float | None = None,
    ) -> AsyncGenerator[Data]:
        """The progress of a long POST, object by object; one has to come every ``idle_s``. An error among them is raised."""
        data = None if body is None else _pieces(body)
        async with self._request("POST", path, params, data, dict(headers or {}), idle_s=idle_s) as response:
            pending = b""
            async for piece in response.content.iter_any():
                *lines, pending = (pending + piece).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _without_error(json.loads(line))
            if pending.strip():
                yield _without_error(json.loads(pending))

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        params: Data | None,
        data: Any,
        headers: dict[str, str],
        *,
        total_s: float | None = None,
        idle_s: float | None = None,
    ) -> AsyncGenerator["aiohttp.ClientResponse"]:
        # Loaded at the first call: they take longer to load than a server may to start, and many have no engine.
        import aiohttp  # noqa: PLC0415
        from aiodocker import Docker  # noqa: PLC0415
        from aiodocker.exceptions import DockerError  # noqa: PLC0415

        url = self._url or usual_socket()
        limits = aiohttp.ClientTimeout(total=total_s, sock_connect=_CONNECT_S, sock_read=idle_s)
        try:
            beginning = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=_CONNECT_S)
            async with Docker(url=url, timeout=beginning, ssl_context=self._tls, api_version=self._version) as docker:
                query = docker._query  # pyright: ignore[reportPrivateUsage] - its methods decode what has to stay bytes
                async with query(path, method, params=params, data=data, headers=headers, timeout=limits) as response:
                    self._version = docker.api_version
                    try:
                        yield response
                    finally:
                        # Also where its end was not waited for: nobody else will.
                        response.close()
        except DockerError as error:
            if error.status == _NO_CONNECTION or _OTHER_VERSION.search(error.message):
                # Another engine may answer there next time.
                self._version = _ASKED_FOR
                raise down(error.message, url) from error
            raise Refusal(error.status, error.message) from error
        except TimeoutError as error:
            raise down("it does not answer in time", url) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise down(str(error) or type(error).__name__, url) from error


def down(reason: str, where: str = "") -> Unavailable:
    return Unavailable("engine_down", f"the container engine cannot be used now: {reason}", where=where, hint=_HINT)


def usual_socket() -> str:
    """The first of the usual sockets of Docker and Podman that is there. Raises Unavailable ``engine_down``."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "/run/user/0")
    usual = ("/run/docker.sock", "/var/run/docker.sock", f"{runtime}/docker.sock")
    places = (*usual, "/run/podman/podman.sock", f"{runtime}/podman/podman.sock")
    found = next((place for place in places if Path(place).is_socket()), None)
    if found is None:
        raise down("there is none at the usual places", ", ".join(dict.fromkeys(places)))
    return f"unix://{found}"


def _without_error(progress: Data) -> Data:
    """Failures of a build or a transfer come as an object among the others, after an answer that began well."""
    if "error" in progress or "errorDetail" in progress:
        detail: Data = progress.get("errorDetail") or {}
        raise Refusal(0, str(detail.get("message") or progress.get("error") or "unknown error"))
    return progress


async def _pieces(body: IO[bytes]) -> AsyncIterator[bytes]:
    # What is large lies on a disk.
    while piece := await asyncio.to_thread(body.read, _PIECE_BYTES):
        yield piece
