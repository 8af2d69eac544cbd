"""YAML from strangers: one small document of plain data, with the place of every key and value."""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from interlock.sources.model import MAX_MODULE_BYTES

MAX_DEPTH = 20
MAX_VALUES = 5000
MAX_ALIASES = 16
MAX_DIGITS = 18

Path = tuple[str | int, ...]

# The core schema of YAML 1.2.2, section 10.3.2.
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the file, 1-based; ``index`` is 0-based in its characters."""

    line: int
    column: int
    index: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar as written: ``text`` after unquoting, ``style`` one of plain (empty), ``'``, ``"``, ``|``, ``>``."""

    text: str
    style: str
    begin: Place


@dataclass(slots=True)
class Document:
    """The plain data of a file. ``flaws`` are what had to be left out of it: place, path, message, hint."""

    source: str
    data: Any = None
    values: dict[Path, Place] = field(default_factory=dict[Path, Place])
    keys: dict[Path, Place] = field(default_factory=dict[Path, Place])
    scalars: dict[Path, Scalar] = field(default_factory=dict[Path, Scalar])
    flaws: list[tuple[Place, Path, str, str]] = field(default_factory=list[tuple[Place, Path, str, str]])

    @property
    def fields(self) -> dict[str, Any]:
        """The top-level fields; empty where the document is no mapping."""
        return cast("dict[str, Any]", self.data) if isinstance(self.data, dict) else {}

    def place(self, path: Path, *, of_key: bool = False) -> Place:
        """Where the value (or key) at ``path`` begins; the nearest parent's place where it has none."""
        while path:
            found = self.keys.get(path) if of_key else self.values.get(path)
            if found is not None:
                return found
            path, of_key = path[:-1], False
        return self.values.get((), Place(1, 1, 0))

    def place_in(self, path: Path, offset: int) -> Place:
        """Where character ``offset`` of the text at ``path`` stands, exactly where the text is written without escapes."""
        scalar = self.scalars.get(path)
        if scalar is None:
            return self.place(path)
        begin = scalar.begin.index + (scalar.style in "'\"" and scalar.style != "")
        if scalar.style in ("|", ">"):
            lines = self.source[scalar.begin.index :].split("\n", 2)
            block = lines[1] if len(lines) > 1 else ""
            indent = len(block) - len(block.lstrip(" "))
            if block[indent:].rstrip("\r") == scalar.text.split("\n", 1)[0]:
                return Place(scalar.begin.line + 1, indent + 1 + offset, scalar.begin.index)
        elif self.source[begin : begin + len(scalar.text)] == scalar.text:
            return Place(scalar.begin.line, scalar.begin.column + (begin - scalar.begin.index) + offset, begin + offset)
        return scalar.begin


@dataclass(frozen=True, slots=True)
class _Event:
    """An event of the YAML parser: ``kind`` is its class name without ``Event``."""

    kind: str
    begin: Place
    text: str
    style: str
    tag: str
    anchor: str
    version: tuple[int, int] | None
    has_tag_directives: bool


class Unreadable(Exception):  # noqa: N818 - caught next door, never shown
    """The text is no YAML document that can be accepted; nothing of it can be checked further."""

    def __init__(self, place: Place, message: str, hint: str) -> None:
        super().__init__(message)
        self.place, self.message, self.hint = place, message, hint


def read_document(content: str | bytes) -> Document:
    """Read one YAML 1.2 document of mappings, lists and scalars. Raises Unreadable for anything beyond it or its bounds."""
    source = _decoded(content)
    try:
        return _Builder(source, _events(source)).document()
    except MarkedYAMLError as error:
        details: Any = error
        mark = details.problem_mark or details.context_mark
        place = _place(mark) if mark else Place(1, 1, 0)
        raise Unreadable(
            place, f"not readable as YAML: {details.problem or details.context}", _advice(source, place)
        ) from error
    except ReaderError as error:
        position: Any = getattr(error, "position", 0)
        raise Unreadable(_place_at(source, position), "a character that YAML does not allow", "remove it") from error
    except (YAMLError, ValueError, LookupError, AttributeError, TypeError, AssertionError, RecursionError) as error:
        # The scanner fails in these ways on some malformed escapes and directives.
        raise Unreadable(Place(1, 1, 0), "not readable as YAML", "see the example in docs/ai-module.md") from error


def _decoded(content: str | bytes) -> str:
    size = len(content)
    if size > MAX_MODULE_BYTES:
        raise Unreadable(Place(1, 1, 0), f"larger than {MAX_MODULE_BYTES // 1024} KiB", "leave away what is not needed")
    if isinstance(content, str):
        text = content
    else:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise Unreadable(Place(line, 1, 0), "not encoded in UTF-8", "save the file as UTF-8") from error
    text = text.removeprefix("\ufeff")
    for index, character in enumerate(text):
        if character < " " and character not in "\n\r\t":
            raise Unreadable(_place_at(text, index), f"the control character U+{ord(character):04X}", "remove it")
    return text


class _Builder:
    """Makes plain data of the parser's events, within bounds, without ever building an object that the file names."""

    def __init__(self, source: str, events: Iterator[_Event]) -> None:
        self._events = events
        self._document = Document(source)
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._aliases = 0
        self._count = 0

    def document(self) -> Document:
        next(self._events)
        event = next(self._events)
        if event.kind == "StreamEnd":
            raise Unreadable(Place(1, 1, 0), "the file is empty", "interlock module init writes a template")
        if event.version not in (None, (1, 2)) or event.has_tag_directives:
            raise Unreadable(event.begin, "a directive", "remove the lines that begin with %")
        self._document.data = self._value(next(self._events), (), 0)
        next(self._events)
        event = next(self._events)
        if event.kind != "StreamEnd":
            raise Unreadable(event.begin, "a second document", "a file describes one service: remove the --- line")
        return self._document

    def _value(self, event: _Event, path: Path, depth: int) -> Any:
        place = event.begin
        self._document.values[path] = place
        self._enter(place, depth)
        if event.kind == "Alias":
            return self._alias(event, place)
        before = self._count
        self._check_tag(event, place, path)
        value: Any
        if event.kind == "MappingStart":
            value = self._mapping(path, depth)
        elif event.kind == "SequenceStart":
            value = self._sequence(path, depth)
        else:
            value = self._scalar(event, place, path)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._count - before + 1)
        return value

    def _enter(self, place: Place, depth: int) -> None:
        self._count += 1
        if depth > MAX_DEPTH:
            raise Unreadable(place, f"nested deeper than {MAX_DEPTH} levels", "no field of a module file is nested so deep")
        if self._count > MAX_VALUES:
            raise Unreadable(place, f"more than {MAX_VALUES} values", "leave away what is not needed")

    def _alias(self, event: _Event, place: Place) -> Any:
        self._aliases += 1
        # An anchor that is still open is not yet known, so a value cannot hold itself.
        if event.anchor not in self._anchors:
            raise Unreadable(place, f"the alias *{event.anchor} stands for nothing", "write the value out")
        if self._aliases > MAX_ALIASES:
            raise Unreadable(place, f"more than {MAX_ALIASES} aliases", "write the values out")
        value, size = self._anchors[event.anchor]
        self._count += size
        self._enter(place, 0)
        return value

    def _check_tag(self, event: _Event, place: Place, path: Path) -> None:
        if event.tag:
            self._flaw(place, path, f"the tag {event.tag[:40]}", "remove it: a module file holds plain data")

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while (event := next(self._events)).kind != "MappingEnd":
            place = event.begin
            if event.kind == "Scalar" and (event.style or isinstance(_resolved(event.text), str)):
                self._check_tag(event, place, path)
                key = event.text
            else:
                key = self._unnamed(event, path, depth)
                self._flaw(place, (*path, key), "a name that is no text", "put the name in quotes")
            duplicate = key in result
            if duplicate:
                first = self._document.keys[(*path, key)]
                self._flaw(
                    place, (*path, key), f"{key[:80]!r} is given twice, first in line {first.line}", "remove one of them"
                )
            else:
                self._document.keys[(*path, key)] = place
            # The second value's places must not hide the first one's.
            value = self._value(next(self._events), (*path, f"{key} again" if duplicate else key), depth + 1)
            if not duplicate:
                result[key] = value
        return result

    def _unnamed(self, event: _Event, path: Path, depth: int) -> str:
        """Pass over a key that cannot be a name; its text stands in for it."""
        if event.kind == "Scalar":
            return event.text
        self._value(event, (*path, "?"), depth + 1)
        return "?"

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        result: list[Any] = []
        while (event := next(self._events)).kind != "SequenceEnd":
            result.append(self._value(event, (*path, len(result)), depth + 1))
        return result

    def _scalar(self, event: _Event, place: Place, path: Path) -> Any:
        text = event.text
        self._document.scalars[path] = Scalar(text, event.style, place)
        if unusable := next(
            (letter for letter in text if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t"), ""
        ):
            self._flaw(place, path, f"the character U+{ord(unusable):04X}", "remove it")
            return ""
        if event.style:
            return text
        value = _resolved(text)
        if isinstance(value, float) and not math.isfinite(value):
            self._flaw(place, path, f"{text[:40]} is no number that can be used", "write a finite number")
            return None
        return value

    def _flaw(self, place: Place, path: Path, message: str, hint: str) -> None:
        self._document.flaws.append((place, path, message, hint))


def _events(source: str) -> Iterator[_Event]:
    parsed: Any = YAML(typ="safe", pure=True)
    for event in parsed.parse(source):
        yield _Event(
            kind=type(event).__name__.removesuffix("Event"),
            begin=_place(event.start_mark),
            text=getattr(event, "value", ""),
            style=getattr(event, "style", None) or "",
            tag=str(getattr(event, "tag", None) or ""),
            anchor=getattr(event, "anchor", None) or "",
            version=getattr(event, "version", None),
            has_tag_directives=bool(getattr(event, "tags", None)),
        )


def _resolved(text: str) -> Any:
    """What a plain scalar means in YAML 1.2; a number of too many digits is infinite."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text) if len(text) <= MAX_DIGITS else math.inf
    if _BASED.fullmatch(text):
        return int(text, 0) if len(text) <= MAX_DIGITS else math.inf
    if _FLOAT.fullmatch(text):
        return float(text)
    return math.inf if _NOT_FINITE.fullmatch(text) else text


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1, mark.index)


def _place_at(text: str, index: int) -> Place:
    before = text[:index]
    return Place(before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1, index)


def _advice(source: str, place: Place) -> str:
    lines = source.split("\n")
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if line[: place.column].lstrip(" ").startswith("\t"):
        return "indent with spaces, not with tabs"
    if place.column <= len(line) and line[place.column - 1] in "{[%@`*&!|>":
        return "put the value in quotes"
    if line.count(": ") > 1:
        return "put a value that holds ': ' in quotes"
    return "look at the line, and at the one before it, for a missing quote, colon or bracket"
