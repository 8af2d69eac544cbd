"""A control plane as a process of its own, to be killed and started again."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import aconnect_sse

from harness.plane import PATIENCE_S, Client
from harness.ports import port_range
from interlock.adapters.hosts.local import LocalHost

SERVE = (sys.executable, "-c", "import sys; from interlock.bootstrap.serving import serve; sys.exit(serve(None, None))")


class Server(Client):
    """`start`, `kill` and `start` again: always on the same data folder."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.host = LocalHost(home / "processes")
        first, last = port_range()
        own = {"HOME": home, "PORT": 0, "ENVIRONMENTS": "staging,production", "FIRST_PORT": first, "LAST_PORT": last}
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
        self.environment |= {f"INTERLOCK_{name}": str(value) for name, value in (own | settings).items()}
        self.log = home.with_name(home.name + ".log")
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    @property
    def database_file(self) -> Path:
        return self.home / "tenants" / "default.db"

    async def start(self) -> None:
        """Returns once it answers."""
        await self.launch()
        deadline = time.monotonic() + PATIENCE_S
        while not await self._answers():
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            await asyncio.sleep(0.01)

    def said(self) -> str:
        """The beginning of its log."""
        with self.log.open(errors="replace") as log:
            return log.read(100_000)

    async def launch(self) -> None:
        """Start the process and return at once."""
        assert self.process is None or self.process.poll() is not None, "it runs already: nobody would end the first one"
        with self.log.open("ab") as log:
            self.process = await asyncio.to_thread(
                subprocess.Popen, SERVE, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    async def _answers(self) -> bool:
        try:
            announced = json.loads((self.home / "server.json").read_text())
            token = (self.home / "owner.token").read_text().strip()
        except (OSError, ValueError):
            return False
        if self.process is None or announced["pid"] != self.process.pid:
            return False
        self.address = announced["url"]
        headers = {"Authorization": f"Bearer {token}"}
        http = httpx.AsyncClient(base_url=self.address, headers=headers, timeout=30, trust_env=False)
        try:
            is_up = (await http.get("/health")).status_code == 200
        except httpx.TransportError:
            is_up = False
        if not is_up:
            await http.aclose()
            return False
        self.http = http
        return True

    async def kill(self) -> None:
        """SIGKILL, to the control plane alone; what it started lives on."""
        await self._end("kill")

    async def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        return await self._end("terminate")

    async def _end(self, how: str) -> int:
        assert self.process is not None
        getattr(self.process, how)()
        code = await asyncio.to_thread(self.process.wait, PATIENCE_S)
        if hasattr(self, "http"):
            await self.http.aclose()
        return code

    async def events(self, run_id: str) -> list[dict[str, Any]]:
        """All events of a run, page by page."""
        found: list[dict[str, Any]] = []
        cursor: str | None = "0"
        while cursor is not None:
            page = await self.get(f"/runs/{run_id}/events", params={"after": cursor})
            found += page["items"]
            cursor = page["next"]
        return found

    async def stream(self, run_id: str, after: int = 0) -> AsyncGenerator[dict[str, Any]]:
        """The events of a run behind ``after`` as they happen, as data of server-sent events; raises `httpx.TransportError`
        when the control plane goes away."""
        headers = {"Last-Event-ID": str(after)}
        async with aconnect_sse(self.http, "GET", f"/api/v1/runs/{run_id}/stream", headers=headers) as source:
            async for sent in source.aiter_sse():
                yield json.loads(sent.data)

    async def clear(self) -> None:
        """End the control plane and every process that was started from this data folder."""
        if self.process is not None and self.process.poll() is None:
            await self.kill()
        await asyncio.gather(*(self.host.stop(key, 0) for key in sorted(await self.host.list())))
