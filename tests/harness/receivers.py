"""Receivers of notifications: an HTTP server that behaves as it is told, and a mail server in a process of its own."""

import asyncio
import email
import json
import subprocess
import sys
from collections.abc import Callable
from email.policy import default
from pathlib import Path
from typing import Any, NamedTuple

from harness.ports import free_port

MAIL_SERVER = Path(__file__).with_name("mail_server.py")


class Hook(NamedTuple):
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


class HookReceiver:
    """An HTTP server without a framework, so that it can misbehave. ``manner`` is what it does with every request:

    a status such as ``200``; ``hang`` (never answers), ``drip`` (an answer without an end), ``huge`` (an answer of 50 MB),
    ``close`` (no answer), ``redirect`` (to ``location``). ``headers`` go with every answer, ``words`` with a status.
    """

    def __init__(self) -> None:
        self.manner = "200"
        self.answer: Callable[[Hook], str] | None = None
        self.headers: dict[str, str] = {}
        self.location = ""
        self.words = ""
        self.requests: list[Hook] = []
        self.taken: list[Hook] = []
        self.open = 0
        self.most_open = 0

    async def __aenter__(self) -> "HookReceiver":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._tasks: set[asyncio.Task[Any]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self._answer(await self._read(reader), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Hook:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Hook(head[0].split()[1], headers, body)

    async def _answer(self, hook: Hook, writer: asyncio.StreamWriter) -> None:
        self.requests.append(hook)
        manner = self.answer(hook) if self.answer else self.manner
        if manner == "close":
            return
        if manner == "hang":
            await asyncio.sleep(3600)
        status = "200" if manner in {"drip", "huge"} else "307" if manner == "redirect" else manner
        headers = self.headers | ({"Location": self.location} if manner == "redirect" else {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status} X\r\nConnection: close\r\n{lines}\r\n{self.words}".encode())
        if status.startswith("2"):
            self.taken.append(hook)
        while manner == "drip":
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.02)
        for _ in range(800 if manner == "huge" else 0):
            writer.write(b"x" * 65536)
            await writer.drain()
        await writer.drain()


class MailServer:
    """A mail server as a process of its own. `behave` tells it: ``takes``, ``is busy`` (451), ``refuses`` (550), ``hangs``,
    ``breaks off``."""

    def __init__(self, folder: Path, *, password: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True)
        self.behave("takes")
        arguments = [sys.executable, MAIL_SERVER, str(self.port), folder, password]
        self._log = (folder.with_suffix(".log")).open("wb")
        self._process = subprocess.Popen(arguments, stdout=self._log, stderr=self._log)

    def behave(self, manner: str) -> None:
        """From the next message on."""
        (self.folder / "manner").write_text(manner)

    async def ready(self) -> None:
        """Returns once it listens."""
        for _ in range(400):
            assert self._process.poll() is None, self.folder.with_suffix(".log").read_text()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
        raise AssertionError("the mail server does not listen")

    def mails(self) -> list[Any]:
        """What was taken, oldest first, parsed."""
        files = sorted(self.folder.glob("*.eml"))
        return [email.message_from_bytes(file.read_bytes(), policy=default) for file in files]

    def end(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self._log.close()
