"""The forwarder in memory, and what every `Forwarder` must do."""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from math import inf

from interlock.core.errors import Conflict, InterlockError, Unavailable
from interlock.delivery.ports import Forwarder, Leg, LegCounters, LegKind, LegStatus

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, inf)


class FakeForwarder:
    """A `Forwarder` without sockets. Script it: ``upstreams`` maps a port to the status it answers with, ``taken_ports`` are in
    use by others, ``defect`` (a reason) keeps it from starting; `request` and `count` make traffic, `kill` ends it.
    """

    def __init__(self) -> None:
        self.upstreams: dict[int, int] = {}
        self.taken_ports: set[int] = set()
        self.defect = ""
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

    async def point(self, leg: Leg, upstream_port: int | None, marker: str) -> None:
        self._check_running()
        others = {status.leg.port for name, status in self._legs.items() if name != (leg.route, leg.kind)}
        if leg.port in self.taken_ports | others:
            raise Conflict("port_taken", f"port {leg.port} of 127.0.0.1 is taken", port=leg.port)
        self._legs[leg.route, leg.kind] = LegStatus(leg=leg, upstream_port=upstream_port, marker=marker)

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

    def request(self, route: str, kind: LegKind, latency_s: float = 0.001) -> int:
        """One request comes to the leg, and is counted; the status that it gets."""
        upstream_port = self._legs[route, kind].upstream_port
        status = 503 if upstream_port is None else self.upstreams.get(upstream_port, 502)
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
        for upstream_port, marker, status in ((None, "call-1", 503), (upstream, "call-2", 200), (None, "call-3", 503)):
            await forwarder.point(leg, upstream_port, marker)
            assert await self.request(forwarder, leg) == status
            expected = LegStatus(leg=leg, upstream_port=upstream_port, marker=marker)
            assert await forwarder.read("shop.prod", "stable") == expected
            assert await forwarder.list() == [expected]

    async def test_an_unknown_leg_is_nothing(self, forwarder: Forwarder) -> None:
        await forwarder.ensure()
        assert await forwarder.read("shop.prod", "candidate") is None
        await forwarder.remove("shop.prod", "candidate")
        counters = await forwarder.measure("shop.prod", "candidate")
        assert (counters.requests, counters.server_errors, counters.buckets["inf"]) == (0, 0, 0)

    async def test_every_request_is_counted_across_re_pointing(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        leg = Leg(route="shop.prod", kind="stable", port=free_port())
        await forwarder.point(leg, upstream, "call-1")
        before = await forwarder.measure("shop.prod", "stable")
        statuses: list[int] = []
        for upstream_port in (upstream, upstream, None, free_port()):
            await forwarder.point(leg, upstream_port, "call-2")
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
        await asyncio.gather(*(forwarder.point(leg, upstream, f"call-{leg.port}") for leg in legs))
        assert [status.leg for status in await forwarder.list()] == legs
        assert await self.request(forwarder, legs[0]) == 200
        counted = [(await forwarder.measure(leg.route, leg.kind)).requests for leg in legs]
        assert counted == [1, 0, 0, 0, 0, 0]

    async def test_a_taken_port_is_refused_and_what_was_stays(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        stable = Leg(route="shop.prod", kind="stable", port=free_port())
        await forwarder.point(stable, upstream, "call-1")
        candidate = Leg(route="shop.prod", kind="candidate", port=stable.port)
        with _refused(Conflict, "port_taken", str(stable.port)):
            await forwarder.point(candidate, upstream, "call-2")
        assert [status.marker for status in await forwarder.list()] == ["call-1"]
        assert await self.request(forwarder, stable) == 200

    async def test_a_leg_can_move_to_another_port_and_go(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        old, new = (Leg(route="shop.prod", kind="stable", port=free_port()) for _ in range(2))
        await forwarder.point(old, upstream, "call-1")
        await forwarder.point(new, upstream, "call-2")
        assert await self.request(forwarder, new) == 200
        assert [status.leg for status in await forwarder.list()] == [new]
        other = Leg(route="blog.prod", kind="stable", port=old.port)
        await forwarder.point(other, upstream, "call-3")
        await forwarder.remove("shop.prod", "stable")
        await forwarder.remove("shop.prod", "stable")
        assert [status.leg for status in await forwarder.list()] == [other]
        await forwarder.point(Leg(route="blog.prod", kind="candidate", port=new.port), None, "call-4")

    async def test_killed_it_comes_back_with_the_same_legs_and_new_counters(self, forwarder: Forwarder, upstream: int) -> None:
        await forwarder.ensure()
        leg = Leg(route="shop.prod", kind="stable", port=free_port())
        await forwarder.point(leg, upstream, "call-1")
        assert await self.request(forwarder, leg) == 200
        legs, counters = await forwarder.list(), await forwarder.measure("shop.prod", "stable")
        await self.kill(forwarder)
        with _refused(Unavailable, "forwarder_down"):
            await forwarder.point(leg, None, "call-2")
        await forwarder.ensure()
        assert await forwarder.list() == legs
        assert await self.request(forwarder, leg) == 200
        anew = await forwarder.measure("shop.prod", "stable")
        assert anew.generation != counters.generation
        assert anew.requests == 1
