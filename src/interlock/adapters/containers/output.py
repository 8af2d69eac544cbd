"""The output of a container: the engine's log taken apart, its bytes counted over rotations, secrets masked."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from interlock.tools.masking import patterns_of, read_masked
from interlock.tools.ports import LogChunk

_HEADER = struct.Struct(">BxxxL")


@dataclass(slots=True)
class Anchor:
    """Where the last reading of a log began and ended: the times of its first and last piece, and their offsets."""

    first: bytes
    begin: int
    last: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What the engine still has of a log: ``data`` begins at the offset ``begin``."""

    begin: int
    data: bytes


def take_apart(raw: bytes) -> list[tuple[bytes, bytes]]:
    """The pieces of a multiplexed log that was asked for with times: (time, bytes) in the order in which they were written."""
    pieces: list[tuple[bytes, bytes]] = []
    position = 0
    while position + _HEADER.size <= len(raw):
        _, length = _HEADER.unpack_from(raw, position)
        position += _HEADER.size
        time, _, data = raw[position : position + length].partition(b" ")
        pieces.append((time, data))
        position += length
    return pieces


def place(pieces: list[tuple[bytes, bytes]], anchor: Anchor | None) -> tuple[Kept, Anchor | None]:
    """Give what is kept its offsets: what was rotated away since the last reading still counts.

    Where everything of the last reading is gone, what was lost in between cannot be counted.
    """
    data = b"".join(piece for _, piece in pieces)
    if not pieces:
        return Kept(anchor.end if anchor else 0, b""), anchor
    begin = 0 if anchor is None else _begin(pieces, anchor)
    return Kept(begin, data), Anchor(pieces[0][0], begin, pieces[-1][0], begin + len(data))


def _begin(pieces: list[tuple[bytes, bytes]], anchor: Anchor) -> int:
    if pieces[0][0] == anchor.first:
        return anchor.begin
    length = 0
    for time, data in pieces:
        length += len(data)
        if time == anchor.last:
            return anchor.end - length
    return anchor.end


def chunk(kept: Kept, offset: int, limit_bytes: int, secrets: Iterable[str], *, has_ended: bool) -> LogChunk:
    """At most ``limit_bytes`` from ``offset`` on, without the values of secrets, wherever the borders of the chunk fall."""

    def read(at: int, limit: int) -> tuple[int, bytes]:
        end = kept.begin + len(kept.data)
        first = min(max(end + at if at < 0 else at, kept.begin), end) - kept.begin
        return kept.begin + first, kept.data[first : first + max(limit, 0)]

    return read_masked(read, patterns_of(secrets), offset, limit_bytes, lambda: has_ended)
