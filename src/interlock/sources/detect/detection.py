"""What a family found."""

import msgspec

from interlock.sources.model import Evidence, Finding, Recipe


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe derived from the files, the evidence for each of its claims, and what a person should know of it."""

    recipe: Recipe
    evidence: tuple[Evidence, ...] = ()
    findings: tuple[Finding, ...] = ()
