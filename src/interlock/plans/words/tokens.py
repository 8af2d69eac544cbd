"""A sentence cut into tokens, each with its place. Knows no vocabulary."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

# A quoted name; the possessive 's; an arrow; a word with the separators that names and versions have inside; any other sign.
_TOKEN = re.compile(
    r"""["'`“‘«](?P<quoted>[^\s"'`“”‘’«»]+)["'`”’»]
      | (?P<word>['’]s\b | \w+(?:(?!['’]s\b)[-.+/'’]+\w+)*)
      | (?P<sign>->|=>|[^\w\s])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """``text`` is what stands at ``start:end``, without quotation marks; ``lower`` is the same, folded for comparison."""

    start: int
    end: int
    text: str
    kind: Literal["word", "quoted", "sign"]

    @property
    def lower(self) -> str:
        return self.text.lower().replace("’", "'")


def scan(text: str) -> tuple[Token, ...]:
    """Every character of ``text`` that is not white space is in exactly one token."""
    return tuple(_token(match) for match in _TOKEN.finditer(text))


def _token(match: re.Match[str]) -> Token:
    if (quoted := match["quoted"]) is not None:
        return Token(match.start(), match.end(), quoted, "quoted")
    return Token(match.start(), match.end(), match[0], "word" if match["word"] is not None else "sign")


def first_unreadable(text: str) -> int | None:
    """Where the first control, formatting, private or unassigned character stands; line breaks and tabs are white space."""
    for place, character in enumerate(text):
        if unicodedata.category(character)[0] == "C" and character not in "\n\r\t":
            return place
    return None
