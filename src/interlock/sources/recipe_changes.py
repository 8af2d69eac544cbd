"""What two recipes say differently about building, running and judging a service. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec

from interlock.sources.model import CanaryStep, Command, Migration, Recipe, WatchPolicy


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the recipe that becomes another one; empty where it was not said, or is not any more."""

    field: str
    now: str
    then: str


# The name is the service's, the version is what a tag says, the description is for people: none of them does anything.
_SAYS_NOTHING = frozenset({"name", "version", "description"})


def recipe_changes(now: Recipe, then: Recipe, watch_now: WatchPolicy, watch_then: WatchPolicy) -> tuple[FieldChange, ...]:
    """Each part that becomes another one, in the order of the recipe. The thresholds are those that are watched by, from
    wherever they come. Of variables only the names are told, and that a value is another one: never the value."""
    before, after = _parts(now, watch_now), _parts(then, watch_then)
    changes = [
        FieldChange(field=field, now=before.get(field, ""), then=after.get(field, ""))
        for field in dict.fromkeys((*before, *after))
        if before.get(field, "") != after.get(field, "")
    ]
    return (*changes, *_other_values(now, then))


def _parts(recipe: Recipe, watch: WatchPolicy) -> dict[str, str]:
    """Every part of a recipe that says something, by a name such as ``health.path``, as a person reads it."""
    found: dict[str, str] = {}
    for field in recipe.__struct_fields__:
        if field not in _SAYS_NOTHING:
            value = watch if field == "watch" else getattr(recipe, field)
            found |= dict(_said(field, value))
    return found


def _said(field: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, msgspec.Struct) and not isinstance(value, Command):
        for name in value.__struct_fields__:
            yield from _said(f"{field}.{name}", getattr(value, name))
    elif isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        yield from ((f"{field}.{name}", "set" if field == "env" else str(item)) for name, item in members.items())
    elif isinstance(value, tuple):
        yield from _items(field, cast("Sequence[Any]", value))
    elif value is not None and value != "":
        yield field, _text(value)


def _items(field: str, items: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Things with names one by one, so that each is compared with itself; a list of anything else as a whole."""
    named = [item for item in items if hasattr(item, "name")]
    if len(named) == len(items):
        for item in items:
            parts = dict(part for name in item.__struct_fields__ if name != "name" for part in _said(name, getattr(item, name)))
            yield f"{field}.{item.name}", ", ".join(f"{name} {text}" for name, text in parts.items())
    else:
        yield field, "; ".join(_text(item) for item in items)


def _text(value: Any) -> str:
    match value:
        case Command():
            return value.text
        case CanaryStep():
            return f"{value.percent} % for {value.bake_s:g} s"
        case Migration():
            return f"{value.command.text} ({f'undo: {value.undo.text}' if value.undo else f'one way: {value.one_way}'})"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _other_values(now: Recipe, then: Recipe) -> Iterator[FieldChange]:
    for name, value in then.env.items():
        if name in now.env and now.env[name] != value:
            yield FieldChange(field=f"env.{name}", now="set", then="set to another value")
