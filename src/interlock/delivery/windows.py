"""When an environment may be changed: windows in the time of a place, and freezes. Pure; the moment comes in from outside.

The ends of a window are read off the clock on the wall as RFC 5545 (section 3.3.5) reads local times: one that the clock skips
in spring is counted on from before the change, one that it shows twice in autumn is the first of the two.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec

from interlock.core.clock import from_text
from interlock.core.errors import Invalid

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EVERY_DAY = "daily"
EXAMPLE = "Mon-Fri 09:00-16:00 Europe/Berlin"
MAX_WINDOWS = 20
_TIMES = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the week. ``days`` are numbers from 0 for Monday; ``start`` and ``end`` are minutes since midnight of
    the wall clock in ``zone``. One that ends before it starts ends on the day after."""

    days: tuple[int, ...]
    start: int
    end: int
    zone: str

    def __str__(self) -> str:
        return f"{_days_text(self.days)} {_time_text(self.start)}-{_time_text(self.end)} {self.zone}"


class Freeze(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing new until a moment, or until somebody ends it where ``until`` is empty."""

    until: str
    reason: str
    by: str
    at: str


class Open(msgspec.Struct, frozen=True):
    """Changes may begin."""


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """Changes may not begin. ``until`` is when they may again, None where nobody can tell; ``why`` is for people."""

    until: datetime | None
    why: str
    code: str
    """``frozen`` or ``window_closed``."""


def parse_window(text: str) -> Window:
    """A window as people write it: days, times, zone, such as ``Mon-Fri 09:00-16:00 Europe/Berlin``; without a zone it is UTC.
    Raises Invalid ``window``."""
    days, times, zone, *rest = (*text.split(), "", "", "")
    found = _TIMES.fullmatch(times)
    numbers = _days(days)
    if found is None or not numbers or any(rest):
        raise _unreadable(text)
    start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if end > 24 * 60 or start == end:
        raise _unreadable(text)
    zone = zone or "UTC"
    try:
        ZoneInfo(zone)
    except (OSError, ValueError, KeyError) as error:
        message = f"{zone!r} is no time zone"
        raise Invalid("window", message, where=text, hint="a name of the tz database, such as Europe/Berlin or UTC") from error
    return Window(days=numbers, start=start, end=end, zone=zone)


def is_open(windows: Sequence[Window], freeze: Freeze | None, now: datetime) -> Open | Closed:
    """Whether a change may begin ``now``. Without windows any time is as good as another."""
    if freeze is not None and _holds(freeze, now):
        because = f": {freeze.reason}" if freeze.reason else ""
        until = _opens(windows, from_text(freeze.until)) if freeze.until else None
        return Closed(until=until, why=f"frozen by {freeze.by}{because}", code="frozen")
    opens = _opens(windows, now)
    if opens <= now:
        return Open()
    return Closed(until=opens, why=f"outside of {' and '.join(map(str, windows))}", code="window_closed")


def _holds(freeze: Freeze, now: datetime) -> bool:
    return not freeze.until or now < from_text(freeze.until)


def _opens(windows: Sequence[Window], moment: datetime) -> datetime:
    """The first moment from ``moment`` on that lies in a window."""
    if not windows:
        return moment
    occurrences = [found for window in windows for found in _occurrences(window, moment)]
    if any(start <= moment < end for start, end in occurrences):
        return moment
    # Whoever moves over the date line skips a day, and with it a window that is open on that day alone.
    return min(start for start, end in occurrences if start > moment and end > start)


def _occurrences(window: Window, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The window as it lies around ``moment`` and in the two weeks after it, in UTC."""
    zone = ZoneInfo(window.zone)
    today = moment.astimezone(zone).date()
    length = window.end - window.start
    for day in (today + timedelta(days=offset) for offset in range(-2, 17)):
        if day.weekday() in window.days:
            end_day = day if length > 0 else day + timedelta(days=1)
            yield _at(day, window.start, zone), _at(end_day, window.end, zone)


def _at(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _days(text: str) -> tuple[int, ...]:
    """``Mon-Fri``, ``Sat,Sun``, ``Fri-Mon``, ``daily``; empty for what is none of them."""
    if text.casefold() == EVERY_DAY:
        return tuple(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not _is_day(first) or (dash and not _is_day(last)):
            return ()
        start, end = _number(first), _number(last if dash else first)
        found |= {(start + offset) % 7 for offset in range((end - start) % 7 + 1)}
    return tuple(sorted(found))


def _is_day(text: str) -> bool:
    return text.capitalize() in DAYS


def _number(day: str) -> int:
    return DAYS.index(day.capitalize())


def _days_text(days: Iterable[int]) -> str:
    numbers = sorted(days)
    if len(numbers) == 7:
        return EVERY_DAY
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{DAYS[numbers[0]]}-{DAYS[numbers[-1]]}"
    return ",".join(DAYS[number] for number in numbers)


def _time_text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _unreadable(text: str) -> Invalid:
    hint = f"days, times, zone: {EXAMPLE!r}; days are Mon to Sun, as Mon-Fri or Sat,Sun, or {EVERY_DAY}"
    return Invalid("window", f"{text!r} is no window", hint=hint)
