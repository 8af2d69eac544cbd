"""One request with a bound on its time and on the size of its answer."""

import asyncio
from collections.abc import Mapping

import httpx

_UNLIMITED = httpx.Timeout(None)  # the limit is one around the whole request


class NoAnswer(Exception):  # noqa: N818 - becomes the reason of a measurement
    """Nothing that could be read came back; the message says why."""


async def fetch(
    url: httpx.URL, *, timeout_s: float, limit_bytes: int, form: Mapping[str, str] | None = None
) -> tuple[int, bytes, str]:
    """Status, body and content type of the answer to a GET, or to a POST of ``form``. Raises `NoAnswer`.

    Redirects are not followed; compressed answers are neither asked for nor unpacked.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "interlock"}
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(headers=headers, trust_env=False, timeout=_UNLIMITED) as client,
            client.stream("GET" if form is None else "POST", url, data=form, follow_redirects=False) as response,
        ):
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > limit_bytes:
                    raise NoAnswer(f"the answer has more than {limit_bytes} bytes")
            return response.status_code, bytes(body), response.headers.get("content-type", "")
    except TimeoutError as error:
        raise NoAnswer(f"no complete answer within {timeout_s:g} s") from error
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        raise NoAnswer(str(error) or type(error).__name__) from error
