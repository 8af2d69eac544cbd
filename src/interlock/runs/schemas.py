"""What tasks promise of their results and ask of their inputs: JSON Schemas (draft 2020-12) as data."""

import json
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, cast

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry

from interlock.core.canonical import canonical_json
from interlock.core.errors import Invalid
from interlock.core.patterns import Pattern
from interlock.runs.faults import Fault

Schema = Mapping[str, Any]

_MAX_WORDS = 200
_MAX_REFERENCES = 50_000
"""Followed in one validation: a schema whose parts refer to each other twice doubles its work with each of them."""
_NOTHING_ELSE = cast("Any", Registry)()
_REFERENCE = re.compile(r"#(?:/(?:\$defs|definitions)/[^/~%]+)?")
"""The whole, or a definition: what stands there is read as a schema, here as by whoever validates."""
_ELSEWHERE = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor"})
_BY_PATTERNS = "names properties by patterns, which is not done here"
_OPEN = frozenset({"allOf", "anyOf", "oneOf", "$ref", "if", "not", "dependentSchemas"})
"""Where one of these says something too, the rest alone does not tell what is allowed."""
_NAMES = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_CONSTANTS = frozenset({"const", "enum", "default", "examples"})
_KINDS = {"bool": "boolean", "int": "integer", "float": "number", "str": "string", "list": "array", "dict": "object"}


def schema_fault(schema: Schema, name: str) -> Fault | None:
    """Why ``schema``, the field ``name`` of a task, is none; None where it is one."""
    try:
        _validator(canonical_json(schema))
    except SchemaError as error:
        path = "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in cast("Any", error).absolute_path)
        return Fault(f"is no JSON Schema: {_short(error.message)}", name + path)
    except RecursionError:
        return Fault("is nested too deeply", name)
    except (TypeError, ValueError) as error:
        return Fault(f"cannot be written as JSON: {error}", name)
    return next((fault for place, word, value in _words_of(schema, name) if (fault := _word_fault(place, word, value))), None)


def _word_fault(place: str, word: str, value: Any) -> Fault | None:
    if not isinstance(value, str):
        # Below a word that no schema has: nobody reads it.
        return Fault(_BY_PATTERNS, f"{place}.{word}", "name them in properties") if word == "patternProperties" else None
    if word == "$ref" and not _REFERENCE.fullmatch(value):
        return Fault(f"refers to {value!r}, which is elsewhere", f"{place}.{word}", "refer to a definition: #/$defs/NAME")
    if word in _ELSEWHERE:
        return Fault(f"has {word}, which is not done here", f"{place}.{word}", "refer to a definition: #/$defs/NAME")
    if word == "pattern":
        try:
            _pattern(value)
        except Invalid as error:
            return Fault(error.message, f"{place}.{word}", error.hint)
    return None


def violation(schema: Schema, value: Any) -> tuple[str, str]:
    """What ``value`` has against ``schema``: where and what, in words; two empty texts where it has nothing."""
    _followed.set(0)
    try:
        errors = cast("Iterator[ValidationError]", _validator(canonical_json(schema)).iter_errors(value))
        error = next(errors, None)
    except _TooMuchError:
        return "$", f"the schema takes more than {_MAX_REFERENCES} references to be followed"
    except RecursionError:
        return "$", "the schema never ends"
    except Exception as error:
        # A reference within the schema that leads nowhere; its error has no public type.
        return "$", _short(str(error))
    return ("", "") if error is None else (str(cast("Any", error).json_path), _short(error.message))


def field_of(schema: Schema, name: str) -> Schema | None:
    """What ``schema`` says of the field ``name``: empty where it leaves it open, None where it has no such field."""
    if not schema or _OPEN.intersection(schema):
        return {}
    properties: Mapping[str, Any] = schema.get("properties", {})
    if name in properties:
        return _mapping(properties[name])
    more = schema.get("additionalProperties", "properties" not in schema)
    return None if more is False else _mapping(more)


def fields(schema: Schema) -> list[str]:
    """The fields that ``schema`` names."""
    return list(_mapping(schema.get("properties")))


def item_of(schema: Schema) -> Schema:
    """What ``schema`` says of the items of a list; empty where it leaves them open."""
    return {} if _OPEN.intersection(schema) or "prefixItems" in schema else _mapping(schema.get("items"))


def list_of(schema: Schema) -> Schema:
    """The schema of what a fan-out gives whose items each obey ``schema``."""
    items: dict[str, Any] = {"type": "array", "items": schema}
    return {"properties": {"items": items, "failures": {"type": "array"}}}


def contradiction(given: Schema, wanted: Schema) -> str:
    """Why what obeys ``given`` can never obey ``wanted``, in words; empty where it may."""
    if _OPEN.intersection(given) or _OPEN.intersection(wanted):
        return ""
    kinds, asked = _kinds(given), _kinds(wanted)
    if kinds and asked and not _widened(kinds) & _widened(asked):
        return f"is {_either(kinds)}, and {_either(asked)} is asked for"
    if kinds == asked == {"array"} and (why := contradiction(item_of(given), item_of(wanted))):
        return f"holds items of which each {why}"
    if kinds == asked == {"object"}:
        return _unlike_objects(given, wanted)
    return ""


def _unlike_objects(given: Schema, wanted: Schema) -> str:
    for name in wanted.get("required", ()):
        if field_of(given, name) is None:
            return f"has no {name}, which is asked for"
    for name, schema in cast("Mapping[str, Any]", wanted.get("properties", {})).items():
        found = cast("Mapping[str, Any]", given.get("properties", {})).get(name)
        if found is not None and (why := contradiction(_mapping(found), _mapping(schema))):
            return f"has a {name} that {why}"
    return ""


def _kinds(schema: Schema) -> set[str]:
    said = schema.get("type")
    if isinstance(said, str):
        return {said}
    if isinstance(said, list):
        return set(cast("list[str]", said))
    values = cast("list[Any]", [schema["const"]] if "const" in schema else schema.get("enum", []))
    return {_KINDS.get(type(value).__name__, "null") for value in values}


def _widened(kinds: set[str]) -> set[str]:
    # A number may happen to be whole.
    return kinds | ({"integer", "number"} if kinds & {"integer", "number"} else set())


def _either(kinds: set[str]) -> str:
    return " or ".join(sorted(kinds))


def _mapping(value: Any) -> Schema:
    return cast("Schema", value) if isinstance(value, Mapping) else {}


def _words_of(schema: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    """Each word of each schema in a schema, with the place of the latter; names of properties and constants are no words."""
    if isinstance(schema, Mapping):
        for key, value in cast("Mapping[str, Any]", schema).items():
            yield place, key, value
            if key in _NAMES:
                for name, inner in _mapping(value).items():
                    yield from _words_of(inner, f"{place}.{key}.{name}")
            elif key not in _CONSTANTS:
                yield from _words_of(value, f"{place}.{key}")
    elif isinstance(schema, list | tuple):
        for number, value in enumerate(cast("list[Any]", schema)):
            yield from _words_of(value, f"{place}[{number}]")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_WORDS else text[:_MAX_WORDS] + "…"


@lru_cache(maxsize=256)
def _pattern(expression: str) -> Pattern:
    return Pattern(expression)


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    data = json.loads(schema)
    Draft202012Validator.check_schema(data)
    # An empty registry: whatever is not in the schema itself is not fetched from anywhere.
    return _class()(data, registry=_NOTHING_ELSE)


class _TooMuchError(Exception):
    """A validation has followed too many references."""


_followed: ContextVar[int] = ContextVar("followed", default=0)


@lru_cache(maxsize=1)
def _class() -> Any:
    # Python's own patterns can be made to stand still by the text that they are matched with, and comparing each item of a
    # list with each takes as long as the square of it.
    def pattern(_validator: Any, expression: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not _pattern(expression).is_in(instance):
            yield ValidationError(f"does not match {expression}")

    def unique(_validator: Any, wanted: bool, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if wanted and isinstance(instance, list):
            items = cast("list[Any]", instance)
            if len({canonical_json(item) for item in items}) < len(items):
                yield ValidationError("has an item twice")

    def reference(validator: Any, target: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
        _followed.set(_followed.get() + 1)
        if _followed.get() > _MAX_REFERENCES:
            raise _TooMuchError
        yield from follow(validator, target, instance, schema) or ()

    follow = cast("Any", Draft202012Validator).VALIDATORS["$ref"]
    own = {"pattern": pattern, "uniqueItems": unique, "$ref": reference}
    found: Any = cast("Any", validators).extend(Draft202012Validator, own)
    return found
