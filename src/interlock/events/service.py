"""Publishing inside the transaction of the change, and dispatching to handlers in this process."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Unavailable
from interlock.core.ids import new_id
from interlock.core.scope import Scope
from interlock.db.database import STORAGE, Database
from interlock.db.session import Session
from interlock.events import store
from interlock.events.model import Envelope, EventData
from interlock.events.ports import Feed, Handler

log = structlog.get_logger(__name__)

BATCH = 200
MAX_TRIES = 8
IDLE_POLL_S = 5.0


class Recorder(Protocol):
    """Writes down what follows from events, in the very transaction that moves its place: each event counts exactly once."""

    async def wanted(self, scope: Scope, feed: str, entries: Sequence[tuple[int, Envelope]]) -> bool:
        """Whether any of these (position in ``feed``, event) matters; nothing is committed for what does not."""
        ...

    async def record(self, session: Session, feed: str, entries: Sequence[tuple[int, Envelope]]) -> None:
        """Write what follows from them; the database is all that may be awaited."""
        ...


@dataclass(slots=True)
class _Subscription:
    """It has a ``handler`` for ``event_types``, or a ``recorder`` for all."""

    name: str
    feed: Feed
    event_types: frozenset[str]
    handler: Handler | None = None
    recorder: Recorder | None = None
    lane: str = ""
    position: int = 0
    saved: int = 0
    failures: int = 0
    not_before: float = 0.0


class _Reader:
    """Reads a feed once for all subscriptions that stand at the same place, as most do: for one round of the dispatch."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._batches: dict[tuple[str, int], list[tuple[int, Envelope | None]]] = {}

    async def after(self, feed: Feed, position: int) -> list[tuple[int, Envelope | None]]:
        place = feed.name, position
        if place not in self._batches:
            self._batches[place] = await feed.after(self._scope, position, BATCH)
        return self._batches[place]


class EventsFeed:
    """The events table, to be dispatched (`events.ports.Feed`) and to be sealed (`audit.ports.RecordedFeed`)."""

    name = store.FEED

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, scope: Scope, position: int, limit: int) -> list[tuple[int, Envelope | None]]:
        async with self._database.read(scope) as connection:
            return await store.after(connection, position, limit)

    async def content(self, scope: Scope, first: int, last: int) -> list[tuple[int, bytes]]:
        async with self._database.read(scope) as connection:
            return await store.content(connection, first, last)

    async def last_position(self, scope: Scope) -> int:
        async with self._database.read(scope) as connection:
            return await store.last_position(connection)


class Events:
    """Publishes into the events table, and carries committed events to the subscribed handlers, in order, at least once."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._subscriptions: list[_Subscription] = []
        self._wakes: dict[str, asyncio.Event] = {}
        """One for each lane that is being dispatched."""
        self.feed = EventsFeed(database)

    async def publish(self, session: Session, data: EventData, *, subject: str, project_id: str = "") -> Envelope:
        """Write the event in ``session``'s transaction: it exists if and only if the change is committed."""
        scope = session.scope
        envelope = Envelope(
            event_id=new_id("evt"),
            event_type=data.event_type,
            version=data.contract_version,
            subject=subject,
            timestamp=to_text(self._clock.now()),
            originating_agent=scope.principal,
            origin=scope.origin,
            correlation_id=scope.correlation_id,
            trace_id=scope.trace_id,
            project_id=project_id,
            data=msgspec.to_builtins(data),
        )
        await session.connection.run_sync(lambda _: store.append(session, envelope))
        session.after_commit(self.wake)
        return envelope

    async def about(self, scope: Scope, subject: str, limit: int = 500) -> list[Envelope]:
        """What happened to ``subject``, oldest first."""
        async with self._database.read(scope) as connection:
            return await store.about(connection, subject, limit)

    async def dead_letter_count(self, scope: Scope) -> int:
        """How many events could not be handled."""
        async with self._database.read(scope) as connection:
            return await store.count_dead(connection)

    def wake(self) -> None:
        """There is something new in a feed that this service does not write itself."""
        for wake in self._wakes.values():
            wake.set()

    def subscribe(
        self,
        name: str,
        handler: Handler,
        *event_types: type[EventData] | str,
        feed: Feed | None = None,
        lane: str = "",
    ) -> None:
        """Call ``handler`` for each event of these types; ``name`` keeps its place over restarts. One that may take its time
        has a ``lane`` of its own: the others do not wait for it."""
        names = frozenset(item if isinstance(item, str) else item.event_type for item in event_types)
        self._subscriptions.append(_Subscription(name, feed or self.feed, names, handler, lane=lane))

    def subscribe_inside(self, name: str, recorder: Recorder, feed: Feed | None = None) -> None:
        """Let ``recorder`` write down, batch by batch, what follows from every event; ``name`` keeps its place."""
        self._subscriptions.append(_Subscription(name, feed or self.feed, frozenset(), recorder=recorder))

    async def dispatch(self, scope: Scope) -> None:
        """Carry events to handlers until cancelled: lane beside lane, and in a lane one after the other."""
        lanes = dict.fromkeys(subscription.lane for subscription in self._subscriptions)
        await asyncio.gather(*(self._dispatch_lane(scope, lane) for lane in lanes or [""]))

    async def _dispatch_lane(self, scope: Scope, lane: str) -> None:
        wake = self._wakes[lane] = asyncio.Event()
        subscriptions = [subscription for subscription in self._subscriptions if subscription.lane == lane]
        is_placed = False
        while True:
            wake.clear()
            try:
                if not is_placed:
                    await self._load_places(scope, subscriptions)
                    is_placed = True
                read = _Reader(scope)
                waits = [await self._advance(scope, subscription, read) for subscription in subscriptions]
            except Exception:
                # Storage that does not answer must not end the dispatch: it goes on where it stood.
                log.exception("events.dispatch_failed")
                waits = [1.0]
            if min(waits, default=IDLE_POLL_S) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(waits, default=IDLE_POLL_S)):
                        await wake.wait()

    async def _load_places(self, scope: Scope, subscriptions: Sequence[_Subscription]) -> None:
        async with self._database.read(scope) as connection:
            positions = await store.load_cursors(connection)
        for subscription in subscriptions:
            subscription.position = subscription.saved = positions.get(subscription.name, 0)

    async def _advance(self, scope: Scope, subscription: _Subscription, read: _Reader) -> float:
        """Handle one batch; returns the seconds until there may be more to do (0 for at once)."""
        if (pause := subscription.not_before - self._clock.monotonic()) > 0:
            return pause
        batch = await read.after(subscription.feed, subscription.position)
        if subscription.recorder is not None:
            return await self._record(scope, subscription, subscription.recorder, batch)
        for position, envelope in batch:
            if envelope is not None and envelope.event_type in subscription.event_types:
                if not await self._deliver(scope, subscription, position, envelope):
                    return subscription.not_before - self._clock.monotonic()
                await self._save(scope, subscription, position)
            subscription.position = position
        # Passing by what is nobody's business is not worth a commit each time: it would only be passed by again.
        if subscription.position - subscription.saved >= BATCH:
            await self._save(scope, subscription, subscription.position)
        return 0.0 if len(batch) == BATCH else IDLE_POLL_S

    async def _record(
        self, scope: Scope, subscription: _Subscription, recorder: Recorder, batch: list[tuple[int, Envelope | None]]
    ) -> float:
        if not batch:
            return IDLE_POLL_S
        feed, last = subscription.feed.name, batch[-1][0]
        entries = [(position, envelope) for position, envelope in batch if envelope is not None]
        try:
            if entries and await recorder.wanted(scope, feed, entries):
                async with self._database.write(scope) as session:
                    await recorder.record(session, feed, entries)
                    await store.save_cursor(session, subscription.name, last)
                subscription.saved = last
        except Exception as error:
            if not self._gives_up(subscription, error, "a batch"):
                return subscription.not_before - self._clock.monotonic()
            async with self._database.write(scope) as session:
                for position, envelope in entries:
                    await store.bury(session, subscription.name, position, to_text(self._clock.now()), repr(error), envelope)
                await store.save_cursor(session, subscription.name, last)
            subscription.saved = last
        subscription.failures, subscription.position = 0, last
        if last - subscription.saved >= BATCH:
            await self._save(scope, subscription, last)
        return 0.0 if len(batch) == BATCH else IDLE_POLL_S

    def _gives_up(self, subscription: _Subscription, error: Exception, event_type: str) -> bool:
        """Count a failure; whether it was the last one. If it was not, the subscription pauses."""
        subscription.failures += 1
        log.exception("events.handler_failed", subscription=subscription.name, event_type=event_type)
        # Storage that does not answer is nothing that a later event would be spared: it is waited for.
        is_stuck = isinstance(error, Unavailable) and error.code == STORAGE
        if subscription.failures < MAX_TRIES or is_stuck:
            subscription.not_before = self._clock.monotonic() + min(60.0, 0.5 * 2**subscription.failures)
            return False
        return True

    async def _deliver(self, scope: Scope, subscription: _Subscription, position: int, envelope: Envelope) -> bool:
        assert subscription.handler is not None  # noqa: S101 - one of the two kinds, told apart before
        caller = Scope(
            tenant=scope.tenant,
            principal=f"system:{subscription.name}",
            origin="event",
            correlation_id=envelope.correlation_id,
            trace_id=envelope.trace_id,
        )
        try:
            await subscription.handler(caller, envelope)
        except Exception as error:
            if not self._gives_up(subscription, error, envelope.event_type):
                return False
            async with self._database.write(scope) as session:
                at = to_text(self._clock.now())
                await store.bury(session, subscription.name, position, at, repr(error), envelope)
        subscription.failures = 0
        return True

    async def _save(self, scope: Scope, subscription: _Subscription, position: int) -> None:
        async with self._database.write(scope) as session:
            await store.save_cursor(session, subscription.name, position)
        subscription.saved = position
