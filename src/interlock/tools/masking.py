"""The values of secrets in what a process prints: masked in whatever piece it is read, whole or torn.

A reader asks for bytes from an offset on, and a value may straddle both borders of what it asks for. So each reading looks as
far beyond its borders as the longest value reaches, and decides for every byte by itself whether a value covers it: two
readers that cut the same output differently see the same bytes masked. Pure; who keeps output reads it through `read_masked`.
"""

import codecs
import json
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from interlock.tools.ports import LogChunk

MASK = b"***"
# Lines of a longer value that are shorter than this say nothing by themselves, and stand in every log.
_SHORTEST_LINE = 4

Read = Callable[[int, int], tuple[int, bytes]]
"""At most so many bytes from an offset on, and where they really begin; a negative offset counts from the end."""


class _Window(NamedTuple):
    """What was read around a piece: ``data`` begins at ``base``. ``is_torn``: what stood before it is not kept any more;
    ``is_last``: it reaches the end of the output as it is now."""

    base: int
    data: bytes
    is_torn: bool
    is_last: bool


def patterns_of(values: Iterable[str]) -> tuple[bytes, ...]:
    """What has to be masked for these values of secrets, longest first.

    Beside the value itself: the value without white space around it, each line of a value that has several, because programs
    print them one by one, and the value as it stands in a JSON text.
    """
    forms: set[str] = set()
    for value in values:
        forms |= {value, value.strip(), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
        lines = [line.strip() for line in value.splitlines()]
        forms |= {line for line in lines if len(line) >= _SHORTEST_LINE}
    return tuple(
        sorted((form.encode("utf-8", "surrogateescape") for form in forms if form.strip()), key=lambda form: (-len(form), form))
    )


def read_masked(
    read: Read, patterns: Sequence[bytes], offset: int, limit_bytes: int, has_ended: Callable[[], bool]
) -> LogChunk:
    """A piece of output without the values of secrets.

    A value cut in two by the first byte that is still kept is masked as far as it is there. The last bytes of the output that
    may be the beginning of a value wait until more comes; once nothing more can come (``has_ended``) they are masked.
    """
    begin, data = read(offset, limit_bytes)
    if not patterns or not data:
        return _chunk(begin, begin, data)
    margin = len(patterns[0])
    wanted = max(begin - margin, 0)
    base, around = read(wanted, begin - wanted + len(data) + margin)
    begin = max(begin, base)
    is_last = base + len(around) < begin + len(data) + margin
    window = _Window(base, around, is_torn=base > wanted, is_last=is_last)
    covered = _covered(window, patterns)
    end = min(begin + len(data), base + len(around))
    if window.is_last and (open_bytes := _open_bytes(window, patterns)):
        held = base + len(around) - open_bytes
        if has_ended():
            covered = _merged([*covered, (held, base + len(around))])
        else:
            end = min(end, max(held, begin))
    return _render(window, covered, begin, end)


def _covered(window: _Window, patterns: Sequence[bytes]) -> list[tuple[int, int]]:
    """The ranges of offsets that values cover, overlapping ones made one, in order."""
    spans: list[tuple[int, int]] = []
    for pattern in patterns:
        at = window.data.find(pattern)
        while at >= 0:
            spans.append((window.base + at, window.base + at + len(pattern)))
            at = window.data.find(pattern, at + 1)
    if window.is_torn and (torn := max(_longest_end(window.data, pattern) for pattern in patterns)):
        spans.append((window.base, window.base + torn))
    return _merged(spans)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


def _longest_end(data: bytes, pattern: bytes) -> int:
    """How many bytes at the beginning of ``data`` are the end of ``pattern``, all of it excluded."""
    return next((size for size in range(min(len(pattern) - 1, len(data)), 0, -1) if data.startswith(pattern[-size:])), 0)


def _open_bytes(window: _Window, patterns: Sequence[bytes]) -> int:
    """How many bytes at the end of the output are the beginning of a value, all of it excluded."""
    longest = 0
    for pattern in patterns:
        sizes = range(min(len(pattern) - 1, len(window.data)), longest, -1)
        longest = next((size for size in sizes if window.data.endswith(pattern[:size])), longest)
    return longest


def _render(window: _Window, covered: list[tuple[int, int]], begin: int, end: int) -> LogChunk:
    """The piece from ``begin`` to about ``end``: it never ends inside of a value, so that each is masked once."""
    for first, last in covered:
        if first < end < last:
            # A value that begins the piece has to go as a whole, however little was asked for.
            end = first if first > begin else last
    pieces: list[bytes] = []
    position = begin
    for first, last in covered:
        if last > position and first < end:
            pieces += [window.data[position - window.base : max(first, position) - window.base], MASK]
            position = last
    # What is no value stays last, so that a character cut in two at its end can be told from it.
    tail = window.data[position - window.base : max(end, position) - window.base]
    return _chunk(begin, position, tail, b"".join(pieces))


def _chunk(begin: int, position: int, tail: bytes, before: bytes = b"") -> LogChunk:
    """The chunk that begins at ``begin``; ``tail`` is what stands from ``position`` on, behind ``before``.

    A character cut in two at the end waits for the next reading, unless it is all there is.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(before + tail)
    held_back = len(decoder.getstate()[0])
    if not text and held_back:
        text, held_back = decoder.decode(b"", final=True), 0
    return LogChunk(text=text, begin=begin, next_offset=position + len(tail) - held_back)
