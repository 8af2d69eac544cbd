"""The words of the language: phrases and sentence templates, loaded once from ``en.yaml``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any, Generic, TypeVar

from hassil import Expression, Group, Intents, Sentence, TextChunk, TextSlotList
from ruamel.yaml import YAML

V = TypeVar("V")

VERSION_SLOTS = frozenset({"version", "tag", "branch", "commit", "latest", "previous"})
MEANINGFUL_SLOTS = VERSION_SLOTS | frozenset(
    {"service", "pronoun", "environment", "source", "strategy", "watch", "number", "unit", "smoke_tests", "tests"}
)
"""The slots with a meaning of their own; any other slot of a template says the action."""


class Phrases(Generic[V]):
    """Values by phrases of one or more words; the longest phrase wins."""

    def __init__(self, values: dict[str, V]) -> None:
        self._values = {tuple(phrase.split()): value for phrase, value in values.items()}
        self._longest = max((len(words) for words in self._values), default=0)

    def at(self, words: Sequence[str], place: int) -> tuple[int, V] | None:
        """How many words from ``place`` on are a phrase, and its value."""
        for length in range(min(self._longest, len(words) - place), 0, -1):
            if (value := self._values.get(tuple(words[place : place + length]))) is not None:
                return length, value
        return None


@dataclass(frozen=True)
class Lexicon:
    """``literals`` are the words of the templates, ``verbs`` what says an action, ``plain_verbs`` the first verb of each."""

    fillers: Phrases[bool]
    connectors: Phrases[str]
    ignored: frozenset[str]
    endings: frozenset[str]
    qualifiers: frozenset[str]
    qualifiers_behind: frozenset[str]
    refused: dict[str, str]
    intents: Intents
    literals: frozenset[str]
    verbs: tuple[str, ...]
    plain_verbs: tuple[str, ...]
    unit_names: frozenset[str]


@cache
def lexicon() -> Lexicon:
    """The English words. Read once a process; raises what the file's reader raises where the file is broken."""
    data: dict[str, Any] = YAML(typ="safe", pure=False).load(  # pyright: ignore[reportUnknownMemberType]
        files("interlock.plans.words").joinpath("en.yaml").read_text("utf-8")
    )
    intents = Intents.from_dict(data["grammar"])
    return Lexicon(
        fillers=Phrases(dict.fromkeys(data["fillers"], True)),
        connectors=Phrases({phrase: kind for kind, phrases in data["connectors"].items() for phrase in phrases}),
        ignored=frozenset(data["ignored"]),
        endings=frozenset(data["endings"]),
        qualifiers=frozenset(data["qualifiers"]),
        qualifiers_behind=frozenset(data["qualifiers_behind"]),
        refused={word: entry["because"] for entry in data["refused"] for word in entry["words"]},
        intents=intents,
        literals=frozenset(_literals(intents)),
        plain_verbs=tuple(_phrases(intents, name)[0] for name in intents.intents if name in intents.slot_lists),
        verbs=tuple(phrase for name in intents.intents if name in intents.slot_lists for phrase in _phrases(intents, name)),
        unit_names=frozenset(chain.from_iterable(_words(value.text_in) for value in _values(intents, "unit"))),
    )


def _literals(intents: Intents) -> Iterator[str]:
    for name in intents.slot_lists:
        for value in _values(intents, name):
            yield from _words(value.text_in)
    for rule in intents.expansion_rules.values():
        yield from _words(rule.expression)
    for sentence in _sentences(intents):
        yield from _words(sentence.expression)


def _sentences(intents: Intents) -> Iterator[Sentence]:
    for intent in intents.intents.values():
        for block in intent.data:
            yield from block.sentences


def _values(intents: Intents, name: str) -> list[Any]:
    values = intents.slot_lists[name]
    return values.values if isinstance(values, TextSlotList) else []


def _phrases(intents: Intents, name: str) -> list[str]:
    return [value.text_in.text for value in _values(intents, name) if isinstance(value.text_in, TextChunk)]


def _words(expression: Expression) -> Iterator[str]:
    if isinstance(expression, TextChunk):
        yield from expression.text.lower().split()
    elif isinstance(expression, Group):
        for item in expression.items:
            yield from _words(item)
