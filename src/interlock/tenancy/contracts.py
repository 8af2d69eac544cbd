"""Events of tenancy; the subject is ``user:<name>``, or ``access:refused``."""

from interlock.events.model import EventData


class UserAdded(EventData, frozen=True, kw_only=True):
    event_type = "user.added"
    name: str
    role: str


class UserRemoved(EventData, frozen=True, kw_only=True):
    """The token is void from here on, and what this user approved counts no more."""

    event_type = "user.removed"
    name: str


class AccessRefused(EventData, frozen=True, kw_only=True):
    """Somebody asked for what only the owner may do."""

    event_type = "access.refused"
    doing: str
