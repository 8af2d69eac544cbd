"""A real Prometheus on the loopback interface, for as long as a test needs it."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from harness.ports import free_port

PROGRAM = shutil.which("prometheus")
PATIENCE_S = 30.0


class Prometheus:
    """One server with its own folder. ``targets`` are the addresses (``host:port``) that it scrapes, four times a second."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        addresses = ", ".join(f"'{target}'" for target in targets)
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 250ms, scrape_timeout: 200ms}\n"
            f"scrape_configs:\n- job_name: tests\n  static_configs:\n  - targets: [{addresses}]\n"
        )

    async def start(self) -> None:
        """Returns once it answers; skips the test where it cannot start."""
        assert PROGRAM is not None
        command = [
            PROGRAM,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.to_thread(subprocess.Popen, command, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while not await self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "log").read_text()[-500:]
                await self.stop()
                pytest.skip(f"Prometheus does not start here: {said}")
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End this one, and no other."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, 10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)

    async def knows(self, query: str) -> bool:
        """Whether the query has a value now: the first look at what it scrapes comes seconds after the start."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(self.url + "/api/v1/query", params={"query": query})
            return bool(answer.json()["data"]["result"])

    async def _is_ready(self) -> bool:
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                return (await http.get(self.url + "/-/ready")).status_code == 200
            except httpx.TransportError:
                return False


@asynccontextmanager
async def prometheus(folder: Path, targets: list[str]) -> AsyncGenerator[Prometheus]:
    """A server that runs inside the context; skips where the program is not installed."""
    if PROGRAM is None:
        pytest.skip("Prometheus is not installed (Debian package: prometheus)")
    server = Prometheus(folder, targets)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
