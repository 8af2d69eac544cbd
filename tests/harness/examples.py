"""How many examples a property is tried with: all of them in `make test` and `make slow`, a few wherever somebody waits."""

from typing import Any

from hypothesis import settings

ALL = 100
"""What a test that says no number gets of the profile ``all``."""
FEW = 15
FEWEST = 10

settings.register_profile("all", max_examples=ALL, deadline=None)
settings.register_profile("few", max_examples=FEW, deadline=None)
settings.load_profile("few")


def examples(number: int, **options: Any) -> settings:
    """Settings with ``number`` examples; with the profile ``few`` as much less as everywhere."""
    share = settings().max_examples / ALL
    return settings(max_examples=max(min(number, FEWEST), round(number * share)), deadline=None, **options)
