"""A container engine that can be cut off: a real one behind a socket of the tests' own, which comes and goes.

What the engine runs goes on meanwhile, as it does where an engine is upgraded in place.
"""

import asyncio
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

PIECE_BYTES = 1 << 16

When = Literal["before", "after"]


@dataclass(slots=True)
class Death:
    """Where it goes away: at the first request that matches (``POST /v1.41/build?…``), ``before`` the engine has seen it, or
    ``after`` the engine has begun to answer, so that nobody knows what came of it."""

    request: re.Pattern[str]
    when: When
    away_s: float
    happened: asyncio.Event = field(default_factory=asyncio.Event)


class EngineProxy:
    """In front of the engine at ``upstream`` (``unix://``). The adapter uses a connection for each request."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.removeprefix("unix://")
        self._folder = Path(tempfile.mkdtemp(prefix="proxy-"))
        self._socket = self._folder / "engine.sock"
        self._server: asyncio.Server | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._deaths: list[Death] = []
        self._returns: set[asyncio.Task[None]] = set()
        self.url = f"unix://{self._socket}"

    @property
    def is_there(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        """Be there, again."""
        self._server = await asyncio.start_unix_server(self._accept, self._socket)

    def cut(self) -> None:
        """Be gone at once, in the middle of whatever is under way."""
        if self._server is not None:
            self._server.close()
            self._socket.unlink(missing_ok=True)
            self._server = None
        for task in list(self._under_way):
            task.cancel()

    def dies(self, request: str, when: When = "before", away_s: float = 1.2) -> Death:
        """Be gone at a request to come, and back after a while."""
        death = Death(re.compile(request), when, away_s)
        self._deaths.append(death)
        return death

    async def away(self, seconds: float) -> None:
        """Be gone now, and back after that."""
        self.cut()
        await asyncio.sleep(seconds)
        await self.start()

    async def clear(self) -> None:
        for task in list(self._returns):
            task.cancel()
        self.cut()
        await asyncio.gather(*self._under_way, *self._returns, return_exceptions=True)
        shutil.rmtree(self._folder)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError):
                down, up = await asyncio.open_unix_connection(self._upstream)
                due: list[Death] = []
                sending = asyncio.create_task(self._requests(reader, up, due))
                try:
                    while piece := await down.read(PIECE_BYTES):
                        if due:
                            return self._die(due.pop())
                        writer.write(piece)
                        await writer.drain()
                finally:
                    sending.cancel()
        finally:
            for stream in (up, writer):
                if stream is not None:
                    stream.close()
        return None

    async def _requests(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, due: list[Death]) -> None:
        """Pass on what the client says. A request begins where a piece does: the next one waits for the answer."""
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                line = piece.partition(b"\r\n")[0].decode(errors="replace")
                death = next((item for item in self._deaths if item.request.match(line)), None)
                if death is not None:
                    self._deaths.remove(death)
                    if death.when == "before":
                        return self._die(death)
                    due.append(death)
                up.write(piece)
                await up.drain()
        return None

    def _die(self, death: Death) -> None:
        task = asyncio.create_task(self.away(death.away_s))
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)
        death.happened.set()
