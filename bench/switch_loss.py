"""What clients lose while a service is switched from one process to another.

    .venv/bin/python bench/switch_loss.py [--switches 50] [--rate 200]

The three kinds of clients of `clients.py` send at this rate each. Four ways of changing what serves them:

- re-point: the leg is led back and forth between two processes.
- replace: a new process is started, the leg led to it, and the old one told to end at once.
- reload: another leg is added and taken away, which reloads the configuration of the forwarder.
- stop-start: no forwarder; the process on the port is stopped and started again.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

from clients import Clients, Service, free_port

from interlock.adapters.caddy.forwarder import CaddyForwarder
from interlock.adapters.hosts.local import LocalHost
from interlock.delivery.ports import Leg
from interlock.testing.forwarders import whole

LEG = "shop.bench"


def report(name: str, clients: Clients, durations: list[float]) -> None:
    middle, worst = statistics.median(durations) * 1000, max(durations) * 1000
    print(f"{name:<11} {len(durations)} changes, p50 {middle:.1f} ms, max {worst:.1f} ms")
    for kind, tally in clients.tallies.items():
        print(f"    {kind:<6} {tally.sent:>6} sent {tally.lost_count:>5} lost  {dict(tally.lost) or ''}", flush=True)


async def timed(change: Awaitable[None], durations: list[float]) -> None:
    begin = time.perf_counter()
    await change
    durations.append(time.perf_counter() - begin)
    await asyncio.sleep(0.1)


async def re_point(forwarder: CaddyForwarder, leg: Leg, switches: int, rate: int) -> None:
    services, durations = [Service(free_port()), Service(free_port())], []
    for service in services:
        await service.start()
    await forwarder.point(leg, whole(services[0].port), "bench-0")
    clients = Clients(leg.port, rate)
    async with clients.sending():
        for number in range(1, switches + 1):
            await timed(forwarder.point(leg, whole(services[number % 2].port), f"bench-{number}"), durations)
    for service in services:
        await service.stop()
    report("re-point", clients, durations)


async def replace(forwarder: CaddyForwarder, leg: Leg, switches: int, rate: int) -> None:
    service, durations = Service(free_port()), []
    await service.start()
    await forwarder.point(leg, whole(service.port), "bench-0")
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
    await forwarder.point(leg, whole(new.port), f"bench-{number}")
    await old.stop()


async def reload(forwarder: CaddyForwarder, leg: Leg, switches: int, rate: int) -> None:
    service, durations = Service(free_port()), []
    await service.start()
    await forwarder.point(leg, whole(service.port), "bench-0")
    other = Leg(route=LEG, kind="candidate", port=free_port())
    clients = Clients(leg.port, rate)
    async with clients.sending():
        for _ in range(switches // 2):
            await timed(forwarder.point(other, (), ""), durations)
            await timed(forwarder.remove(other.route, other.kind), durations)
    await service.stop()
    report("reload", clients, durations)


async def stop_start(switches: int, rate: int) -> None:
    service, durations = Service(free_port()), []
    await service.start()
    clients = Clients(service.port, rate)
    async with clients.sending():
        for _ in range(switches):
            await timed(service.again(), durations)
    await service.stop()
    report("stop-start", clients, durations)


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
    options = parser.parse_args()
    asyncio.run(main(options.switches, options.rate))
