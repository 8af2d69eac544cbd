"""Every forwarder behaves alike."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from interlock.adapters.caddy.forwarder import CaddyForwarder
from interlock.adapters.hosts.local import LocalHost
from interlock.delivery.ports import Leg
from interlock.testing.forwarders import FakeForwarder, ForwarderBehaviour


class TestFakeForwarder(ForwarderBehaviour):
    @pytest.fixture
    def forwarder(self) -> FakeForwarder:
        return FakeForwarder()

    @pytest.fixture
    def upstream(self, forwarder: FakeForwarder) -> int:
        forwarder.upstreams[8001] = 200
        return 8001

    async def request(self, forwarder: FakeForwarder, leg: Leg) -> int:
        return forwarder.request(leg.route, leg.kind)

    async def kill(self, forwarder: FakeForwarder) -> None:
        forwarder.kill()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
    writer.close()


class TestCaddyForwarder(ForwarderBehaviour):
    @pytest.fixture
    async def host(self, tmp_path: Path) -> AsyncIterator[LocalHost]:
        host = LocalHost(tmp_path / "host")
        yield host
        for key in await host.list():
            await host.stop(key, grace_s=1)

    @pytest.fixture
    def forwarder(self, host: LocalHost, tmp_path: Path) -> CaddyForwarder:
        self.host = host
        return CaddyForwarder(host, tmp_path / "forwarder")

    @pytest.fixture
    async def upstream(self) -> AsyncIterator[int]:
        async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]

    async def request(self, forwarder: CaddyForwarder, leg: Leg) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"http://127.0.0.1:{leg.port}/")).status_code

    async def kill(self, forwarder: CaddyForwarder) -> None:
        for key in await self.host.list():
            await self.host.stop(key, grace_s=0)
