"""Time, injected: nothing else in Interlock reads a clock."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for the record, monotonic time for waiting; only the latter may drive a timer."""

    def now(self) -> datetime:
        """The current wall time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin; never goes back."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def to_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and a ``Z``, the only form in which Interlock stores or sends a time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_text(text: str) -> datetime:
    """The inverse of `to_text`. Raises ValueError where ``text`` is not RFC 3339."""
    return datetime.fromisoformat(text)
