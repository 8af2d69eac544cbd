"""The names of a vocabulary: which of them a word is, and which it is near to."""

import re
from collections.abc import Iterable
from typing import Literal

from rapidfuzz.distance import OSA

from interlock.plans.words.model import ServiceWords, VersionKind, VersionWords, Vocabulary

NameKind = Literal["service", "environment"]

_SEPARATORS = re.compile(r"[-_.]")
_SHORTEST_CORRECTED = 4
_VERSION_FORM = re.compile(r"v?\d+(\.\d+)+([-+.][0-9a-z.+-]+)?|v\d+([-+.][0-9a-z.+-]+)?", re.IGNORECASE)
_COMMIT_FORM = re.compile(r"[0-9a-f]{7,40}", re.IGNORECASE)
_REF_FORM = re.compile(r"\w+([-./+]\w+)*", re.ASCII)

_KINDS_OF_SLOT: dict[str, tuple[VersionKind, ...]] = {"version": ("tag", "branch"), "tag": ("tag",), "branch": ("branch",)}


class Names:
    """The names of ``vocabulary``, found without regard to case; a name in its exact case wins."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.services = {service.name: service for service in vocabulary.services}
        self.environments = vocabulary.environments
        self._known: dict[NameKind, dict[str, set[str]]] = {
            "service": _index((name, name) for name in self.services),
            "environment": _index((name, name) for name in self.environments),
        }
        for said, meant in vocabulary.aliases.items():
            kind: NameKind = "environment" if meant in self.environments else "service"
            if meant in self.environments or meant in self.services:
                self._known[kind].setdefault(said.casefold(), {meant})
        self._versions = {
            spelling.casefold()
            for service in vocabulary.services
            for name in (*service.tags, *service.branches)
            for spelling in _spellings(name)
        }

    def known(self, kind: NameKind, said: str) -> tuple[str, ...]:
        """The names of that kind that ``said`` is: none, one, or several that differ only in case."""
        found = self._known[kind].get(said.casefold(), set())
        return (said,) if said in found else tuple(sorted(found))

    def near(self, said: str) -> dict[NameKind, set[str]]:
        """The names that ``said`` is a likely typing error of; see `is_near`."""
        return {
            kind: {name for spelling, names in index.items() if is_near(said.casefold(), spelling) for name in names}
            for kind, index in self._known.items()
        }

    def is_version(self, said: str) -> bool:
        """Whether some service has that version, or the form leaves no doubt that a version is meant."""
        return said.casefold() in self._versions or _VERSION_FORM.fullmatch(said) is not None or _is_plain_commit(said)

    def is_nearer(self, said: str, word: str, name: str) -> bool:
        """Whether ``said`` is at least as near to ``word`` as to ``name``."""
        return _distance(said, word) <= _distance(said, name)

    def similar(self, said: str, among: Iterable[str], limit: int = 3) -> tuple[str, ...]:
        """The most similar of ``among``, best first, where at least six characters in ten agree."""
        scored = ((OSA.normalized_similarity(said.casefold(), name.casefold()), name) for name in set(among))
        return tuple(name for score, name in sorted(scored, key=lambda pair: (-pair[0], pair[1])) if score >= 0.6)[:limit]


def _distance(said: str, known: str) -> int:
    return OSA.distance(said.casefold(), known.casefold())


def is_near(said: str, known: str) -> bool:
    """Whether ``said`` may be read as ``known`` (both folded, different).

    The parts between separators are compared one by one: each that differs has at least four letters and begins alike, and in
    parts of up to seven letters one may be wrong, missing, added or swapped with its neighbour, in longer ones two. Digits must
    agree: `web1` is not a misspelt `web2`. Separators alone may differ.
    """
    if not said.isascii() or _digits(said) != _digits(known):
        return False
    if len(said) >= _SHORTEST_CORRECTED and _SEPARATORS.sub("", said) == _SEPARATORS.sub("", known):
        return True
    parts, known_parts = _SEPARATORS.split(said), _SEPARATORS.split(known)
    return len(parts) == len(known_parts) and all(map(_is_near_part, parts, known_parts))


def _is_near_part(said: str, known: str) -> bool:
    if said == known:
        return True
    if min(len(said), len(known)) < _SHORTEST_CORRECTED or said[0] != known[0]:
        return False
    allowed = 1 if len(known) < 8 else 2
    return OSA.distance(said, known, score_cutoff=allowed) <= allowed


def is_ref(said: str) -> bool:
    """Whether a tag or branch may have that name."""
    return _REF_FORM.fullmatch(said) is not None


def is_commit(said: str) -> bool:
    """Whether it is 7 to 40 hexadecimal digits."""
    return _COMMIT_FORM.fullmatch(said) is not None


def resolve(slot: str, said: str, service: ServiceWords | None) -> list[VersionWords]:
    """What ``said`` in a version slot of a template stands for; several where the service has both a tag and a branch of it."""
    if slot in ("latest", "previous"):
        return [VersionWords(kind="latest" if slot == "latest" else "previous")]
    if slot == "commit":
        return [VersionWords(kind="commit", name=said.lower())]
    known: dict[VersionKind, tuple[str, ...]] = {"tag": service.tags, "branch": service.branches} if service else {}
    allowed: list[tuple[VersionKind, tuple[str, ...]]] = [(kind, known.get(kind, ())) for kind in _KINDS_OF_SLOT[slot]]
    exact = [VersionWords(kind=kind, name=said) for kind, names in allowed if said in names]
    alike = [VersionWords(kind=kind, name=name) for kind, names in allowed for name in names if _is_spelling(said, name)]
    return exact or alike or [_unknown_version(slot, said)]


def _unknown_version(slot: str, said: str) -> VersionWords:
    match _KINDS_OF_SLOT[slot]:
        case (kind,):
            return VersionWords(kind=kind, name=said)
        case _ if _is_plain_commit(said):
            return VersionWords(kind="commit", name=said.lower())
        case _:
            return VersionWords(kind="any", name=said)


def _spellings(name: str) -> tuple[str, ...]:
    """A version with and without the ``v`` before its number."""
    if name[:1] in "vV" and name[1:2].isdigit():
        return name, name[1:]
    return (name, f"v{name}") if name[:1].isdigit() else (name,)


def _is_spelling(said: str, name: str) -> bool:
    return said.casefold() in map(str.casefold, _spellings(name))


def _is_plain_commit(said: str) -> bool:
    """A commit that cannot be taken for a number or a word."""
    return is_commit(said) and any(map(str.isdigit, said)) and any(map(str.isalpha, said))


def _index(names: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    index: dict[str, set[str]] = {}
    for said, meant in names:
        index.setdefault(said.casefold(), set()).add(meant)
    return index


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))
