"""Every host passes the suite of the port."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.adapters.hosts.local import LocalHost
from interlock.testing.hosts import STAYS, SUITE_SCRIPTS, FakeHost, HostBehaviour, job, service


class TestLocalHost(HostBehaviour):
    @pytest.fixture
    async def host(self, tmp_path: Path) -> AsyncIterator[LocalHost]:
        host = LocalHost(tmp_path / "processes")
        yield host
        await asyncio.gather(*(host.stop(key, 0) for key in await host.list()))


class TestFakeHost(HostBehaviour):
    @pytest.fixture
    def host(self) -> FakeHost:
        return FakeHost(SUITE_SCRIPTS)

    async def test_it_can_be_told_what_happens_later(self, host: FakeHost) -> None:
        await host.start("api", service(STAYS, max_restarts=1, port=8000))
        assert (await host.start("other", service(STAYS, port=8000))).reason == "port_taken"
        host.print("api", "hello")
        assert host.end("api", 1).restarts == 1
        assert host.end("api", 1).reason == "gave_up"
        await host.start("work", job(STAYS))
        host.lose("work")
        assert (await host.wait("work")).state == "lost"
        assert [key for key, _ in host.started] == ["api", "other", "work"]
