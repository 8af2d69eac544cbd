"""What every token of a sentence may be: a name, a word of the language, or nothing known."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from interlock.plans.words.lexicon import Lexicon
from interlock.plans.words.model import Correction
from interlock.plans.words.names import NameKind, Names, is_commit, is_ref
from interlock.plans.words.tokens import Token

Kind = Literal["filler", "ignored", "then", "and", "refused", "word", "unknown"]

# Placeholders for names in the text that the templates see: private characters, which no sentence may contain.
_FIRST_PLACEHOLDER = 0xE000
_DURATION = re.compile(r"(\d{1,6})([a-z]+)")
_NUMBER = re.compile(r"\d{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tagged:
    """A token with what it may be.

    ``lists`` are the template lists that it may fill, ``form`` is what stands for it in the text that the templates see: itself
    where it is a word of the language, else a placeholder. ``names`` are the names it stands for, by kind. ``nearest`` is what
    an unknown one may have been meant to be, ``is_ambiguous`` says that it is as good as each of them.
    """

    token: Token
    kind: Kind
    form: str = ""
    lists: frozenset[str] = frozenset()
    names: tuple[tuple[NameKind, str], ...] = ()
    correction: Correction | None = None
    nearest: tuple[str, ...] = ()
    is_ambiguous: bool = False

    def name(self, kind: NameKind) -> str:
        """The name of that kind; the token has been found to fill such a list."""
        return dict(self.names)[kind]

    @property
    def span(self) -> tuple[int, int]:
        return self.token.start, self.token.end


def tag(tokens: tuple[Token, ...], names: Names, words: Lexicon) -> tuple[Tagged, ...]:
    """Each token tagged, in order. Phrases go before names, known names before everything that is only similar."""
    split = [part for token in tokens for part in _split_duration(token, names, words)]
    closing = _closing_length(split, words)
    lowered = ["" if token.kind == "quoted" else token.lower for token in split]
    tagged: list[Tagged] = []
    while len(tagged) < len(split) - closing:
        place = len(tagged)
        token = split[place]
        filler = words.fillers.at(lowered, place)
        connector = words.connectors.at(lowered, place)
        if connector and not (filler and filler[0] > connector[0]):
            length, kind = connector
            tagged += [Tagged(part, "then" if kind == "then" else "and") for part in split[place : place + length]]
        elif filler and not any(_has_name(part, names) for part in split[place : place + filler[0]]):
            tagged += [Tagged(part, "filler") for part in split[place : place + filler[0]]]
        elif token.kind == "sign":
            tagged.append(Tagged(token, "ignored" if token.text in words.ignored else "unknown"))
        elif lowered[place] in words.refused:
            tagged.append(Tagged(token, "refused"))
        else:
            is_before_qualifier = not words.qualifiers_behind.isdisjoint(lowered[place + 1 : place + 2])
            is_qualified = _content(tagged) in words.qualifiers or (is_before_qualifier and _may_be_version(token, names))
            tagged.append(_word(token, place, is_qualified, names, words))
    return (*tagged, *(Tagged(token, "ignored") for token in split[len(tagged) :]))


def grant(word: Tagged, place: int, name_list: str) -> Tagged:
    """``word`` as if it were a name of that list, to find out where in a sentence it stands."""
    kinds: tuple[tuple[NameKind, str], ...] = (("service", word.token.text), ("environment", word.token.text))
    return replace(word, kind="word", form=_placeholder(place), lists=frozenset({name_list}), names=kinds)


def _word(token: Token, place: int, is_qualified: bool, names: Names, words: Lexicon) -> Tagged:
    literal = token.lower.replace("-", " ")
    is_literal = token.kind == "word" and words.literals.issuperset(literal.split())
    exact = _exact(token, names)
    kinds = {kind for kind, _ in exact}
    if len(kinds) < len(exact):
        return Tagged(token, "unknown", nearest=tuple(name for _, name in exact), is_ambiguous=True)
    lists = kinds | _version_lists(token, is_qualified, is_literal, names)
    if is_literal or lists - {"ref"}:
        return Tagged(token, "word", literal if is_literal else _placeholder(place), frozenset(lists), exact)
    corrected = _corrected(token, place, names, words)
    if not lists:
        return corrected
    return replace(corrected, kind="word", form=_placeholder(place), lists=corrected.lists | lists)


def _exact(token: Token, names: Names) -> tuple[tuple[NameKind, str], ...]:
    kinds: tuple[NameKind, ...] = ("service", "environment")
    return tuple((kind, name) for kind in kinds for name in names.known(kind, token.text))


def _version_lists(token: Token, is_qualified: bool, is_literal: bool, names: Names) -> set[str]:
    lists = {"version"} if names.is_version(token.text) else set[str]()
    if token.kind == "word" and _NUMBER.fullmatch(token.text):
        lists.add("digits")
    if is_qualified and is_ref(token.text) and ("version" in lists or not is_literal):
        lists.add("ref")
    if is_qualified and is_commit(token.text):
        lists.add("hex")
    return lists


def _corrected(token: Token, place: int, names: Names, words: Lexicon) -> Tagged:
    """The one known name that the token is near to; unknown where there is none, or several, or a word of the language too."""
    near = names.near(token.text)
    found: tuple[tuple[NameKind, str], ...] = tuple((kind, name) for kind, meant in near.items() for name in sorted(meant))
    readings = {name for _, name in found}
    verbs = [verb for verb in words.verbs if names.similar(token.text, [verb]) and len(verb) >= 4]
    if len(readings) == 1 and not any(names.is_nearer(token.text, verb, *readings) for verb in verbs):
        name = readings.pop()
        correction = Correction(said=token.text, read_as=name)
        return Tagged(token, "word", _placeholder(place), frozenset(kind for kind, _ in found), found, correction)
    candidates = [*readings] or [*names.services, *names.environments, *verbs]
    return Tagged(token, "unknown", nearest=names.similar(token.text, candidates), is_ambiguous=len(readings) > 1)


def _split_duration(token: Token, names: Names, words: Lexicon) -> tuple[Token, ...]:
    """``5m`` as ``5`` and ``m``, unless it is a name."""
    match = _DURATION.fullmatch(token.lower)
    if token.kind != "word" or match is None or match[2] not in words.unit_names or _has_name(token, names):
        return (token,)
    middle = token.start + len(match[1])
    return (
        Token(token.start, middle, match[1], "word"),
        Token(middle, token.end, match[2], "word"),
    )


def _has_name(token: Token, names: Names) -> bool:
    return bool(names.known("service", token.text) or names.known("environment", token.text)) or names.is_version(token.text)


def _may_be_version(token: Token, names: Names) -> bool:
    """Whether nothing speaks against a version: `greeter branch main` does not name a branch `greeter`."""
    return names.is_version(token.text) or not _exact(token, names)


def _closing_length(tokens: list[Token], words: Lexicon) -> int:
    """How many signs at the end only end the sentence."""
    length = 0
    while length < len(tokens) and tokens[-1 - length].kind == "sign" and tokens[-1 - length].text in words.endings:
        length += 1
    return length


def _content(tagged: list[Tagged]) -> str:
    """The last word before that is not filler."""
    return next((word.token.lower for word in reversed(tagged) if word.kind != "filler"), "")


def _placeholder(place: int) -> str:
    return chr(_FIRST_PLACEHOLDER + place)
