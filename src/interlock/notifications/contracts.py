"""Events of notifications; the subject is ``channel:<id>``. A channel is never told of itself."""

from interlock.events.model import EventData


class ChannelAdded(EventData, frozen=True, kw_only=True):
    event_type = "notification.channel_added"
    channel_id: str
    name: str
    kind: str
    target: str
    events: tuple[str, ...]


class ChannelChanged(EventData, frozen=True, kw_only=True):
    """``change`` is ``removed``, ``enabled``, ``disabled`` or ``secret_rotated``."""

    event_type = "notification.channel_changed"
    channel_id: str
    name: str
    change: str
    reason: str = ""


class DeliveriesRedriven(EventData, frozen=True, kw_only=True):
    event_type = "notification.redriven"
    channel_id: str
    name: str
    deliveries: tuple[str, ...]


class ChannelTested(EventData, frozen=True, kw_only=True):
    """The one event that goes to its own channel: somebody wants to see whether it gets there."""

    event_type = "notification.test"
    channel_id: str
    name: str
    message: str
