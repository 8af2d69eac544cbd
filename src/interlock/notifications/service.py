"""Channels: added, tested, signed for, removed; and what is on its way through them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, Invalid, LimitReached, NotFound
from interlock.core.ids import new_id
from interlock.core.scope import Scope
from interlock.core.signing import Sealer
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.events.model import Envelope, event_types
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.notifications import contracts, signing, store
from interlock.notifications.model import (
    MAX_CHANNELS,
    Channel,
    ChannelKind,
    Delivery,
    SealedSecret,
    check_name,
    check_patterns,
    check_target,
)
from interlock.notifications.recording import delivery_of
from interlock.tenancy.service import Tenancy

LOOK_S = 0.05


class Positioned(Protocol):
    """A feed that can tell where it ends."""

    name: str

    async def last_position(self, scope: Scope) -> int: ...


class Notifications:
    """The use cases of channels. ``kinds`` says of each kind why it cannot be carried here; empty where it can.

    Where events go, and under which secret, is the owner's to say; everybody may test a channel and send again.
    """

    def __init__(
        self,
        database: Database,
        events: Events,
        inbox: Inbox,
        tenancy: Tenancy,
        sealer: Sealer,
        clock: Clock,
        feeds: Sequence[Positioned],
        kinds: Mapping[ChannelKind, str],
    ) -> None:
        self._database = database
        self._events = events
        self._inbox = inbox
        self._tenancy = tenancy
        self._sealer = sealer
        self._clock = clock
        self._feeds = feeds
        self._kinds = kinds
        self._wake: Callable[[], None] = lambda: None

    def on_work(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once there is something new to deliver."""
        self._wake = wake

    # --- channels ---

    async def add(self, scope: Scope, name: str, kind: ChannelKind, target: str, events: Sequence[str]) -> tuple[Channel, str]:
        """Make a channel; returns it with its signing secret, which is shown this once (empty for e-mail).

        Raises Forbidden ``owner_only``, Invalid (``channel_name``, ``channel_target``, ``event_pattern``,
        ``kind_unavailable``), Conflict ``channel_exists``, LimitReached ``too_many_channels``.
        """
        await self._tenancy.require_owner(scope, "add channels")
        if missing := self._kinds.get(kind, f"there is no kind of channel called {kind}"):
            raise Invalid("kind_unavailable", missing, where=kind, hint="see docs/settings.md")
        secret = signing.new_secret() if kind == "webhook" else ""
        channel = Channel(
            channel_id=new_id("chn"),
            name=check_name(name),
            kind=kind,
            target=check_target(kind, target),
            events=check_patterns(events, event_types()),
            state="active",
            created_at=self._now(),
            created_by=scope.principal,
        )
        async with self._database.write(scope) as session:
            channels = await store.all_channels(session.connection)
            if any(item.name == name for item in channels):
                raise Conflict("channel_exists", f"there is a channel {name} already", hint="choose another name, or remove it")
            if len(channels) >= MAX_CHANNELS:
                raise LimitReached("too_many_channels", f"there are {MAX_CHANNELS} channels", hint="remove one first")
            # Nobody else writes now, so what is committed is what lies before the channel.
            after = {feed.name: await feed.last_position(scope) for feed in self._feeds}
            channel = msgspec.structs.replace(channel, after=after)
            await store.add_channel(session.connection, channel, self._sealed(scope, channel, secret))
            fields = {field: getattr(channel, field) for field in ("channel_id", "name", "kind", "events")}
            data = contracts.ChannelAdded(target=channel.shown_target, **fields)
            await self._events.publish(session, data, subject=channel.subject)
        return channel, secret

    async def channels(self, scope: Scope) -> list[Channel]:
        """All channels, by name."""
        async with self._database.read(scope) as connection:
            return await store.all_channels(connection)

    async def channel(self, scope: Scope, name: str) -> Channel:
        """Raises NotFound ``channel``."""
        async with self._database.read(scope) as connection:
            return _found(await store.channel_named(connection, name), name)

    async def remove(self, scope: Scope, name: str) -> Channel:
        """Take a channel away; what was still on its way is cancelled, and stays in the list. Raises Forbidden ``owner_only``,
        NotFound ``channel``."""
        await self._tenancy.require_owner(scope, "remove channels")
        async with self._database.write(scope) as session:
            channel = _found(await store.channel_named(session.connection, name), name)
            await store.remove_channel(session.connection, channel.channel_id)
            for item in await store.deliveries_of(session.connection, channel.channel_id, "pending"):
                ended = msgspec.structs.replace(item, state="cancelled", ended_at=self._now(), error="the channel was removed")
                await store.save_delivery(session.connection, ended)
            await self._tell(session, channel, "removed")
            await self._inbox.withdraw(session, channel.subject, "the channel was removed")
        return channel

    async def rotate(self, scope: Scope, name: str, overlap: timedelta) -> tuple[Channel, str]:
        """A new secret, shown this once. For ``overlap`` everything is signed with the one before too.

        Raises Forbidden ``owner_only``, NotFound ``channel``, and Invalid ``no_secret`` for a channel that has none.
        """
        await self._tenancy.require_owner(scope, "make new signing secrets")
        async with self._database.write(scope) as session:
            channel = _found(await store.channel_named(session.connection, name), name)
            found = await store.channel_with_secrets(session.connection, channel.channel_id)
            if channel.kind != "webhook" or found is None:
                raise Invalid("no_secret", f"{name} is a channel by {channel.kind}: nothing is signed")
            secret = signing.new_secret()
            until = to_text(self._clock.now() + overlap)
            before = tuple(msgspec.structs.replace(item, until=until) for item in found[1] if not item.until)
            secrets = (*self._sealed(scope, channel, secret), *before)
            await store.save_secrets(session.connection, channel.channel_id, secrets)
            await self._tell(session, channel, "secret_rotated", f"the one before is valid until {until}")
        return channel, secret

    async def enable(self, scope: Scope, name: str) -> Channel:
        """Deliver to a disabled channel again, what happens from now on. Raises Forbidden ``owner_only``, NotFound
        ``channel``."""
        await self._tenancy.require_owner(scope, "enable channels")
        async with self._database.write(scope) as session:
            channel = _found(await store.channel_named(session.connection, name), name)
            if channel.state == "active":
                return channel
            channel = msgspec.structs.replace(channel, state="active", reason="")
            await store.save_channel(session.connection, channel)
            await self._tell(session, channel, "enabled")
        return channel

    async def test(self, scope: Scope, name: str) -> Delivery:
        """Send a test event to the channel, whatever its patterns. Raises NotFound, Conflict ``channel_disabled``."""
        async with self._database.write(scope) as session:
            channel = _found(await store.channel_named(session.connection, name), name)
            _check_enabled(channel)
            message = f"{scope.principal} tests the channel {name}; nothing happened."
            data = contracts.ChannelTested(channel_id=channel.channel_id, name=name, message=message)
            envelope: Envelope = await self._events.publish(session, data, subject=channel.subject)
            item, body = delivery_of(scope.tenant, channel, envelope, self._now())
            await store.add_delivery(session.connection, item, body)
            session.after_commit(self._wake)
        return item

    async def tried(self, scope: Scope, delivery_id: str, limit_s: float) -> Delivery:
        """The delivery once it is known what came of its first attempt, or after ``limit_s`` seconds."""
        deadline = self._clock.monotonic() + limit_s
        while True:
            item = await self.delivery(scope, delivery_id)
            if item.was_tried or self._clock.monotonic() > deadline:
                return item
            await asyncio.sleep(LOOK_S)

    # --- deliveries ---

    async def deliveries(
        self, scope: Scope, channel: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[Delivery]:
        """Deliveries, newest first. Raises NotFound ``channel`` for a name that does not exist."""
        async with self._database.read(scope) as connection:
            found = _found(await store.channel_named(connection, channel), channel) if channel is not None else None
            return await store.listing(connection, found.channel_id if found else None, state, limit)

    async def delivery(self, scope: Scope, delivery_id: str) -> Delivery:
        """Raises NotFound ``delivery``."""
        async with self._database.read(scope) as connection:
            found = await store.delivery(connection, delivery_id)
        if found is None:
            raise _no_delivery(delivery_id)
        return found[0]

    async def counts(self, scope: Scope) -> dict[str, int]:
        """How many deliveries are in each state."""
        async with self._database.read(scope) as connection:
            return await store.counts(connection)

    async def redrive(self, scope: Scope, delivery_id: str) -> Delivery:
        """Try a dead delivery from the beginning. Raises NotFound, Conflict ``not_dead`` and ``channel_disabled``."""
        async with self._database.write(scope) as session:
            found = await store.delivery(session.connection, delivery_id)
            if found is None:
                raise _no_delivery(delivery_id)
            item = found[0]
            if item.state != "dead":
                raise Conflict("not_dead", f"{delivery_id} is {item.state}: only what is dead is sent again")
            owner = await store.channel_with_secrets(session.connection, item.channel_id)
            if owner is None:
                raise Conflict("channel_removed", f"the channel {item.channel} of {delivery_id} was removed")
            return (await self._redrive(session, owner[0], [item]))[0]

    async def redrive_all(self, scope: Scope, name: str) -> list[Delivery]:
        """Try every dead delivery of a channel from the beginning."""
        async with self._database.write(scope) as session:
            channel = _found(await store.channel_named(session.connection, name), name)
            return await self._redrive(
                session, channel, await store.deliveries_of(session.connection, channel.channel_id, "dead")
            )

    async def _redrive(self, session: Session, channel: Channel, items: Sequence[Delivery]) -> list[Delivery]:
        _check_enabled(channel)
        again = [
            msgspec.structs.replace(
                item, state="pending", due_at=self._now(), attempts=0, ended_at="", redriven=item.redriven + 1
            )
            for item in items
        ]
        for item in again:
            await store.save_delivery(session.connection, item)
        if again:
            ids = tuple(item.delivery_id for item in again)
            data = contracts.DeliveriesRedriven(channel_id=channel.channel_id, name=channel.name, deliveries=ids)
            await self._events.publish(session, data, subject=channel.subject)
            session.after_commit(self._wake)
        return again

    async def forget(self, scope: Scope, age: timedelta) -> int:
        """Remove what ended longer than ``age`` ago; returns how many deliveries that were."""
        async with self._database.write(scope) as session:
            return await store.forget_before(session.connection, to_text(self._clock.now() - age))

    # --- inside ---

    def _sealed(self, scope: Scope, channel: Channel, secret: str) -> tuple[SealedSecret, ...]:
        if not secret:
            return ()
        return (SealedSecret(sealed=self._sealer.seal(scope.tenant, channel.channel_id, secret.encode())),)

    async def _tell(self, session: Session, channel: Channel, change: str, reason: str = "") -> None:
        data = contracts.ChannelChanged(channel_id=channel.channel_id, name=channel.name, change=change, reason=reason)
        await self._events.publish(session, data, subject=channel.subject)

    def _now(self) -> str:
        return to_text(self._clock.now())


def _found(channel: Channel | None, name: str | None) -> Channel:
    if channel is None:
        raise NotFound("channel", f"there is no channel {name}", hint="see: interlock notify list")
    return channel


def _no_delivery(delivery_id: str) -> NotFound:
    return NotFound("delivery", f"there is no delivery {delivery_id}", hint="see: interlock notify deliveries")


def _check_enabled(channel: Channel) -> None:
    if channel.state == "disabled":
        hint = f"interlock notify enable {channel.name}"
        raise Conflict("channel_disabled", f"{channel.name} is disabled: {channel.reason}", hint=hint)
