"""Events of the inbox; the subject is what the item is about."""

from interlock.events.model import EventData


class ItemOpened(EventData, frozen=True, kw_only=True):
    event_type = "inbox.opened"
    item_id: str
    kind: str
    title: str


class ItemAnswered(EventData, frozen=True, kw_only=True):
    event_type = "inbox.answered"
    item_id: str
    kind: str
    answer: str


class ItemWithdrawn(EventData, frozen=True, kw_only=True):
    event_type = "inbox.withdrawn"
    item_id: str
    reason: str
