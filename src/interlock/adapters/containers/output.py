"""The output of a container: the engine's log taken apart, its bytes counted over rotations, secrets masked."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

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


def chunk(kept: Kept, offset: int, limit_bytes: int, secrets: Iterable[str]) -> LogChunk:
    """At most ``limit_bytes`` from ``offset`` on, without the values of secrets, wherever the borders of the chunk fall."""
    end = kept.begin + len(kept.data)
    first = min(max(end + offset if offset < 0 else offset, kept.begin), end) - kept.begin
    last = _whole(kept.data, first, min(first + max(limit_bytes, 0), len(kept.data)))
    text = _masked(kept.data, first, last, _covered(kept.data, secrets))
    return LogChunk(text=text.decode(errors="replace"), next_offset=kept.begin + last)


def _whole(data: bytes, first: int, last: int) -> int:
    """``last``, moved before a character that would be cut in two; it waits for the next chunk, unless it is all there is."""
    border = last
    while border > first and last < len(data) and data[border] & 0xC0 == 0x80 and last - border < 3:
        border -= 1
    return border if border > first else last


def _covered(data: bytes, secrets: Iterable[str]) -> list[tuple[int, int]]:
    """Where secrets stand, in order and without overlaps."""
    found: list[tuple[int, int]] = []
    for value in {secret.encode(errors="surrogateescape") for secret in secrets if secret}:
        position = data.find(value)
        while position >= 0:
            found.append((position, position + len(value)))
            position = data.find(value, position + 1)
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(found):
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _masked(data: bytes, first: int, last: int, covered: list[tuple[int, int]]) -> bytes:
    """The bytes between, each secret shown as ``***`` in the chunk in which it begins and not at all in the next."""
    shown: list[bytes] = []
    position = first
    for begin, end in covered:
        if end <= position or begin >= last:
            continue
        shown.append(data[position : max(begin, position)])
        if begin >= first:
            shown.append(b"***")
        position = min(end, last)
    return b"".join([*shown, data[position:last]])
