"""A question about a sentence: what was asked for, which part of it is in question, and what would answer it."""

import shlex

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from interlock.faces.cli.text import Doc
from interlock.faces.cli.views.parts import DIM, section, title
from interlock.plans.words.model import Question, answer

_REASONS = {"not_understood": "not understood", "ambiguous": "ambiguous", "missing": "something is missing"}


def question(sentence: str, asked: Doc) -> RenderableType:
    """The sentence with the questioned part between » and «, the question, and a command for each choice."""
    found = msgspec.convert(asked, Question)
    start, end = found.span or (0, 0)
    parts: list[RenderableType] = [title("Question", _REASONS[found.reason]), Text("")]
    marked = Text("  ").append(sentence[:start])
    if found.span is not None:
        marked.append("»", style="yellow").append(sentence[start:end], style="bold yellow").append("«", style="yellow")
    parts += [marked.append(sentence[end:]), Text(""), Text(f"  {found.text}", style="bold")]
    if found.choices:
        answers = [Text(f"interlock plan {shlex.quote(answer(sentence, found, choice))}") for choice in found.choices]
        parts.append(section("Answer it with one of these", *answers))
    return Group(*parts, *_understood(asked["understood"]))


def _understood(draft: Doc) -> list[RenderableType]:
    """What had been understood before the question came up."""
    said = [draft["action"], draft["service"], (draft["version"] or {}).get("name"), *draft["environments"]]
    words = [word for word in said if word]
    return [section("Understood so far", Text(", ".join(words), style=DIM))] if words else []
