"""What every word of a sentence became, as spans to show; and the check that nothing was left out."""

import unicodedata
from collections.abc import Sequence

from interlock.plans.words.clauses import Clause, Filled, Reading
from interlock.plans.words.lexicon import MEANINGFUL_SLOTS, VERSION_SLOTS
from interlock.plans.words.model import Draft, Highlight, Role
from interlock.plans.words.tagging import Tagged

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("service", "pronoun"), "service"),
    **dict.fromkeys(("environment", "source"), "environment"),
    **dict.fromkeys(VERSION_SLOTS, "version"),
    **dict.fromkeys(("strategy", "watch", "number", "unit"), "constraint"),
    **dict.fromkeys(("smoke_tests", "tests"), "step"),
}


def highlights(tagged: Sequence[Tagged], readings: Sequence[tuple[Clause, Reading]], draft: Draft) -> tuple[Highlight, ...]:
    """One span for each word or run of words with one meaning, in order and without overlap; unread words have none."""
    marks = {word.token.start: mark for clause, reading in readings for word, mark in _marks(clause, reading, draft)}
    spans: list[Highlight] = []
    previous: object = None
    for word in tagged:
        mark = marks.get(word.token.start) or _mark_between(word)
        if mark is None:
            previous = None
            continue
        owner, role, meaning = mark
        start = spans.pop().start if owner is not None and owner is previous else word.token.start
        spans.append(Highlight(start=start, end=word.token.end, role=role, meaning=meaning))
        previous = owner
    return tuple(spans)


def first_uncovered(text: str, spans: Sequence[Highlight]) -> tuple[int, int] | None:
    """The first run of characters, white space and punctuation apart, that belongs to no span."""
    covered = {place for span in spans for place in range(span.start, span.end)}
    bare = [place for place, character in enumerate(text) if place not in covered and not _is_silent(character)]
    if not bare:
        return None
    end = next((place for place in range(bare[0], len(text)) if _is_silent(text[place])), len(text))
    return bare[0], end


def _is_silent(character: str) -> bool:
    return character.isspace() or unicodedata.category(character)[0] == "P"


_Mark = tuple[Filled | None, Role, str]


def _marks(clause: Clause, reading: Reading, draft: Draft) -> list[tuple[Tagged, _Mark]]:
    slots = {place: filled for filled in reading.filled for place in range(filled.first, filled.last + 1)}
    return [(word, _mark(word, slots.get(place), draft)) for place, word in enumerate(clause.words)]


def _mark(word: Tagged, filled: Filled | None, draft: Draft) -> _Mark:
    if filled is None:
        return None, "grammar", ""
    if filled.slot not in MEANINGFUL_SLOTS:
        return filled, "action", draft.action or ""
    return filled, _ROLES[filled.slot], _meaning(word, filled, draft)


def _meaning(word: Tagged, filled: Filled, draft: Draft) -> str:
    match _ROLES[filled.slot]:
        case "service":
            return word.name("service") if filled.slot == "service" else draft.service or ""
        case "environment":
            return word.name("environment")
        case "version" if draft.version is not None:
            return f"{draft.version.kind} {draft.version.name}".rstrip()
        case "constraint":
            return f"strategy {filled.value}" if filled.slot == "strategy" else f"watch {draft.constraints.watch_s} s"
        case "step":
            return filled.slot
        case _:
            return ""


def _mark_between(word: Tagged) -> _Mark | None:
    if word.kind == "filler":
        return None, "filler", ""
    if word.kind in ("and", "then"):
        return None, "connector", word.kind
    return None
