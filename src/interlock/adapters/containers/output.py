"""The output of a container as data: the engine's log taken apart, and which offsets its pieces have. `logs.py` reads it."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from interlock.tools.masking import read_masked
from interlock.tools.ports import LogChunk

_HEADER = struct.Struct(">BxxxL")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?")
STEP_BYTES = 1 << 20
_MARKS_A_STEP = 64
MAX_MARKS = 2048
"""More than a log has room for that is rotated as `configuration` says."""

LogPiece = tuple[bytes, bytes]
"""When it was written, in the engine's own words, and what. Pieces of one long line have the same time."""
Mark = tuple[bytes, int]
"""A time, and the offset at which the first piece of that time begins."""


class Splitter:
    """Takes a multiplexed log apart that was asked for with times, as it comes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, raw: bytes) -> list[LogPiece]:
        """The pieces that are whole by now, in the order in which they were written."""
        raw, pieces, position = self._rest + raw, list[LogPiece](), 0
        while position + _HEADER.size <= len(raw):
            _, length = _HEADER.unpack_from(raw, position)
            end = position + _HEADER.size + length
            if end > len(raw):
                break
            time, _, data = raw[position + _HEADER.size : end].partition(b" ")
            pieces.append((time, data))
            position = end
        self._rest = raw[position:]
        return pieces


@dataclass(slots=True)
class Index:
    """Where the pieces of one container's log lie. Engines number nothing, and rotate what is old away: so the times of some
    pieces are kept beside their offsets, and a reading begins at one of them."""

    container_id: str
    step: int = STEP_BYTES
    """Much less than what is kept of the log."""
    marks: list[Mark] = field(default_factory=list[Mark])
    newest: Mark | None = None
    """Of the last piece that was read."""
    base: int = 0
    """The offset of the first piece that is kept, where there is no mark."""
    end: int = 0
    """As far as it was read."""
    horizon: int = 0
    """Nobody was given an offset beyond it."""

    def before(self, offset: int) -> Mark | None:
        """The mark from which reading leads to ``offset``: the last one before it, else the first one."""
        if self.newest is not None and self.newest[1] <= offset:
            return self.newest
        earlier = [mark for mark in self.marks if mark[1] <= offset]
        return earlier[-1] if earlier else (self.marks[0] if self.marks else None)

    def note(self, time: bytes, offset: int) -> None:
        """The first piece of this time begins there."""
        if not self.marks or offset >= self.marks[-1][1] + self.step // _MARKS_A_STEP:
            self.marks = [*self.marks[1 - MAX_MARKS :], (time, offset)]
        if self.newest is None or offset > self.newest[1]:
            self.newest = (time, offset)

    @property
    def known(self) -> dict[bytes, int]:
        """The offsets of all times that are known."""
        return dict([*self.marks, *([self.newest] if self.newest else [])])

    def begin_anew(self, first: bytes | None, begin: int | None) -> None:
        """What is kept begins with a piece of the time ``first`` (None: nothing is) at the offset ``begin``. That is None where
        nothing is kept any more of what was known: how much was lost in between nobody can tell, but something was."""
        if begin is None:
            begin = max(self.horizon, self.end + 1)
            self.marks, self.newest = [], None
        self.base, self.end = begin, max(begin, self.end)
        self.marks = [mark for mark in self.marks if mark[1] > begin]
        if first is not None:
            self.marks.insert(0, (first, begin))


@dataclass(frozen=True, slots=True)
class Kept:
    """A part of what the engine still has of a log: ``data`` begins at the offset ``begin``."""

    begin: int
    data: bytes


def since(time: bytes) -> str:
    """The time of a piece as engines take it: seconds and nanoseconds. Raises ValueError for what is no time."""
    found = _TIME.fullmatch(time.decode("ascii", "replace"))
    if found is None:
        raise ValueError(f"not a time of a log: {time[:60]!r}")
    moment = datetime.fromisoformat(found[1] + (found[3] or "Z").replace("Z", "+00:00"))
    return f"{int(moment.timestamp())}.{(found[2] or '').ljust(9, '0')[:9]}"


def chunk(kept: Kept, offset: int, limit_bytes: int, patterns: Sequence[bytes], *, has_ended: bool) -> LogChunk:
    """At most ``limit_bytes`` from ``offset`` on, without the values of secrets, wherever the borders of the chunk fall."""

    def read(at: int, limit: int) -> tuple[int, bytes]:
        end = kept.begin + len(kept.data)
        first = min(max(at, kept.begin), end) - kept.begin
        return kept.begin + first, kept.data[first : first + max(limit, 0)]

    return read_masked(read, patterns, offset, limit_bytes, lambda: has_ended)
