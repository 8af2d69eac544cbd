"""Clients that send at a fixed rate and count what they lose; what the benchmarks of lost requests share.

Three kinds: ``new`` opens a connection for every request, ``kept`` sends on ten connections that stay open, ``httpx`` is the
library with its pool; half of the requests are POSTs. Nobody tries again by himself, so every request without a complete and
right answer counts.
"""

import asyncio
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ANSWER_BYTES = 2048
KEPT_CONNECTIONS = 10
LONGEST_S = 20.0
SERVICE = Path(__file__).with_name("asked_service.py")


class Service:
    """`asked_service.py` as a process of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-I", str(SERVICE), str(self.port))
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._process.terminate()
        await self._process.wait()

    async def again(self) -> None:
        await self.stop()
        await self.start()


@dataclass
class Tally:
    """What became of the requests of one kind of clients. ``down_s`` is the longest time in which they got no right answer."""

    sent: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    down_s: float = 0.0
    _answered_at: float = 0.0

    @property
    def lost_count(self) -> int:
        return sum(self.lost.values())

    async def count(self, request: Callable[[], Awaitable[tuple[int, int]]], wanted_bytes: int = ANSWER_BYTES) -> None:
        """Send one, which has to be answered with status 200 and so many bytes."""
        self.sent += 1
        try:
            async with asyncio.timeout(LONGEST_S):
                status, length = await request()
        except (OSError, asyncio.IncompleteReadError, TimeoutError, httpx.HTTPError) as error:
            self.lost[type(error).__name__] += 1
        else:
            if (status, length) != (200, wanted_bytes):
                self.lost[f"status {status}, {length} bytes"] += 1
                return
            now = time.perf_counter()
            self.down_s = max(self.down_s, now - self._answered_at if self._answered_at else 0.0)
            self._answered_at = now


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def exchange(connection: Connection, method: bytes) -> tuple[int, int]:
    """One request and its answer: the status, and how long the body is."""
    reader, writer = connection
    writer.write(method + b" / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length: ")[2].split("\r\n")[0])
    body = await reader.readexactly(length)
    if "connection: close" in head:
        writer.close()
    return int(head.split()[1]), len(body)


class Clients:
    """The three kinds, on one port, until told to stop."""

    def __init__(self, port: int, rate: int) -> None:
        self.port = port
        self.rate = rate
        self.tallies = {"new": Tally(), "kept": Tally(), "httpx": Tally()}
        self._stopped = False

    @asynccontextmanager
    async def sending(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self._at_rate(self.rate, self._new))
            for _ in range(KEPT_CONNECTIONS):
                group.create_task(self._kept())
            group.create_task(self._httpx())
            await asyncio.sleep(0.5)
            yield
            await asyncio.sleep(0.5)
            self._stopped = True

    async def _at_rate(self, rate: float, send: Callable[[bytes], Awaitable[None]], *, one_by_one: bool = False) -> None:
        begin, number = time.perf_counter(), 0
        async with asyncio.TaskGroup() as group:
            while not self._stopped:
                number += 1
                one = send(b"POST" if number % 2 else b"GET")
                await one if one_by_one else group.create_task(one)
                await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))

    async def _new(self, method: bytes) -> None:
        async def request() -> tuple[int, int]:
            connection = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                return await exchange(connection, method)
            finally:
                connection[1].close()

        await self.tallies["new"].count(request)

    async def _kept(self) -> None:
        connection: Connection | None = None

        async def send(method: bytes) -> None:
            async def request() -> tuple[int, int]:
                nonlocal connection
                # As a careful client does: a connection that the other side has closed already is not used again.
                if connection is None or connection[0].at_eof() or connection[1].is_closing():
                    connection = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    return await exchange(connection, method)
                except (OSError, asyncio.IncompleteReadError):
                    connection = None
                    raise

            await self.tallies["kept"].count(request)

        await self._at_rate(self.rate / KEPT_CONNECTIONS, send, one_by_one=True)
        if connection is not None:
            connection[1].close()

    async def _httpx(self) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False) as client:

            async def send(method: bytes) -> None:
                async def request() -> tuple[int, int]:
                    response = await client.request(method.decode(), "/")
                    return response.status_code, len(response.content)

                await self.tallies["httpx"].count(request)

            await self._at_rate(self.rate, send)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
