"""The courier: takes what is due to its receivers, and keeps account of every attempt.

An attempt is durable before it is made, with the time at which the next one is due should nobody hear of this one again: so a
crash between any two lines costs at most a repetition, under the same id, and never an event.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime

import msgspec
import structlog

from interlock.core.clock import Clock, from_text, to_text
from interlock.core.errors import InterlockError
from interlock.core.scope import Scope
from interlock.core.signing import Sealer
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.notifications import contracts, signing, store, wording
from interlock.notifications.model import INTERRUPTED, Channel, ChannelKind, Delivery, Receipt, Schedule, SealedSecret
from interlock.notifications.ports import Carrier, Parcel

log = structlog.get_logger(__name__)

IDLE_POLL_S = 5.0
TROUBLE_PAUSE_S = 1.0
MARGIN_S = 5.0
"""How much longer than its time limit an attempt may be unheard of before it counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How deliveries are made: at most ``per_channel`` of one channel at the same time, each over within ``timeout_s``."""

    schedule: Schedule
    timeout_s: float = 10.0
    per_channel: int = 4
    domain: str = "localhost"
    """Names this installation in the ids of its mails."""


class Courier:
    """Delivers until cancelled. Each channel has its own places, so that a slow receiver holds up nobody else."""

    def __init__(
        self,
        database: Database,
        events: Events,
        inbox: Inbox,
        sealer: Sealer,
        clock: Clock,
        carriers: Mapping[ChannelKind, Carrier],
        terms: Terms,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._events = events
        self._inbox = inbox
        self._sealer = sealer
        self._clock = clock
        self._carriers = carriers
        self._terms = terms
        self._chance = chance
        self._wake = asyncio.Event()
        self._under_way: dict[str, set[str]] = {}

    def wake(self) -> None:
        """There is something new to deliver."""
        self._wake.set()

    async def run(self, scope: Scope) -> None:
        """Deliver what is due, and what becomes due."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._wake.clear()
                pause_s = TROUBLE_PAUSE_S
                try:
                    for channel_id, delivery_id in await self._due(scope):
                        self._under_way.setdefault(channel_id, set()).add(delivery_id)
                        task = asyncio.create_task(self._attempt(scope, channel_id, delivery_id))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                    pause_s = await self._pause_s(scope)
                except Exception:
                    # Storage that does not answer must not end the deliveries: they go on where they stood.
                    log.exception("notifications.courier_failed")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()
        finally:
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _due(self, scope: Scope) -> list[tuple[str, str]]:
        at = to_text(self._clock.now())
        found: list[tuple[str, str]] = []
        async with self._database.read(scope) as connection:
            for channel in await store.all_channels(connection):
                busy = self._under_way.get(channel.channel_id, set())
                free = self._terms.per_channel - len(busy)
                if free > 0:
                    candidates = await store.due(connection, channel.channel_id, at, free + len(busy))
                    found += [(channel.channel_id, item) for item in candidates if item not in busy][:free]
        return found

    async def _pause_s(self, scope: Scope) -> float:
        now = self._clock.now()
        async with self._database.read(scope) as connection:
            at = await store.next_due(connection, to_text(now))
        return IDLE_POLL_S if at is None else min(IDLE_POLL_S, max(0.01, (from_text(at) - now).total_seconds()))

    async def _attempt(self, scope: Scope, channel_id: str, delivery_id: str) -> None:
        try:
            begun = await self._begin(scope, delivery_id)
            if begun is not None:
                channel, secrets, item, body = begun
                receipt = await self._carry(scope, channel, secrets, item, body)
                await self._settle(scope, item, receipt)
        except Exception:
            # Its next attempt is due already; only the disk can have refused to take down what came of this one.
            log.exception("notifications.attempt_failed", delivery=delivery_id)
            await asyncio.sleep(TROUBLE_PAUSE_S)
        finally:
            self._under_way[channel_id].discard(delivery_id)
            self._wake.set()

    # --- one attempt ---

    async def _begin(self, scope: Scope, delivery_id: str) -> tuple[Channel, tuple[SealedSecret, ...], Delivery, bytes] | None:
        """Count the attempt; None where it must not be made."""
        async with self._database.write(scope) as session:
            found = await store.delivery(session.connection, delivery_id)
            if found is None or found[0].state != "pending":
                return None
            item, body = found
            owner = await store.channel_with_secrets(session.connection, item.channel_id)
            if owner is None:
                return None
            if owner[0].state == "disabled":
                await self._give_up(session, owner[0], item, Receipt(outcome="refused", detail="the channel is disabled"))
                return None
            if self._terms.schedule.is_over(item.attempts):
                # The last attempt was begun by a process that is gone.
                await self._give_up(session, owner[0], item, Receipt(outcome="failed", detail=INTERRUPTED))
                return None
            attempts = item.attempts + 1
            wait_s = (self._terms.schedule.delay_s(attempts, self._chance()) or 0.0) + self._terms.timeout_s + MARGIN_S
            item = msgspec.structs.replace(
                item, attempts=attempts, tried_at=self._text(), due_at=self._text(wait_s), error=INTERRUPTED, answer=""
            )
            await store.save_delivery(session.connection, item)
        return *owner, item, body

    async def _carry(
        self, scope: Scope, channel: Channel, secrets: tuple[SealedSecret, ...], item: Delivery, body: bytes
    ) -> Receipt:
        try:
            parcel = self._parcel(scope, channel, secrets, item, body)
            async with asyncio.timeout(self._terms.timeout_s + MARGIN_S / 2):
                return await self._carriers[channel.kind].carry(parcel, timeout_s=self._terms.timeout_s)
        except InterlockError as error:
            return Receipt(outcome="failed", detail=error.message)
        except TimeoutError:
            return Receipt(outcome="failed", detail=f"it was not over within {self._terms.timeout_s:g} s")
        except Exception as error:
            log.exception("notifications.carrier_failed", kind=channel.kind)
            return Receipt(outcome="failed", detail=type(error).__name__)

    def _parcel(self, scope: Scope, channel: Channel, secrets: tuple[SealedSecret, ...], item: Delivery, body: bytes) -> Parcel:
        now = self._clock.now()
        if channel.kind == "webhook":
            valid = [secret for secret in secrets if not secret.until or secret.until > to_text(now)]
            opened = [self._sealer.open(scope.tenant, channel.channel_id, secret.sealed).decode() for secret in valid]
            headers = {"content-type": "application/cloudevents+json"}
            headers |= signing.headers(opened, item.delivery_id, int(now.timestamp()), body)
        else:
            subject, text = wording.mail(msgspec.json.decode(body))
            message_id = f"<{item.delivery_id}@{self._terms.domain}>"
            date = format_datetime(from_text(item.created_at))
            headers, body = {"Subject": subject, "Message-ID": message_id, "Date": date}, text.encode()
        return Parcel(delivery_id=item.delivery_id, target=channel.target, headers=headers, body=body)

    async def _settle(self, scope: Scope, begun: Delivery, receipt: Receipt) -> None:
        async with self._database.write(scope) as session:
            found = await store.delivery(session.connection, begun.delivery_id)
            owner = await store.channel_with_secrets(session.connection, begun.channel_id)
            # Removed meanwhile, or sent again by a person: then this attempt decides nothing any more.
            if found is None or found[0] != begun or owner is None:
                return
            said = {"error": wording.line(receipt.detail), "answer": wording.line(receipt.answer)}
            item = msgspec.structs.replace(begun, status=receipt.status, **said)
            delay_s = self._terms.schedule.delay_s(item.attempts, self._chance(), receipt.retry_after_s)
            if receipt.outcome == "delivered":
                item = msgspec.structs.replace(item, state="delivered", error="", answer="", ended_at=self._text())
                await store.save_delivery(session.connection, item)
                await self._relieve(session, owner[0], item)
            elif receipt.outcome == "failed" and delay_s is not None:
                await store.save_delivery(session.connection, msgspec.structs.replace(item, due_at=self._text(delay_s)))
            else:
                await self._give_up(session, owner[0], item, receipt)

    # --- what does not get through ---

    async def _give_up(self, session: Session, channel: Channel, item: Delivery, receipt: Receipt) -> None:
        why = wording.line(receipt.detail)
        item = msgspec.structs.replace(item, state="dead", ended_at=self._text(), status=receipt.status, error=why)
        await store.save_delivery(session.connection, item)
        log.warning("notifications.given_up", channel=channel.name, delivery=item.delivery_id, error=why)
        if receipt.outcome == "gone" and channel.state == "active":
            await self._disable(session, channel, why)
        # The words stay the same as long as the alarm is open: one alarm for a channel in trouble, however much it misses.
        title = f"notifications to {channel.name} were given up: see interlock notify deliveries --channel {channel.name}"
        details = {
            "channel": channel.name,
            "first_error": why,
            "send_again": f"interlock notify redrive --channel {channel.name}",
        }
        await self._inbox.ask(session, "alarm", channel.subject, title, ("seen",), details)

    async def _disable(self, session: Session, channel: Channel, why: str) -> None:
        await store.save_channel(session.connection, msgspec.structs.replace(channel, state="disabled", reason=why))
        data = contracts.ChannelChanged(channel_id=channel.channel_id, name=channel.name, change="disabled", reason=why)
        await self._events.publish(session, data, subject=channel.subject)

    async def _relieve(self, session: Session, channel: Channel, item: Delivery) -> None:
        """The alarm is over when everything that was given up got there after all."""
        if item.redriven and not await store.deliveries_of(session.connection, channel.channel_id, "dead"):
            await self._inbox.withdraw(session, channel.subject, "what was given up has been delivered")

    def _text(self, later_s: float = 0.0) -> str:
        return to_text(self._clock.now() + timedelta(seconds=later_s))
