"""The questions that a sentence can give rise to, in words."""

from collections.abc import Iterable, Sequence

from interlock.plans.words.clauses import Clause
from interlock.plans.words.lexicon import Lexicon
from interlock.plans.words.model import Reason, ServiceWords
from interlock.plans.words.names import is_commit
from interlock.plans.words.tagging import Tagged
from interlock.plans.words.tokens import scan

_CHOICES_LIMIT = 6
_QUOTE_LIMIT = 80


Span = tuple[int, int]


class Doubt(Exception):  # noqa: N818 - not an error: the sentence needs a question
    """What keeps a sentence from being understood: the parts of a `Question` but for the draft."""

    def __init__(self, text: str, reason: Reason, span: Span | None = None, choices: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.text = text
        self.reason: Reason = reason
        self.span = span
        self.choices = tuple(choices)[:_CHOICES_LIMIT]


def quote(text: str) -> str:
    """``text`` in quotation marks, on one line and cut to a readable length."""
    line = " ".join(text.split())
    return f"“{line[: _QUOTE_LIMIT - 1]}…”" if len(line) > _QUOTE_LIMIT else f"“{line}”"


def spell(name: str, lexicon: Lexicon) -> str:
    """``name`` so that it is read as a name: in quotation marks where it is a word of the language too."""
    tokens = scan(name)
    lowered = [token.lower for token in tokens]
    is_plain = (
        len(tokens) == 1
        and tokens[0].kind == "word"
        and lowered[0] not in lexicon.literals | lexicon.refused.keys()
        and not lexicon.fillers.at(lowered, 0)
        and not lexicon.connectors.at(lowered, 0)
    )
    return name if is_plain else f'"{name}"'


def refused(word: Tagged, lexicon: Lexicon) -> Doubt:
    return Doubt(f"I cannot take {quote(word.token.text)}. {lexicon.refused[word.token.lower]}", "not_understood", word.span)


def unknown(text: str, words: Sequence[Tagged]) -> Doubt:
    """About the unknown ones of ``words``; what may have been meant is offered where only one is unknown."""
    strange = [word for word in words if word.kind == "unknown"]
    start, end = strange[0].token.start, strange[-1].token.end
    nearest = strange[0].nearest if len(strange) == 1 else ()
    if nearest:
        head = "could be several names" if strange[0].is_ambiguous else "is no word that I know"
        message = f"{quote(text[start:end])} {head}. Did you mean {one_of(nearest)}?"
        return Doubt(message, "ambiguous" if strange[0].is_ambiguous else "not_understood", (start, end), nearest)
    return Doubt(f"I did not understand {quote(text[start:end])}. What should it do?", "not_understood", (start, end))


def unknown_name(word: Tagged, kind: str, known: Sequence[str], nearest: Sequence[str], lexicon: Lexicon) -> Doubt:
    offered = nearest or known
    hint = f"Did you mean {one_of(nearest)}?" if nearest else f"There is {one_of(known)}." if known else ""
    message = f"There is no {kind} {quote(word.token.text)}. {hint}".rstrip()
    return Doubt(message, "not_understood", word.span, (spell(name, lexicon) for name in offered))


def unknown_version(word: Tagged, service: ServiceWords | None, nearest: Sequence[str], lexicon: Lexicon) -> Doubt:
    said = word.token.text
    of_service = f" of {quote(service.name)}" if service else ""
    # Of digits alone it may be a number as well as a commit.
    kinds = ["a branch", "a tag", *(["a commit"] if is_commit(said) else [])]
    asked = f"Is it {' or '.join(kinds)}? Or did you mean another version?"
    message = f"{quote(said)} is no known version{of_service}. {asked}"
    choices = [f"{kind.split()[-1]} {said}" for kind in kinds] if word.token.kind == "word" else []
    return Doubt(message, "not_understood", word.span, [*(spell(name, lexicon) for name in nearest), *choices])


def clause_not_understood(text: str, clause: Clause, understood_words: int) -> Doubt:
    """About the part of ``clause`` behind the words that were understood."""
    start, end = clause.words[understood_words].token.start, clause.span[1]
    known = f" after {quote(text[clause.span[0] : clause.words[understood_words - 1].token.end])}" if understood_words else ""
    return Doubt(f"I did not understand {quote(text[start:end])}{known}. How is it meant?", "not_understood", (start, end))


def dangling(connector: Tagged) -> Doubt:
    return Doubt(f"Something should follow {quote(connector.token.text)}. What comes next?", "missing", connector.span)


def no_action(clause: Clause, verbs: Sequence[str]) -> Doubt:
    start = clause.span[0]
    return Doubt(f"What is to be done? {one_of(verbs)}?", "missing", (start, start), verbs)


def all_of(names: Sequence[str]) -> str:
    """The names as a list joined by "and"."""
    return " and ".join(quote(name) for name in names)


def one_of(names: Sequence[str]) -> str:
    """The names as a list joined by "or", cut to a readable length."""
    quoted = [quote(name) for name in names[:_CHOICES_LIMIT]]
    if len(names) > _CHOICES_LIMIT:
        return f"{', '.join(quoted)} or another"
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
