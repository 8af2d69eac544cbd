"""What delivery needs from the outside: a forwarder that carries the traffic and measures it."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from interlock.core.addresses import Address
from interlock.delivery.model import Share, Shares

LegKind = Literal["stable", "candidate"]


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One listening address of a service in an environment: ``stable`` carries traffic, ``candidate`` only checks.

    ``route`` is ``service.environment``; ``port`` is where the leg listens on 127.0.0.1.
    """

    route: str
    kind: LegKind
    port: int


class LegStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a leg leads now, by address. ``marker`` is the key of the call that pointed it there."""

    leg: Leg
    shares: Shares
    marker: str


class LegCounters(msgspec.Struct, frozen=True, kw_only=True):
    """Counted by the forwarder since ``generation`` began (a new one when the forwarder was started anew).

    ``server_errors`` are answers with status 500 to 599, among them the forwarder's own 502 and 503. ``buckets`` maps an upper
    bound in seconds (``inf`` the last) to the cumulative number of requests answered within it.
    """

    generation: str
    requests: int
    server_errors: int
    buckets: dict[str, int]


class Forwarder(Protocol):
    """A reverse proxy that outlives the control plane. Switching traffic is re-pointing a leg."""

    async def ensure(self) -> None:
        """Make sure that it runs, with the configuration it had last. Raises Unavailable ``forwarder_down`` with the reason."""
        ...

    async def point(self, leg: Leg, shares: Sequence[Share], marker: str) -> None:
        """Lead ``leg`` to addresses, or to nowhere. Idempotent; requests under way finish where they began. Each
        hundred requests are split exactly, and evenly over the hundred.

        Re-pointing a leg that listens already breaks no connection. The first pointing, another ``leg.port`` and `remove`
        change what the forwarder listens on: then idle connections of every leg are closed, and a request that arrives in that
        instant may be lost. So a leg that will be used again is better led nowhere than removed.

        Raises Invalid ``shares`` unless they make 100 percent of different addresses, Conflict ``port_taken`` when the leg
        cannot listen, Unavailable ``forwarder_down``.
        """
        ...

    async def read(self, route: str, kind: LegKind) -> LegStatus | None:
        """Where the leg leads according to the forwarder itself; None where it has no such leg."""
        ...

    async def list(self) -> list[LegStatus]:
        """Every leg, as the forwarder itself has it."""
        ...

    async def remove(self, route: str, kind: LegKind) -> None:
        """Take the leg away; its port is free afterwards. Idempotent."""
        ...

    async def measure(self, route: str, kind: LegKind) -> LegCounters:
        """The counters of one leg. Raises Unavailable ``forwarder_down``; a leg without traffic has zeros."""
        ...

    async def open_connections(self, address: Address) -> int:
        """How many connections this host holds to ``address``; 0 means that nothing is under way there any more."""
        ...


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One number that was asked for. ``value`` is None where it cannot be told, and ``reason`` says why, for people.

    ``samples`` is how many samples or lines stand behind it, ``age_s`` how old the newest of the oldest input is, None where
    that has no meaning. ``is_at_least``: the true value may be higher, ``reason`` says why. ``warnings`` are the source's own.
    """

    value: float | None
    reason: str = ""
    samples: int = 0
    age_s: float | None = None
    is_at_least: bool = False
    warnings: tuple[str, ...] = ()


class MetricSource(Protocol):
    """Answers queries in PromQL."""

    async def query(self, promql: str) -> Measurement:
        """The one value that the query has now.

        Never raises for what the source does. It cannot be told where the source is away, slow or talks nonsense, where the
        query is wrong, where it gives no sample or several series, where the value is not finite, and where what it was
        computed from is too old.
        """
        ...


class MetricPages(Protocol):
    """Reads numbers from the page that a service itself offers, in the text format of Prometheus or OpenMetrics."""

    async def sample(self, url: str, name: str) -> Measurement:
        """The sum over the series called ``name``, such as ``queue_depth{queue="mail"}``, with the matchers of PromQL.

        Raises Invalid ``metric_name`` for what is no such name, and nothing for what the service does.
        """
        ...
