"""Version tags in the order of their versions, as Semantic Versioning 2.0.0, section 11, has it."""

import re
from collections.abc import Iterable

from interlock.sources.ports import Ref

_VERSION = re.compile(r"[vV]?(\d{1,18}(?:\.\d{1,18}){0,5})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")

# Numbers; whether it is a release; the identifiers of a pre-release, numbers before words.
VersionKey = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def version_key(name: str) -> VersionKey | None:
    """What a tag's name sorts by; None where it is no version. ``v`` before the number and missing parts count for nothing."""
    found = _VERSION.fullmatch(name)
    if found is None:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    identifiers = (found[2] or "").split(".") if found[2] else []
    parts = tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in identifiers)
    return tuple(numbers), not identifiers, parts


def newest_first(tags: Iterable[Ref]) -> list[Ref]:
    """Versions from the newest to the oldest, then the other tags by name."""
    keyed = [(version_key(tag.name), tag) for tag in tags]
    versions = [(key, tag) for key, tag in keyed if key is not None]
    versions.sort(key=lambda pair: (pair[0], pair[1].name), reverse=True)
    return [tag for _, tag in versions] + sorted((tag for key, tag in keyed if key is None), key=lambda tag: tag.name)


def latest(tags: Iterable[Ref]) -> Ref | None:
    """The highest release; where there are only pre-releases, the highest of these; None where no tag is a version."""
    versions = [(key, tag) for tag in newest_first(tags) if (key := version_key(tag.name)) is not None]
    releases = [tag for key, tag in versions if key[1]]
    return next(iter(releases or [tag for _, tag in versions]), None)
