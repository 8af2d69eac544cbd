"""Grants: what the approved plan lets a task do, as data that a person can read.

A grant names a tool and, for each argument, what it may be. What is not named is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from interlock.core.addresses import LOCAL
from interlock.core.canonical import canonical_json
from interlock.core.errors import Forbidden


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What one argument may be: ``exactly`` the value; a path ``under`` the folder; ``one_of`` the values; a ``port``; ports of
    this host, or of the hosts that the value lists, as ``shares`` of a leg; or ``decided`` while the run goes on, by an earlier
    task or by the tool itself."""

    rule: Literal["exactly", "under", "one_of", "port", "shares", "decided"]
    value: Any = None

    def allows(self, value: Any) -> bool:
        if self.rule == "exactly":
            return _same(value, self.value)
        if self.rule == "one_of":
            return any(_same(value, choice) for choice in self.value)
        if self.rule == "under":
            path = PurePosixPath(str(value))
            return ".." not in path.parts and path.is_relative_to(str(self.value))
        if self.rule == "port":
            return value is None or _is_port(value)
        if self.rule == "shares":
            return isinstance(value, list) and all(_is_share(share, self.value or ()) for share in value)  # pyright: ignore[reportUnknownVariableType]
        return True


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and 1024 <= value <= 65535


def _is_share(value: Any, hosts: Sequence[str]) -> bool:
    is_whole = isinstance(value, dict) and {"host", *value} == {"host", "port", "percent"}
    return is_whole and _is_port(value["port"]) and ("host" not in value or value["host"] in (LOCAL, *hosts))


def _same(value: Any, granted: Any) -> bool:
    # As JSON: true is not 1 there, and a list is a list whatever holds it in memory.
    try:
        return canonical_json(value) == canonical_json(granted)
    except TypeError:
        return False


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """The right of one task to one tool, with the grammar of its arguments."""

    task: str
    tool: str
    arguments: dict[str, Rule]


def exactly(value: Any) -> Rule:
    return Rule(rule="exactly", value=value)


def check_call(
    grants: Iterable[Grant], task: str, tool: str, arguments: dict[str, Any], defaults: Mapping[str, Any] | None = None
) -> None:
    """Raises Forbidden ``not_granted``, saying what exactly is outside the plan, unless a grant covers the call.

    An argument that the grant names and the call leaves out is judged by what the tool takes instead: its ``defaults``.
    """
    refusal = f"the plan gives {task} no right to {tool}"
    for grant in grants:
        if (grant.task, grant.tool) != (task, tool):
            continue
        refusal = _first_refusal(grant, arguments, defaults or {})
        if not refusal:
            return
    raise Forbidden("not_granted", refusal, where=task, hint="change the request and approve the new plan")


def _first_refusal(grant: Grant, arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    for name in arguments:
        if name not in grant.arguments:
            return f"the plan lets {grant.task} use {grant.tool} without {name}"
    for name, rule in grant.arguments.items():
        is_given = name in arguments or name in defaults
        if is_given and not rule.allows(arguments.get(name, defaults.get(name))):
            return f"{name} of {grant.tool} is outside what the plan grants to {grant.task}"
    return ""
