"""A tagged sentence cut into clauses, and the readings of each clause according to the sentence templates."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hassil import RecognizeResult, SlotList, TextChunk, TextSlotList, TextSlotValue, recognize_all

from interlock.plans.words.lexicon import Lexicon
from interlock.plans.words.tagging import Tagged

NAME_LISTS = ("service", "environment", "version", "ref", "hex", "digits")
"""The template lists that the names of a sentence fill."""


@dataclass(frozen=True, slots=True)
class Clause:
    """Words between two connectors. ``follows`` says whether a connector before it gives an order."""

    words: tuple[Tagged, ...]
    follows: bool

    @property
    def span(self) -> tuple[int, int]:
        return self.words[0].token.start, self.words[-1].token.end

    def span_of(self, filled: "Filled") -> tuple[int, int]:
        """The characters that fill the slot."""
        return self.words[filled.first].token.start, self.words[filled.last].token.end


@dataclass(frozen=True, slots=True)
class Filled:
    """A slot of a template and the words ``first`` to ``last`` of the clause that fill it; ``value`` as the template has it."""

    slot: str
    first: int
    last: int
    value: str | int


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a clause: the kind of the template, and its filled slots in the order of the sentence."""

    kind: str
    filled: tuple[Filled, ...]
    note: dict[str, Any] = field(default_factory=dict[str, Any], compare=False)
    """What the template says of itself."""


def split(tagged: Sequence[Tagged]) -> tuple[tuple[Clause, ...], Tagged | None]:
    """The clauses of a sentence, and the connector in words that leads nowhere at its end, if there is one."""
    clauses: list[Clause] = []
    words: list[Tagged] = []
    pending: list[Tagged] = []
    for item in tagged:
        if item.kind in ("and", "then"):
            if words:
                clauses.append(Clause(tuple(words), _gives_order(pending)))
                words, pending = [], []
            pending.append(item)
        elif item.kind not in ("filler", "ignored"):
            words.append(item)
    if words:
        clauses.append(Clause(tuple(words), _gives_order(pending)))
        pending = []
    dangling = [item for item in pending if item.token.kind == "word"]
    return tuple(clauses), dangling[-1] if dangling else None


def read(words: Sequence[Tagged], lexicon: Lexicon) -> tuple[Reading, ...]:
    """Every different way to read the words as one clause, none where no template covers them all."""
    text = " ".join(word.form for word in words)
    if not all(word.form for word in words):
        return ()
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    place = 0
    for index, word in enumerate(words):
        starts[place], ends[place + len(word.form)] = index, index
        place += len(word.form) + 1
    results = recognize_all(text, lexicon.intents, slot_lists=_slot_lists(words))
    return tuple(dict.fromkeys(reading for result in results if (reading := _reading(result, starts, ends)) is not None))


def _reading(result: RecognizeResult, starts: dict[int, int], ends: dict[int, int]) -> Reading | None:
    """The match in terms of words; None where a slot does not begin and end with a word."""
    filled: list[Filled] = []
    for entity in result.entities_list:
        start, end = entity.text_span or (-1, -1)
        if start not in starts or end not in ends:
            return None
        filled.append(Filled(entity.name, starts[start], ends[end], entity.value))
    filled.sort(key=lambda item: item.first)
    return Reading(result.intent.name, tuple(filled), result.intent_metadata or {})


def _slot_lists(words: Iterable[Tagged]) -> dict[str, SlotList]:
    forms = {name: sorted({word.form for word in words if name in word.lists}) for name in NAME_LISTS}
    return {name: TextSlotList(name, [TextSlotValue(TextChunk(form), form) for form in forms[name]]) for name in NAME_LISTS}


def _gives_order(connectors: Iterable[Tagged]) -> bool:
    return any(item.kind == "then" for item in connectors)
