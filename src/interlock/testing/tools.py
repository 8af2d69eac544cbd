"""Tools whose effects are counted at their target, a folder: what the ledger says can be compared with what happened."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from interlock.tools.model import Call, Done, Effect, Keying, NotDone, Probe, Unknown

Point = Literal["before_act", "after_act"]
Hook = Callable[[Point, Call], None]
"""Called around an effect, also to end the process there."""


def _nothing(_point: Point, _call: Call) -> None:
    pass


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """``label`` names the effect that is meant to happen once."""

    label: str


class Marked(msgspec.Struct, frozen=True, kw_only=True):
    label: str


class CreateFile:
    """``test.create``, keyed: an exclusive file for each key, which holds the label."""

    name = "test.create"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = Mark
    output = Marked

    def __init__(self, folder: Path, hook: Hook = _nothing) -> None:
        self._folder = folder / "files"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._hook = hook
        self.aborted: list[str] = []

    async def act(self, call: Call, arguments: Mark) -> Marked:
        self._hook("before_act", call)
        # Linked under its name only when it is whole: a process may end anywhere.
        aside = self._folder.with_name(call.key)
        aside.write_text(arguments.label)
        os.link(aside, self._folder / call.key)
        aside.unlink()
        self._hook("after_act", call)
        return Marked(label=arguments.label)

    async def probe(self, call: Call, arguments: Mark) -> Probe:
        file = self._folder / call.key
        return Done({"label": file.read_text()}) if file.exists() else NotDone()

    async def abort(self, call: Call, arguments: Mark) -> None:
        self.aborted.append(call.key)

    def labels(self) -> list[str]:
        """The label of every effect that happened."""
        return sorted(file.read_text() for file in self._folder.iterdir())


class AppendLine:
    """``test.append``, unkeyed: a line in a file, which would be there twice after a second act.

    A blind one cannot tell afterwards whether its line is there; its probe is always unknown.
    """

    name = "test.append"
    effect = Effect.WRITE
    keying: Keying = "unkeyed"
    input = Mark
    output = Marked

    def __init__(self, folder: Path, hook: Hook = _nothing, *, is_blind: bool = False) -> None:
        self._file = folder / "lines"
        self._hook = hook
        self._is_blind = is_blind

    async def act(self, call: Call, arguments: Mark) -> Marked:
        self._hook("before_act", call)
        self._append(f"{call.key} {arguments.label}\n")
        self._hook("after_act", call)
        return Marked(label=arguments.label)

    async def probe(self, call: Call, arguments: Mark) -> Probe:
        if self._is_blind:
            return Unknown("its target cannot be read")
        return Done({"label": arguments.label}) if self.has(call.key) else NotDone()

    async def abort(self, call: Call, arguments: Mark) -> None:
        """A line is written at once."""

    def _append(self, line: str) -> None:
        with self._file.open("a") as stream:
            stream.write(line)

    def has(self, key: str) -> bool:
        """Whether the line of this key is there."""
        return any(line.startswith(f"{key} ") for line in self._lines())

    def labels(self) -> list[str]:
        """The label of every effect that happened."""
        return sorted(line.split(" ", 1)[1] for line in self._lines())

    def _lines(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []
