"""Joins what tells others: channels, the recorder of deliveries, the courier and its carriers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interlock.adapters.keys.sealing import SealingKeyFiles
from interlock.adapters.notify.addresses import Addresses
from interlock.adapters.notify.mail import Account, MailCarrier
from interlock.adapters.notify.webhook import WebhookCarrier
from interlock.core.clock import Clock
from interlock.db.database import Database
from interlock.events.ports import Feed
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.notifications.courier import Courier, Terms
from interlock.notifications.model import ChannelKind, Schedule
from interlock.notifications.ports import Carrier
from interlock.notifications.recording import DeliveryRecorder
from interlock.notifications.service import Notifications, Positioned
from interlock.runs.feed import JournalFeed
from interlock.settings import Settings
from interlock.tenancy.service import Tenancy

NO_MAIL = "no mail server is set: INTERLOCK_SMTP_HOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifying:
    """The use cases, and the one who does the work."""

    service: Notifications
    courier: Courier


def join_notifications(
    settings: Settings,
    database: Database,
    events: Events,
    journal: JournalFeed,
    inbox: Inbox,
    tenancy: Tenancy,
    clock: Clock,
    secret: Callable[[str], str | None],
) -> Notifying:
    """Join everything; ``secret`` gives the value behind a reference, or None."""
    sealer = SealingKeyFiles(settings.home / "keys")
    carriers: dict[ChannelKind, Carrier] = {
        "webhook": WebhookCarrier(Addresses(settings.notify_allow), clock.now),
        "email": MailCarrier(_account(settings, secret)),
    }
    terms = Terms(
        schedule=Schedule(delays_s=tuple(float(delay) for delay in settings.notify_retry_delays_s)),
        timeout_s=settings.notify_timeout_s,
        per_channel=settings.notify_per_channel,
        domain=re.sub(r".*@", "", settings.smtp_sender),
    )
    courier = Courier(database, events, inbox, sealer, clock, carriers, terms)
    feeds: Sequence[Positioned] = (events.feed, journal)
    kinds: dict[ChannelKind, str] = {"webhook": "", "email": "" if settings.smtp_host else NO_MAIL}
    service = Notifications(database, events, inbox, tenancy, sealer, clock, feeds, kinds)
    service.on_work(courier.wake)
    recorder = DeliveryRecorder(database, clock, courier.wake)
    feed: Feed
    for feed in (events.feed, journal):
        events.subscribe_inside(f"notifications.{feed.name}", recorder, feed)
    return Notifying(service=service, courier=courier)


def _account(settings: Settings, secret: Callable[[str], str | None]) -> Account:
    return Account(
        host=settings.smtp_host,
        port=settings.smtp_port,
        sender=settings.smtp_sender,
        encryption=settings.smtp_encryption,
        user=settings.smtp_user,
        password=lambda: secret(settings.smtp_password_secret),
    )
