"""HTTP requests to peers that are not trusted: services under test, webhooks, whatever a module file names."""

import asyncio
import ssl
from functools import cached_property

import httpx

from interlock.core.clock import Clock
from interlock.core.errors import Invalid
from interlock.tools.ports import HttpAnswer

_BODY_LIMIT_BYTES = 64 * 1024
_UNLIMITED = httpx.Timeout(None)  # the limit is one around the whole request


class HttpxClient:
    """Implements `interlock.tools.ports.HttpClient`. Every request stands alone: no kept connection, no cookie, no proxy.

    ``get`` raises Invalid ``http_url`` for what is no http or https URL, and nothing for what the peer does: an answer that is
    not complete in time, or is broken off, is none (status 0); one that is longer than the limit is cut.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def get(self, url: str, *, timeout_s: float = 5.0) -> HttpAnswer:
        began = self._clock.monotonic()
        status, body, error = 0, "", ""
        try:
            # Around everything, name resolution and a dripping body included; httpx itself limits only the pauses.
            async with asyncio.timeout(timeout_s):
                status, body = await self._fetch(_checked(url))
        except TimeoutError:
            error = f"no complete answer within {timeout_s:g} s"
        except (httpx.HTTPError, httpx.StreamError, OSError) as failure:
            error = str(failure) or type(failure).__name__
        return HttpAnswer(status=status, elapsed_ms=(self._clock.monotonic() - began) * 1000, body=body, error=error)

    async def _fetch(self, url: httpx.URL) -> tuple[int, str]:
        # Compressed bodies are neither asked for nor unpacked: a few KiB of them can hold gigabytes.
        headers = {"Accept-Encoding": "identity", "User-Agent": "interlock"}
        tls = self._tls if url.scheme == "https" else False  # for http it only spares loading the certificates
        async with (
            httpx.AsyncClient(verify=tls, headers=headers, trust_env=False, timeout=_UNLIMITED) as client,
            client.stream("GET", url, follow_redirects=False) as response,
        ):
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece[: _BODY_LIMIT_BYTES - len(body)]
                if len(body) == _BODY_LIMIT_BYTES:
                    break
            return response.status_code, _text(bytes(body), response.charset_encoding)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Invalid("http_url", f"not a URL: {error}", where=url[:200]) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Invalid("http_url", "neither an http nor an https URL", where=url[:200])
    return parsed


def _text(body: bytes, encoding: str | None) -> str:
    try:
        return body.decode(encoding or "utf-8", "replace")
    except LookupError:  # the peer named an encoding that does not exist
        return body.decode("utf-8", "replace")
