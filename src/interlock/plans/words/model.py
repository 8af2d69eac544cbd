"""The values of plain words: what may be named, and what a sentence was understood to mean."""

from typing import Literal

import msgspec

Action = Literal["deploy", "promote", "rollback", "drill", "test", "build", "restart", "stop", "status"]
PostStep = Literal["smoke_tests", "tests"]
Strategy = Literal["recreate", "rolling", "blue-green", "canary"]
Role = Literal["action", "service", "version", "environment", "step", "constraint", "grammar", "connector", "filler"]
Reason = Literal["not_understood", "ambiguous", "missing"]
VersionKind = Literal["tag", "branch", "commit", "latest", "previous", "any"]


class ServiceWords(msgspec.Struct, frozen=True, kw_only=True):
    """A service that may be named, with the versions known of it (newest first, as they are to be offered)."""

    name: str
    tags: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """Every name that a sentence may use.

    ``environments`` stand in promotion order. ``aliases`` map what people say to the environment or service that they mean.
    """

    services: tuple[ServiceWords, ...] = ()
    environments: tuple[str, ...] = ()
    aliases: dict[str, str] = {}


class VersionWords(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it was said. ``any``: the name may be a tag, a branch or a commit. ``latest`` and ``previous`` have no name.

    The version need not exist: a name of a clear form is passed on, and whoever resolves it refuses it.
    """

    kind: VersionKind
    name: str = ""


class Constraints(msgspec.Struct, frozen=True, kw_only=True):
    """How it is to be done; None where nothing was said."""

    strategy: Strategy | None = None
    watch_s: int | None = None


class Highlight(msgspec.Struct, frozen=True, kw_only=True):
    """What ``text[start:end]`` became. ``grammar`` only holds the sentence together and has no meaning of its own."""

    start: int
    end: int
    role: Role
    meaning: str = ""


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """A typing error that was read as the one known name near it."""

    said: str
    read_as: str


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """As much of a sentence as was understood before a question came up."""

    action: Action | None = None
    service: str | None = None
    version: VersionWords | None = None
    environments: tuple[str, ...] = ()
    source: str | None = None
    post_steps: tuple[PostStep, ...] = ()
    constraints: Constraints = Constraints()
    highlights: tuple[Highlight, ...] = ()
    corrections: tuple[Correction, ...] = ()


class Understood(msgspec.Struct, frozen=True, kw_only=True):
    """A whole sentence, every word of it covered by ``highlights``.

    ``service`` is None only for a ``status`` that names none. A service or environment that is needed and was not said is
    filled in where exactly one exists. ``environments`` stand in the order in which they are to be reached; they are empty
    only where the action can do without. ``source`` is the environment that something is promoted from, None where it was not
    said. ``post_steps`` follow the action, in the order said.
    """

    action: Action
    service: str | None
    version: VersionWords | None
    environments: tuple[str, ...]
    post_steps: tuple[PostStep, ...]
    constraints: Constraints
    highlights: tuple[Highlight, ...]
    corrections: tuple[Correction, ...]
    source: str | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Why no plan can be made of the sentence, as a question to whoever said it.

    ``span`` is the part of the sentence that is in question; an empty one (start == end) is the place where something is
    missing; None means the sentence as a whole. Each of ``choices`` is a text that answers the question when it takes the
    place of ``span`` (see `answer`).
    """

    text: str
    reason: Reason
    span: tuple[int, int] | None = None
    choices: tuple[str, ...] = ()
    understood: Draft = Draft()


def answer(sentence: str, question: Question, choice: str) -> str:
    """``sentence`` with ``choice`` in the place that ``question`` is about; without a place, the choice alone."""
    if question.span is None:
        return choice
    before, after = sentence[: question.span[0]].rstrip(), sentence[question.span[1] :]
    gap = " " if after[:1].isalnum() else ""
    return f"{before} {choice}{gap}{after}".strip()
