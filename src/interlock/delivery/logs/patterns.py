"""Lines of a log that match a pattern, counted as the log grows.

A line is judged once it is complete, and only its first `MAX_LINE` letters: what a service writes without
an end costs no memory.
"""

import msgspec

from interlock.core.patterns import Pattern
from interlock.delivery.ports import Measurement
from interlock.tools.endings import length_of
from interlock.tools.ports import LogChunk, Workloads

MAX_LINE = 4096
CHUNK_BYTES = 256 * 1024


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted of one instance's log up to ``offset``. ``rest`` is the beginning of the line that has no end yet.
    ``lost_bytes`` were rotated away before they could be counted."""

    offset: int = 0
    rest: str = ""
    lines: int = 0
    matches: int = 0
    lost_bytes: int = 0


def counted(tally: Tally, chunk: LogChunk, pattern: Pattern) -> Tally:
    """The tally with the next piece of the log."""
    lost_bytes = max(0, chunk.begin - tally.offset)
    # Behind a gap another line begins in its middle.
    *complete, rest = (("" if lost_bytes else tally.rest) + chunk.text).split("\n")
    return Tally(
        offset=chunk.next_offset,
        rest=rest[:MAX_LINE],
        lines=tally.lines + len(complete),
        matches=tally.matches + sum(pattern.is_in(line[:MAX_LINE].rstrip("\r")) for line in complete),
        lost_bytes=tally.lost_bytes + lost_bytes,
    )


async def read_on(workloads: Workloads, key: str, tally: Tally, pattern: Pattern) -> Tally:
    """The tally up to where the log ends now; what is written meanwhile waits for the next time."""
    end = await length_of(workloads, key)
    while tally.offset < end:
        chunk = await workloads.log(key, tally.offset, CHUNK_BYTES)
        if chunk.next_offset <= tally.offset:
            break
        tally = counted(tally, chunk, pattern)
    return tally


def per_minute(before: Tally, after: Tally, seconds: float) -> Measurement:
    """Matching lines a minute between two tallies of one log, ``seconds`` apart."""
    if seconds <= 0:
        return Measurement(value=None, reason="no time has passed")
    lines, matches = after.lines - before.lines, after.matches - before.matches
    lost_bytes = after.lost_bytes - before.lost_bytes
    reason = f"{lost_bytes} bytes of the log were rotated away before they could be counted" if lost_bytes else ""
    return Measurement(value=matches * 60 / seconds, samples=lines, reason=reason, is_at_least=lost_bytes > 0, age_s=0.0)
