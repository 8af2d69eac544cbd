"""Places in logs: cursors, windows, and what is told to whoever follows. Pure; `reading.py` reads.

Where somebody stopped reading is a cursor, ``key:offset,key:offset``: the keys of the instances, with the offset to read on at.
Keys are used once, so a cursor names its deployment, and survives every restart and every switch.
"""

import io
import re
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from interlock.core.errors import Invalid
from interlock.delivery.model import Deployment
from interlock.sources.model import Target
from interlock.tools.ports import LogChunk

_CURSOR = re.compile(r"[a-z0-9][a-z0-9-]{0,100}:\d{1,18}(?:,[a-z0-9][a-z0-9-]{0,100}:\d{1,18}){0,99}")
NUMBER = re.compile(r"-?\d{1,18}")
"""An offset for every instance."""

Offsets = dict[str, int]
"""Key of an instance -> where to read on."""


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a deployment: ``name`` for people, empty where it is the only one; ``key`` at its target."""

    name: str
    key: str
    target: Target = "process"


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Output of one instance, from ``offset`` up to ``next_offset``. ``lost_bytes`` were written before ``offset`` and rotated
    away, or removed, before they were read."""

    instance: str
    key: str
    text: str
    offset: int
    next_offset: int
    lost_bytes: int = 0


class LogWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window into the log of a deployment, a piece for each instance. ``next`` is the cursor to read on at."""

    service: str
    environment: str
    deployment_id: str
    version: str
    state: str
    is_serving: bool
    pieces: tuple[Piece, ...]
    next: str


class Turned(msgspec.Struct, frozen=True, kw_only=True, tag="deployment", tag_field="type"):
    """From here on the log is that of this deployment; ``previous`` is the one before, empty for the first."""

    cursor: str
    deployment_id: str
    version: str
    previous: str


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag="gap", tag_field="type"):
    """``lost_bytes`` of an instance's output are not kept any more: whoever follows was not quick enough, or came too late."""

    cursor: str
    instance: str
    key: str
    offset: int
    lost_bytes: int


class Output(msgspec.Struct, frozen=True, kw_only=True, tag="log", tag_field="type"):
    """An instance has written this."""

    cursor: str
    instance: str
    key: str
    text: str
    offset: int
    next_offset: int


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="end", tag_field="type"):
    """The deployment that was asked for has ended, and this was all of its log."""

    cursor: str
    deployment_id: str
    message: str


class Away(msgspec.Struct, frozen=True, kw_only=True, tag="away", tag_field="type"):
    """The output cannot be read now, for the reason that ``message`` says. It goes on by itself, and nothing is left out."""

    cursor: str
    message: str


LogEvent = Turned | Gap | Output | Ended | Away


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which log, and from where. ``deployment_id`` empty: what serves now, else the newest one. ``start`` is a cursor, or for
    all instances an offset, negative from the end; empty for the last ``tail`` lines."""

    DEFAULT_TAIL: ClassVar[int] = 100

    service: str
    environment: str
    deployment_id: str = ""
    start: str = ""
    tail: int = DEFAULT_TAIL


def instances_of(deployment: Deployment) -> tuple[Instance, ...]:
    """The instances whose output is the deployment's log."""
    several = len(deployment.instances) > 1
    return tuple(
        Instance(name=str(number) if several else "", key=instance.key, target=deployment.target)
        for number, instance in enumerate(deployment.instances, 1)
    )


def cursor_of(offsets: Mapping[str, int]) -> str:
    """The offsets as one text."""
    return ",".join(f"{key}:{offset}" for key, offset in offsets.items())


def offsets_in(cursor: str) -> Offsets:
    """What `cursor_of` wrote. Raises Invalid ``cursor``."""
    if not _CURSOR.fullmatch(cursor):
        message = f"{cursor[:120]!r} is no place in a log"
        raise Invalid("cursor", message, hint="a number of bytes, negative from the end, or the cursor of an earlier answer")
    return {key: int(offset) for key, _, offset in (part.partition(":") for part in cursor.split(","))}


def last_lines(text: str, count: int, *, is_whole: bool) -> str:
    """The last ``count`` lines; a first line that is cut is left out unless the text ``is_whole`` or nothing else is there."""
    # Not `splitlines`: what a stranger may write as the end of a line is no line of a log.
    lines = io.StringIO(text).readlines() if count else []
    if not is_whole and 1 < len(lines) <= count:
        lines = lines[1:]
    return "".join(lines[-count:])


class Place:
    """How far somebody has read the log of a deployment."""

    def __init__(self, deployment: Deployment, offsets: Offsets) -> None:
        self.deployment = deployment
        self.instances = instances_of(deployment)
        self.offsets = {instance.key: offsets.get(instance.key, 0) for instance in self.instances}

    @property
    def cursor(self) -> str:
        return cursor_of(self.offsets)

    def turned(self, previous: str = "") -> Turned:
        about = self.deployment
        return Turned(cursor=self.cursor, deployment_id=about.deployment_id, version=about.version, previous=previous)

    def take(self, piece: Piece) -> list[LogEvent]:
        """Read on over ``piece``; what there is to tell of it."""
        instance, key, offset = piece.instance, piece.key, piece.offset
        events: list[LogEvent] = []
        if piece.lost_bytes:
            self.offsets[key] = offset
            events.append(Gap(cursor=self.cursor, instance=instance, key=key, offset=offset, lost_bytes=piece.lost_bytes))
        self.offsets[key] = end = piece.next_offset
        if piece.text:
            text = piece.text
            events.append(Output(cursor=self.cursor, instance=instance, key=key, text=text, offset=offset, next_offset=end))
        return events


def piece_of(instance: Instance, offset: int, chunk: LogChunk) -> Piece:
    """What reading from ``offset`` on, negative from the end, gave."""
    return Piece(
        instance=instance.name,
        key=instance.key,
        text=chunk.text,
        offset=chunk.begin,
        next_offset=chunk.next_offset,
        lost_bytes=max(0, chunk.begin - offset) if offset >= 0 else 0,
    )
