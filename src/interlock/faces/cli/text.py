"""Text for people: what comes from outside made harmless, times and durations made short."""

import json
import math
from datetime import UTC, datetime
from typing import Any, cast

Doc = dict[str, Any]
"""A JSON object, as the HTTP API hands it out."""


def clean(text: str) -> str:
    """``text`` on one line, with a visible sign in the place of every character that is not printable.

    Names, commit messages and logs are written by strangers: no control sequence, line break or change of the writing
    direction may reach the terminal. The length stays, so that places in the text stay too.
    """
    return text if text.isprintable() else "".join(letter if letter.isprintable() else _sign(letter) for letter in text)


def clean_lines(text: str) -> str:
    """``text`` made `clean` line by line: line feeds and tabs stay, and a line may end as on other systems."""
    kept = text.replace("\r\n", "\n")
    return "".join(letter if letter in "\n\t" or letter.isprintable() else _sign(letter) for letter in kept)


def _sign(letter: str) -> str:
    # Unicode has a picture of each of the old control characters.
    code = ord(letter)
    return "␡" if code == 0x7F else chr(0x2400 + code) if code < 0x20 else "�"


def clean_data(value: Any) -> Any:
    """A JSON value with every text in it, names of members included, made `clean`."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {clean(name): clean_data(member) for name, member in members.items()}
    if isinstance(value, list):
        return [clean_data(item) for item in cast("list[Any]", value)]
    return value


def as_text(value: Any) -> str:
    """A JSON value as it is read in a line: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parsed(at: str) -> datetime | None:
    """A time of the API; None where there is none that can be read."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def moment(at: str) -> str:
    """``2026-07-30 12:00:05 UTC``; empty for no time."""
    found = parsed(at)
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if found else at


def time_of_day(at: str) -> str:
    """``12:00:05.123``, in UTC."""
    found = parsed(at)
    return found.astimezone(UTC).time().isoformat("milliseconds") if found else at


def since(at: str, now: datetime) -> str:
    """How long ago a time is, in its largest unit: ``5 s``, ``3 min``, ``2 h``, ``4 d``; empty for no time."""
    found = parsed(at)
    if found is None:
        return ""
    seconds = max(0.0, (now - found).total_seconds())
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size_s:
            return f"{math.floor(seconds / size_s)} {unit}"
    return f"{math.floor(seconds)} s"


def duration(seconds: float) -> str:
    """``0.4 s``, ``35 s``, ``2 min``, ``2 min 5 s``, ``1 h 3 min``: the two largest units."""
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small = ((3600, "h"), (60, "min")) if whole >= 3600 else ((60, "min"), (1, "s"))
    rest = whole % large[0] // small[0]
    return f"{whole // large[0]} {large[1]}" + (f" {rest} {small[1]}" if rest else "")
