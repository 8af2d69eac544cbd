"""What each action needs, and what can be said with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from interlock.plans.words.model import Action

Part = Literal["service", "version", "environment", "strategy", "watch", "smoke_tests", "tests"]

ACTIONS: frozenset[str] = frozenset(get_args(Action))
LONGEST_WATCH_S = 86_400
WITHOUT_ORDER: frozenset[Action] = frozenset({"status", "test"})
"""Of these the order of environments does not change what happens."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What an action cannot do without, in the order of asking, and what else may be said with it."""

    needs: tuple[Part, ...]
    takes: frozenset[Part]


_FOLLOWED: frozenset[Part] = frozenset[Part]({"environment", "watch", "smoke_tests", "tests"})

RULES: Mapping[Action, Rule] = {
    "deploy": Rule(("service", "version", "environment"), _FOLLOWED | frozenset[Part]({"strategy"})),
    "promote": Rule(("service", "environment"), _FOLLOWED | frozenset[Part]({"strategy"})),
    "rollback": Rule(("service", "environment"), _FOLLOWED),
    "drill": Rule(("service", "environment"), frozenset({"environment"})),
    "restart": Rule(("service", "environment"), _FOLLOWED),
    "stop": Rule(("service", "environment"), frozenset({"environment"})),
    "test": Rule(("service",), frozenset({"environment"})),
    "build": Rule(("service",), frozenset({"tests"})),
    "status": Rule((), frozenset({"environment"})),
}
