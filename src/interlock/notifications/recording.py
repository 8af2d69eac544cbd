"""From events to deliveries: one row for each event that a channel asks for, in the commit that passes the event by."""

from collections.abc import Callable, Sequence

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.ids import new_id
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.events.model import Envelope
from interlock.notifications import store
from interlock.notifications.model import Channel, Delivery, matches


class DeliveryRecorder:
    """`events.service.Recorder`: the place of the subscription and the deliveries are durable together, or neither is."""

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake

    async def wanted(self, scope: Scope, feed: str, entries: Sequence[tuple[int, Envelope]]) -> bool:
        # A channel that is not there yet was added after these events, and gets none of them.
        async with self._database.read(scope) as connection:
            channels = await store.all_channels(connection)
        return any(_asks(channel, feed, position, event) for channel in channels for position, event in entries)

    async def record(self, session: Session, feed: str, entries: Sequence[tuple[int, Envelope]]) -> None:
        at = to_text(self._clock.now())
        for channel in await store.all_channels(session.connection):
            for position, event in entries:
                if _asks(channel, feed, position, event):
                    await store.add_delivery(session.connection, *delivery_of(session.scope.tenant, channel, event, at))
        session.after_commit(self._wake)


def delivery_of(tenant: str, channel: Channel, event: Envelope, at: str) -> tuple[Delivery, bytes]:
    """The delivery of an event to a channel, due at once, and the bytes that will be sent."""
    item = Delivery(
        delivery_id=new_id("dlv"),
        channel_id=channel.channel_id,
        channel=channel.name,
        event_id=event.event_id,
        event_type=event.event_type,
        subject=event.subject,
        state="pending",
        created_at=at,
        due_at=at,
    )
    return item, msgspec.json.encode(event.cloud_event(tenant))


def _asks(channel: Channel, feed: str, position: int, event: Envelope) -> bool:
    # A channel in trouble must not be told of its own trouble: that would be trouble again.
    is_about_itself = event.subject == channel.subject
    is_later = position > channel.after.get(feed, 0)
    return channel.state == "active" and is_later and not is_about_itself and matches(channel.events, event.event_type)
