"""The HTTP client among peers that mean harm."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from interlock.adapters.http.client import HttpxClient
from interlock.core.clock import SystemClock
from interlock.core.errors import Invalid
from interlock.testing.forwarders import free_port
from interlock.tools.ports import HttpClient

LIMIT = 64 * 1024


@pytest.fixture
def client() -> HttpClient:
    return HttpxClient(SystemClock())


@asynccontextmanager
async def peer(
    converse: Callable[[asyncio.StreamWriter], Awaitable[None]], requests: list[bytes] | None = None
) -> AsyncIterator[str]:
    """The URL of a server that reads a request, converses, and hangs up; every conversation is over when the context is."""
    conversations: set[asyncio.Task[None]] = set()

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            if requests is not None:
                requests.append(request)
            await converse(writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(quietly, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    if conversations:
        await asyncio.wait(conversations, timeout=10)


def says(data: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    async def converse(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return converse


async def test_an_answer_is_status_body_and_time(client: HttpClient) -> None:
    async with peer(says("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nnö".encode())) as url:
        answer = await client.get(url)
    assert (answer.status, answer.body, answer.error) == (404, "nö", "")
    assert 0 < answer.elapsed_ms < 5000


async def test_a_redirect_is_an_answer_and_is_not_followed(client: HttpClient) -> None:
    requests: list[bytes] = []
    async with peer(says(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"), requests) as url:
        assert (await client.get(url)).status == 302
    assert len(requests) == 1


async def test_nothing_of_the_environment_or_of_earlier_requests_is_used(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    requests: list[bytes] = []
    async with peer(says(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"), requests) as url:
        assert [(await client.get(url)).status for _ in range(2)] == [200, 200]
    assert b"cookie" not in requests[1].lower()


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
async def test_a_dripping_peer_is_left_when_the_time_is_over(client: HttpClient, head: bytes) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with peer(drip) as url:
        answer = await client.get(url, timeout_s=0.3)
    assert answer.status == 0
    assert "0.3 s" in answer.error
    assert 300 <= answer.elapsed_ms < 2000


async def test_an_endless_body_is_cut_and_not_read_on(client: HttpClient) -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async with peer(flood) as url:
        answer = await client.get(url)
    assert (answer.status, len(answer.body), answer.error) == (200, LIMIT, "")
    assert written < 32 * 1024 * 1024  # what the buffers of the two sockets take


async def test_endless_headers_are_no_answer(client: HttpClient) -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"x" * 8192 + b"\r\n")
            await writer.drain()

    async with peer(flood) as url:
        answer = await client.get(url)
    assert answer.status == 0
    assert answer.error


async def test_a_packed_body_is_not_unpacked(client: HttpClient) -> None:
    packed = b"\x1f\x8b" + bytes(100)
    async with peer(says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 102\r\n\r\n" + packed)) as url:
        answer = await client.get(url)
    assert answer.status == 200
    assert len(answer.body) == 102


async def test_an_unknown_encoding_is_read_as_utf_8(client: HttpClient) -> None:
    async with peer(
        says(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=klingon\r\nContent-Length: 2\r\n\r\nok")
    ) as url:
        assert (await client.get(url)).body == "ok"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff\xfe garbage \r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    ],
)
async def test_garbage_and_half_answers_are_no_answer(client: HttpClient, data: bytes) -> None:
    async with peer(says(data)) as url:
        answer = await client.get(url)
    assert answer.status == 0
    assert answer.error


async def test_a_reset_and_a_refusal_are_no_answer(client: HttpClient) -> None:
    async def reset(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with peer(reset) as url:
        assert (await client.get(url)).status == 0
    refused = await client.get(f"http://127.0.0.1:{free_port()}/")
    assert refused.status == 0
    assert refused.error
    plain = await client.get("https" + url.removeprefix("http"))
    assert plain.status == 0


@pytest.mark.parametrize(
    "url", ["", "shop", "file:///etc/passwd", "ftp://127.0.0.1/", "http://", "http://[::1", "http://127.0.0.1:x/"]
)
async def test_what_is_no_http_url_is_refused(client: HttpClient, url: str) -> None:
    with pytest.raises(Invalid) as caught:
        await client.get(url)
    assert caught.value.code == "http_url"
