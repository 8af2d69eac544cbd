"""The forwarder in memory, and what every `Forwarder` must do."""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from math import inf

from interlock.core.addresses import Address, local
from interlock.core.errors import Conflict, InterlockError, Invalid, Unavailable
from interlock.delivery.model import Share, Shares, check_shares, evenly
from interlock.delivery.ports import Forwarder, Leg, LegCounters, LegKind, LegStatus

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, inf)


class FakeForwarder:
    """A `Forwarder` without sockets. Script it: ``upstreams`` maps a port of this host to the status it answers with,
    ``taken_ports`` are in use by others, ``connections`` are open to an address, ``defect`` (a reason) keeps it from starting;
    `request` and `count` make traffic, `kill` ends it.
    """

    def __init__(self) -> None:
        self.upstreams: dict[int, int] = {}
        self.taken_ports: set[int] = set()
        self.defect = ""
        self.connections: dict[Address, int] = {}
        self._legs: dict[tuple[str, str], LegStatus] = {}
        self._latencies_s: dict[tuple[str, str], list[float]] = {}
        self._server_errors: dict[tuple[str, str], int] = {}
        self._generation = 0
        self._is_running = False

    async def ensure(self) -> None:
        if self._is_running:
            return
        if self.defect:
            raise Unavailable("forwarder_down", f"the forwarder did not start: {self.defect}")
        self._is_running = True
        self._generation += 1

    async def point(self, leg: Leg, shares: Sequence[Share], marker: str) -> None:
        check_shares(shares)
        self._check_running()
        others = {status.leg.port for name, status in self._legs.items() if name != (leg.route, leg.kind)}
        if leg.port in self.taken_ports | others:
            raise Conflict("port_taken", f"port {leg.port} of 127.0.0.1 is taken", port=leg.port)
        self._legs[leg.route, leg.kind] = LegStatus(leg=leg, shares=tuple(sorted(shares)), marker=marker)

    async def read(self, route: str, kind: LegKind) -> LegStatus | None:
        self._check_running()
        return self._legs.get((route, kind))

    async def list(self) -> list[LegStatus]:
        self._check_running()
        return [status for _, status in sorted(self._legs.items())]

    async def remove(self, route: str, kind: LegKind) -> None:
        self._check_running()
        self._legs.pop((route, kind), None)

    async def measure(self, route: str, kind: LegKind) -> LegCounters:
        self._check_running()
        latencies_s = self._latencies_s.get((route, kind), [])
        buckets = {f"{bound:g}": sum(latency <= bound for latency in latencies_s) for bound in _BOUNDS_S}
        return LegCounters(
            generation=str(self._generation),
            requests=len(latencies_s),
            server_errors=self._server_errors.get((route, kind), 0),
            buckets=buckets,
        )

    async def open_connections(self, address: Address) -> int:
        return self.connections.get(address, 0)

    def request(self, route: str, kind: LegKind, latency_s: float = 0.001) -> int:
        """One request comes to the leg, and is counted; the status that it gets."""
        slots = [share.address for share in self._legs[route, kind].shares for _ in range(share.percent)]
        # Any order that keeps the shares of each hundred will do.
        turn = len(self._latencies_s.get((route, kind), [])) * 7 % 100
        address = slots[turn] if slots else None
        behind = next((status.leg for status in self._legs.values() if local(status.leg.port) == address), None)
        if behind is not None:
            status = self.request(behind.route, behind.kind, latency_s)
        elif address is None:
            status = 503
        else:
            status = self.upstreams.get(address.port, 502) if address == local(address.port) else 502
        self.count(route, kind, requests=1, server_errors=int(status >= 500), latency_s=latency_s)
        return status

    def count(self, route: str, kind: LegKind, *, requests: int, server_errors: int = 0, latency_s: float = 0.001) -> None:
        """So many requests have come, all answered after ``latency_s``; ``server_errors`` of them with status 500 to 599."""
        self._latencies_s.setdefault((route, kind), []).extend([latency_s] * requests)
        self._server_errors[route, kind] = self._server_errors.get((route, kind), 0) + server_errors

    def kill(self) -> None:
        """It ends by itself: `ensure` starts it again with the same legs and new counters."""
        self._is_running = False
        self._latencies_s.clear()
        self._server_errors.clear()

    def _check_running(self) -> None:
        if not self._is_running:
            raise Unavailable("forwarder_down", "the forwarder does not answer")


def whole(port: int) -> Shares:
    """Everything to one port of this host."""
    return evenly([local(port)])


def free_port() -> int:
    """A port of 127.0.0.1 where nothing listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _refused(kind: type[InterlockError], code: str, word: str = "") -> Generator[None]:
    try:
        yield
    except kind as error:
        if error.code == code and word in error.message:
            return
        raise
    raise AssertionError(f"not refused as {code}")


class ForwarderBehaviour(ABC):
    """What every `Forwarder` must do. A subclass has the fixtures ``forwarder`` (never started) and ``upstream`` (a port of
    something that answers 200), and says how to make a request and how to kill it.
    """

    @abstractmethod
    async def request(self, forwarder: Forwarder, leg: Leg) -> int:
        """Make one GET request to the leg; the status of the answer."""

    @abstractmethod
    async def kill(self, forwarder: Forwarder) -> None:
        """End it without warning, for good unless `ensure` starts it."""

    async def test_it_is_down_until_it_is_ensured(self, forwarder: Forwarder) -> None:
        with _refused(Unavailable, "forwarder_down"):
            await forwarder.list()
        await asyncio.gather(forwarder.ensure(), forwarder.ensure())
        assert await forwarder.list() == []

    async def test_a_leg_leads_where_it_is_pointed_and_says_who_pointed_it(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        leg = Leg(route="shop.prod", kind="stable", port=free_port())
        steps: tuple[tuple[Shares, str, int], ...] = (
            ((), "call-1", 503),
            (whole(upstream), "call-2", 200),
            ((), "call-3", 503),
        )
        for shares, marker, status in steps:
            await forwarder.point(leg, shares, marker)
            assert await self.request(forwarder, leg) == status
            expected = LegStatus(leg=leg, shares=shares, marker=marker)
            assert await forwarder.read("shop.prod", "stable") == expected
            assert await forwarder.list() == [expected]

    async def test_shares_of_a_leg_are_kept_to_the_percent(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        leg = Leg(route="shop.prod", kind="stable", port=free_port())
        other = free_port()
        for percent in (1, 10, 33, 99):
            shares = (Share(port=upstream, percent=100 - percent), Share(port=other, percent=percent))
            await forwarder.point(leg, shares, f"call-{percent}")
            status = await forwarder.read("shop.prod", "stable")
            assert status is not None
            assert set(status.shares) == set(shares)

    async def test_a_split_reaches_every_port_as_often_as_its_share_says(self, forwarder: Forwarder, upstream: int) -> None:
        """Through a second leg that leads to the upstream: what each of them got is counted."""
        await forwarder.ensure()
        candidate = Leg(route="shop.prod", kind="candidate", port=free_port())
        stable = Leg(route="shop.prod", kind="stable", port=free_port())
        await forwarder.point(candidate, whole(upstream), "call-1")
        shares = (Share(port=upstream, percent=80), Share(port=candidate.port, percent=20))
        await forwarder.point(stable, shares, "call-2")
        statuses = {await self.request(forwarder, stable) for _ in range(100)}
        assert statuses == {200}
        assert (await forwarder.measure("shop.prod", "stable")).requests == 100
        assert (await forwarder.measure("shop.prod", "candidate")).requests == 20

    async def test_the_same_port_of_another_host_is_another_place(self, forwarder: Forwarder, upstream: int) -> None:
        """Nothing listens there: whoever led the request to this host instead would get an answer."""
        await forwarder.ensure()
        leg = Leg(route="shop.prod", kind="stable", port=free_port())
        elsewhere = Share(host="127.0.0.9", port=upstream, percent=100)
        both = (Share(port=upstream, percent=50), Share(host="127.0.0.9", port=upstream, percent=50))
        for shares, statuses in (((elsewhere,), {502}), (both, {200, 502}), (whole(upstream), {200})):
            await forwarder.point(leg, shares, "call-1")
            status = await forwarder.read("shop.prod", "stable")
            assert status is not None
            assert set(status.shares) == set(shares)
            assert {await self.request(forwarder, leg) for _ in range(10)} <= statuses

    async def test_a_host_is_an_address_and_nothing_else(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        leg = Leg(route="shop.prod", kind="stable", port=free_port())
        for host in ("", "localhost", "{env.HOME}", "10.0.0.1 9", "10.0.0.1:9", "0.0.0.0", "010.0.0.1", "::1", "10.0.0.1\n"):  # noqa: S104
            with _refused(Invalid, "shares"):
                await forwarder.point(leg, [Share(host=host, port=upstream, percent=100)], "call-1")

    async def test_what_is_no_whole_is_refused(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        leg = Leg(route="shop.prod", kind="stable", port=free_port())
        other = free_port()
        for percents in ((50, 40), (100, 1), (100, 0), (-1, 101)):
            shares = [Share(port=port, percent=percent) for port, percent in zip((upstream, other), percents, strict=True)]
            with _refused(Invalid, "shares"):
                await forwarder.point(leg, shares, "call-1")
        with _refused(Invalid, "shares"):
            await forwarder.point(leg, [Share(port=upstream, percent=50)] * 2, "call-1")

    async def test_nothing_is_under_way_to_a_port_that_nobody_uses(self, forwarder: Forwarder) -> None:
        assert await forwarder.open_connections(local(free_port())) == 0

    async def test_an_unknown_leg_is_nothing(self, forwarder: Forwarder) -> None:
        await forwarder.ensure()
        assert await forwarder.read("shop.prod", "candidate") is None
        await forwarder.remove("shop.prod", "candidate")
        counters = await forwarder.measure("shop.prod", "candidate")
        assert (counters.requests, counters.server_errors, counters.buckets["inf"]) == (0, 0, 0)

    async def test_every_request_is_counted_across_re_pointing(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        leg = Leg(route="shop.prod", kind="stable", port=free_port())
        await forwarder.point(leg, whole(upstream), "call-1")
        before = await forwarder.measure("shop.prod", "stable")
        statuses: list[int] = []
        for shares in (whole(upstream), whole(upstream), (), whole(free_port())):
            await forwarder.point(leg, shares, "call-2")
            statuses.append(await self.request(forwarder, leg))
        after = await forwarder.measure("shop.prod", "stable")
        assert statuses == [200, 200, 503, 502]
        assert after.generation == before.generation
        assert (after.requests, after.server_errors) == (4, 2)
        counts = [after.buckets[bound] for bound in sorted(after.buckets, key=float)]
        assert counts == sorted(counts)
        assert counts[-1] == 4

    async def test_legs_pointed_at_once_are_all_there_and_counted_apart(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        kinds: tuple[LegKind, LegKind] = ("candidate", "stable")
        legs = [Leg(route=f"s{number}.dev", kind=kind, port=free_port()) for number in range(3) for kind in kinds]
        await asyncio.gather(*(forwarder.point(leg, whole(upstream), f"call-{leg.port}") for leg in legs))
        assert [status.leg for status in await forwarder.list()] == legs
        assert await self.request(forwarder, legs[0]) == 200
        counted = [(await forwarder.measure(leg.route, leg.kind)).requests for leg in legs]
        assert counted == [1, 0, 0, 0, 0, 0]

    async def test_a_taken_port_is_refused_and_what_was_stays(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        stable = Leg(route="shop.prod", kind="stable", port=free_port())
        await forwarder.point(stable, whole(upstream), "call-1")
        candidate = Leg(route="shop.prod", kind="candidate", port=stable.port)
        with _refused(Conflict, "port_taken", str(stable.port)):
            await forwarder.point(candidate, whole(upstream), "call-2")
        assert [status.marker for status in await forwarder.list()] == ["call-1"]
        assert await self.request(forwarder, stable) == 200

    async def test_a_leg_can_move_to_another_port_and_go(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        old, new = (Leg(route="shop.prod", kind="stable", port=free_port()) for _ in range(2))
        await forwarder.point(old, whole(upstream), "call-1")
        await forwarder.point(new, whole(upstream), "call-2")
        assert await self.request(forwarder, new) == 200
        assert [status.leg for status in await forwarder.list()] == [new]
        other = Leg(route="blog.prod", kind="stable", port=old.port)
        await forwarder.point(other, whole(upstream), "call-3")
        await forwarder.remove("shop.prod", "stable")
        await forwarder.remove("shop.prod", "stable")
        assert [status.leg for status in await forwarder.list()] == [other]
        await forwarder.point(Leg(route="blog.prod", kind="candidate", port=new.port), (), "call-4")

    async def test_killed_it_comes_back_with_the_same_legs_and_new_counters(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        leg = Leg(route="shop.prod", kind="stable", port=free_port())
        await forwarder.point(leg, whole(upstream), "call-1")
        assert await self.request(forwarder, leg) == 200
        legs, counters = await forwarder.list(), await forwarder.measure("shop.prod", "stable")
        await self.kill(forwarder)
        with _refused(Unavailable, "forwarder_down"):
            await forwarder.point(leg, (), "call-2")
        await forwarder.ensure()
        assert await forwarder.list() == legs
        assert await self.request(forwarder, leg) == 200
        anew = await forwarder.measure("shop.prod", "stable")
        assert anew.generation != counters.generation
        assert anew.requests == 1
