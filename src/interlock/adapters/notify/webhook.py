"""Webhooks: one POST to one address, without redirects, proxies, cookies or kept connections."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property

import httpx

from interlock.adapters.notify.addresses import Addresses
from interlock.core.errors import InterlockError
from interlock.notifications.model import Receipt
from interlock.notifications.ports import Parcel

BODY_LIMIT_BYTES = 4096
ANSWER_CHARACTERS = 200
GONE = 410
_UNLIMITED = httpx.Timeout(None)  # the limit is one around the whole request


class WebhookCarrier:
    """`Carrier` of webhooks. It connects to the very addresses that were judged, under the name that the operator gave: to one
    after the other, until one takes the connection.

    2xx is delivered. 410 says that nobody is there any more. Everything else, an address that is not granted included, is
    tried again; 429 and 503 may say when.
    """

    def __init__(self, addresses: Addresses, now: Callable[[], datetime]) -> None:
        self._addresses = addresses
        self._now = now

    async def carry(self, parcel: Parcel, *, timeout_s: float) -> Receipt:
        try:
            # Around everything, name resolution and a dripping body included; httpx itself limits only the pauses.
            async with asyncio.timeout(timeout_s):
                return await self._carry(parcel, timeout_s)
        except TimeoutError:
            return Receipt(outcome="failed", detail=f"no complete answer within {timeout_s:g} s")
        except InterlockError as error:
            return Receipt(outcome="failed", detail=error.message)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            return Receipt(outcome="failed", detail=str(error) or type(error).__name__)

    async def _carry(self, parcel: Parcel, timeout_s: float) -> Receipt:
        url = httpx.URL(parcel.target)
        port = url.port or (443 if url.scheme == "https" else 80)
        *others, last = await self._addresses.resolve(url.host, port)
        # One that does not answer must leave time for the others.
        share = httpx.Timeout(None, connect=timeout_s / (len(others) + 1))
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._post(parcel, url, address, share)
        return await self._post(parcel, url, last, _UNLIMITED)

    async def _post(self, parcel: Parcel, url: httpx.URL, address: str, timeout: httpx.Timeout) -> Receipt:
        headers = parcel.headers | {
            "host": url.netloc.decode("ascii"),
            "user-agent": "interlock",
            "accept-encoding": "identity",
        }
        tls = self._tls if url.scheme == "https" else False
        # The certificate is checked against the name, not against the address.
        extensions = {"sni_hostname": url.raw_host.decode("ascii")}
        async with (
            httpx.AsyncClient(verify=tls, trust_env=False, timeout=timeout) as client,
            client.stream(
                "POST",
                url.copy_with(host=address),
                content=parcel.body,
                headers=headers,
                extensions=extensions,
                follow_redirects=False,
            ) as response,
        ):
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece[: BODY_LIMIT_BYTES - len(body)]
                if len(body) >= BODY_LIMIT_BYTES:
                    break
            return self._receipt(response, bytes(body))

    def _receipt(self, response: httpx.Response, body: bytes) -> Receipt:
        status = response.status_code
        if 200 <= status < 300:
            return Receipt(outcome="delivered", status=status)
        answer = body.decode(errors="replace")[:ANSWER_CHARACTERS].strip()
        detail = f"status {status}"
        if status == GONE:
            return Receipt(outcome="gone", status=status, detail=detail, answer=answer)
        if response.is_redirect:
            detail = f"status {status}: redirects are not followed; name the final URL in the channel"
        asked_s = self._retry_after_s(response.headers.get("retry-after", "")) if status in {429, 503} else None
        return Receipt(outcome="failed", status=status, detail=detail, answer=answer, retry_after_s=asked_s)

    def _retry_after_s(self, text: str) -> float | None:
        """Seconds, or a date (RFC 9110); None for what is neither."""
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - self._now()).total_seconds())

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()
