"""What clients lose while a service is switched from one process to another.

    .venv/bin/python bench/switch_loss.py [--switches 50] [--rate 200]

Three kinds of clients send at a fixed rate each: ``new`` opens a connection for every request, ``kept`` sends on ten
connections that stay open, ``httpx`` is the library with its pool; half of the requests are POSTs. Nobody tries again by
himself, so every request without a complete and right answer counts. Four ways of changing what serves them:

- re-point: the leg is led back and forth between two processes.
- replace: a new process is started, the leg led to it, and the old one told to end at once.
- reload: another leg is added and taken away, which reloads the configuration of the forwarder.
- stop-start: no forwarder; the process on the port is stopped and started again.
"""

import argparse
import asyncio
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from interlock.adapters.caddy.forwarder import CaddyForwarder
from interlock.adapters.hosts.local import LocalHost
from interlock.delivery.ports import Leg

ANSWER = b"x" * 2048
WORK_S = 0.005
KEPT_CONNECTIONS = 10
LEG = "shop.bench"


async def serve(port: int) -> None:
    """A small service that ends in order on SIGTERM: no new connections, but what has begun is finished."""
    conversations: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
    busy: set[asyncio.StreamWriter] = set()
    ending = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations[asyncio.current_task()] = writer
        with suppress(OSError, asyncio.IncompleteReadError):
            while not ending.is_set():
                await reader.readuntil(b"\r\n\r\n")
                busy.add(writer)
                await asyncio.sleep(WORK_S)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
                await writer.drain()
                busy.discard(writer)
        writer.close()
        del conversations[asyncio.current_task()]

    server = await asyncio.start_server(converse, "127.0.0.1", port, backlog=512)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await ending.wait()
    server.close()
    for writer in set(conversations.values()) - busy:
        writer.close()
    if conversations:
        await asyncio.wait(conversations)


class Service:
    """`serve` as a process of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--serve", str(self.port))
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._process.terminate()
        await self._process.wait()


@dataclass
class Tally:
    """What became of the requests of one kind of clients."""

    sent: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    async def count(self, request: Callable[[], Awaitable[tuple[int, int]]]) -> None:
        self.sent += 1
        try:
            async with asyncio.timeout(10):
                status, length = await request()
        except (OSError, asyncio.IncompleteReadError, TimeoutError, httpx.HTTPError) as error:
            self.lost[type(error).__name__] += 1
        else:
            if (status, length) != (200, len(ANSWER)):
                self.lost[f"status {status}, {length} bytes"] += 1


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


def report(name: str, clients: Clients, durations: list[float]) -> None:
    middle, worst = statistics.median(durations) * 1000, max(durations) * 1000
    print(f"{name:<11} {len(durations)} changes, p50 {middle:.1f} ms, max {worst:.1f} ms")
    for kind, tally in clients.tallies.items():
        lost = sum(tally.lost.values())
        print(f"    {kind:<6} {tally.sent:>6} sent {lost:>5} lost  {dict(tally.lost) if lost else ''}", flush=True)


async def timed(change: Awaitable[None], durations: list[float]) -> None:
    begin = time.perf_counter()
    await change
    durations.append(time.perf_counter() - begin)
    await asyncio.sleep(0.1)


async def re_point(forwarder: CaddyForwarder, leg: Leg, switches: int, rate: int) -> None:
    services, durations = [Service(free_port()), Service(free_port())], []
    for service in services:
        await service.start()
    await forwarder.point(leg, services[0].port, "bench-0")
    clients = Clients(leg.port, rate)
    async with clients.sending():
        for number in range(1, switches + 1):
            await timed(forwarder.point(leg, services[number % 2].port, f"bench-{number}"), durations)
    for service in services:
        await service.stop()
    report("re-point", clients, durations)


async def replace(forwarder: CaddyForwarder, leg: Leg, switches: int, rate: int) -> None:
    service, durations = Service(free_port()), []
    await service.start()
    await forwarder.point(leg, service.port, "bench-0")
    clients = Clients(leg.port, rate)

    async with clients.sending():
        for number in range(1, switches + 1):
            new = Service(free_port())
            await new.start()
            await timed(_hand_over(forwarder, leg, service, new, number), durations)
            service = new
    await service.stop()
    report("replace", clients, durations)


async def _hand_over(forwarder: CaddyForwarder, leg: Leg, old: Service, new: Service, number: int) -> None:
    await forwarder.point(leg, new.port, f"bench-{number}")
    await old.stop()


async def reload(forwarder: CaddyForwarder, leg: Leg, switches: int, rate: int) -> None:
    service, durations = Service(free_port()), []
    await service.start()
    await forwarder.point(leg, service.port, "bench-0")
    other = Leg(route=LEG, kind="candidate", port=free_port())
    clients = Clients(leg.port, rate)
    async with clients.sending():
        for _ in range(switches // 2):
            await timed(forwarder.point(other, None, ""), durations)
            await timed(forwarder.remove(other.route, other.kind), durations)
    await service.stop()
    report("reload", clients, durations)


async def stop_start(switches: int, rate: int) -> None:
    service, durations = Service(free_port()), []
    await service.start()
    clients = Clients(service.port, rate)
    async with clients.sending():
        for _ in range(switches):
            await timed(_again(service), durations)
    await service.stop()
    report("stop-start", clients, durations)


async def _again(service: Service) -> None:
    await service.stop()
    await service.start()


def resident_mib(pid: int) -> str:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    mib = [int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")]
    return f"{mib[0]:.0f} MiB resident, {mib[1]:.0f} MiB of it its own"


async def measure_cost(forwarder: CaddyForwarder, host: LocalHost) -> None:
    durations = []
    for _ in range(20):
        begin = time.perf_counter()
        await forwarder.measure(LEG, "stable")
        durations.append((time.perf_counter() - begin) * 1000)
    print(f"measure     p50 {statistics.median(durations):.1f} ms, max {max(durations):.1f} ms")
    for status in (await host.list()).values():
        print(f"forwarder   {resident_mib(status.pid or 0)}")


async def main(switches: int, rate: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = LocalHost(Path(folder) / "host")
        forwarder = CaddyForwarder(host, Path(folder) / "forwarder")
        begin = time.perf_counter()
        await forwarder.ensure()
        print(f"start       {(time.perf_counter() - begin) * 1000:.0f} ms")
        leg = Leg(route=LEG, kind="stable", port=free_port())
        try:
            for scenario in (re_point, replace, reload):
                await scenario(forwarder, leg, switches, rate)
            await stop_start(switches, rate)
            await measure_cost(forwarder, host)
        finally:
            for key in await host.list():
                await host.stop(key)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=50)
    parser.add_argument("--rate", type=int, default=200, help="requests a second of each kind of clients")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asyncio.run(serve(options.serve) if options.serve else main(options.switches, options.rate))
