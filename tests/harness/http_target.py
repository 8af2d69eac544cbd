"""A small HTTP server inside the test, which says whatever it is told to, lies included."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs


@dataclass(slots=True)
class Target:
    """``answers`` are given one after the other, the last one for ever: status, content type and body."""

    url: str = ""
    answers: list[tuple[int, str, str | bytes]] = field(default_factory=list)
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    """The forms that were posted."""
    delay_s: float = 0.0
    is_broken: bool = False
    """Whether it closes the connection in the middle of the answer."""
    under_way: set[asyncio.Task[None]] = field(default_factory=set)

    def says(self, body: str | bytes, status: int = 200, content_type: str = "text/plain; version=0.0.4") -> None:
        """Answer this from now on."""
        self.answers = [(status, content_type, body)]

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection; it ends with the target at the latest."""
        task = asyncio.create_task(self._serve(reader, writer))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0) if "content-length:" in head else 0
            self.asked.append(parse_qs((await reader.readexactly(length)).decode()))
            await asyncio.sleep(self.delay_s)
            status, content_type, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            data = body if isinstance(body, bytes) else body.encode()
            said = len(data) + (100 if self.is_broken else 0)
            head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {said}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + data)
            await writer.drain()


@asynccontextmanager
async def http_target() -> AsyncGenerator[Target]:
    """A target that listens inside the context."""
    target = Target()
    server = await asyncio.start_server(target.accept, "127.0.0.1", 0)
    target.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield target
    for task in list(target.under_way):
        task.cancel()
    await asyncio.gather(*target.under_way, return_exceptions=True)
