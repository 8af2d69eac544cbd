"""A question about a sentence: what was asked for, which part of it is in question, and what would answer it."""

import shlex
from collections.abc import Sequence

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from interlock.faces.cli.text import Doc
from interlock.faces.cli.views.parts import DIM, section, title
from interlock.plans.words.model import Draft, Question, answer

_REASONS = {"not_understood": "not understood", "ambiguous": "ambiguous", "missing": "something is missing"}


def question(sentence: str, asked: Doc, options: Sequence[str] = ()) -> RenderableType:
    """The sentence with the questioned part between » and «, the question, and a command for each choice.

    ``options`` are those that the sentence was given with: an answer without them would ask for something else.
    """
    found = msgspec.convert(asked, Question)
    parts: list[RenderableType] = [title("Question", _REASONS[found.reason]), Text("")]
    parts += [_marked(sentence, found.span), Text(""), Text(f"  {found.text}", style="bold")]
    if found.choices:
        answers = [
            Text(shlex.join(("interlock", "plan", answer(sentence, found, choice), *options))) for choice in found.choices
        ]
        parts.append(section("Answer it with one of these", *answers))
    return Group(*parts, *_understood(found.understood))


def _marked(sentence: str, span: tuple[int, int] | None) -> Text:
    """The sentence with its questioned part between signs; a question mark stands where something is missing."""
    line = Text("  ")
    if span is None:
        return line.append(sentence)
    before, questioned, after = sentence[: span[0]], sentence[slice(*span)], sentence[span[1] :]
    if not questioned:
        before, questioned = before.rstrip() + " ", "?"
    return line.append(before).append(f"»{questioned}«", style="bold yellow").append(after)


def _understood(draft: Draft) -> list[RenderableType]:
    """What had been understood before the question came up."""
    version = draft.version.name or draft.version.kind if draft.version else None
    said = (draft.action, draft.service, version, *draft.environments)
    words = [word for word in said if word]
    return [section("Understood so far", Text(", ".join(words), style=DIM))] if words else []
