"""A small service that ends in order on SIGTERM: no new connections, but what has begun is finished.

    python3 asked_service.py PORT

``/`` answers at once, ``/slow?S`` after S seconds, ``/stream?S`` goes on for so long, and a WebSocket is told the time until
the service ends: then it is closed with the code 1001, "going away".
"""

import asyncio
import base64
import hashlib
import os
import signal
import sys
from contextlib import suppress

ANSWER = b"x" * 2048
WORK_S = 0.005
BEAT_S = 0.1
LONGEST_GOODBYE_S = 1.0
GOING_AWAY = b"\x88\x02" + (1001).to_bytes(2, "big")


class Service:
    """``busy`` are the connections with something under way."""

    def __init__(self) -> None:
        self.ending = asyncio.Event()
        self.busy: set[asyncio.StreamWriter] = set()
        self.conversations: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def run(self, host: str, port: int) -> None:
        server = await asyncio.start_server(self.converse, host, port, backlog=512)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.ending.set)
        await self.ending.wait()
        server.close()
        for writer in set(self.conversations.values()) - self.busy:
            writer.close()
        if self.conversations:
            await asyncio.wait([task for task in self.conversations if task is not None])

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.conversations[asyncio.current_task()] = writer
        with suppress(OSError, asyncio.IncompleteReadError):
            while not self.ending.is_set():
                head = await reader.readuntil(b"\r\n\r\n")
                self.busy.add(writer)
                await self.answer(head, reader, writer)
                await writer.drain()
                self.busy.discard(writer)
        writer.close()
        del self.conversations[asyncio.current_task()]

    async def answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path, _, seconds = head.split()[1].decode().partition("?")
        if b"upgrade: websocket" in head.lower():
            await self.tell_the_time(head, reader, writer)
        elif path == "/stream":
            await stream(float(seconds), writer)
        else:
            await asyncio.sleep(float(seconds) if path == "/slow" else WORK_S)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)

    async def tell_the_time(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """RFC 6455 as far as it is needed: text one way, and the end of it."""
        key = next(
            line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        while not self.ending.is_set() and not reader.at_eof():
            beat = f"{asyncio.get_running_loop().time():.3f}".encode()
            writer.write(bytes([0x81, len(beat)]) + beat)
            await writer.drain()
            await asyncio.sleep(BEAT_S)
        writer.write(GOING_AWAY)
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_GOODBYE_S):
                await reader.read()
        raise asyncio.IncompleteReadError(b"", None)


async def stream(seconds: float, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(round(seconds / BEAT_S)):
        writer.write(b"%x\r\n%s\r\n" % (len(ANSWER), ANSWER))
        await writer.drain()
        await asyncio.sleep(BEAT_S)
    writer.write(b"0\r\n\r\n")


if __name__ == "__main__":
    # Inside a container the loopback interface reaches nobody.
    asyncio.run(Service().run(os.environ.get("HOST", "127.0.0.1"), int(sys.argv[1])))
