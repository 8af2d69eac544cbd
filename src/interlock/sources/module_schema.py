"""The published JSON Schema of ``ai-module.yaml``, and its verdicts in words that help."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from rapidfuzz import fuzz, process

from interlock.sources.module_document import Document, Path

_SILENT = ("env", "secrets")
"""Fields whose values are never repeated in a message: somebody may have written a secret there."""


def module_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``ai-module.yaml``."""
    return json.loads(resources.files("interlock.sources").joinpath("module_schema.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Complaint:
    """What the schema says against one value, one key (``of_key``), or against what is missing in it (``incomplete``)."""

    path: Path
    message: str
    hint: str = ""
    of_key: bool = False
    incomplete: bool = False


def complaints(document: Document) -> list[Complaint]:
    """Everything in the document that the schema forbids."""
    errors = cast("Iterator[ValidationError]", _validator().iter_errors(document.data))  # pyright: ignore[reportUnknownMemberType]
    return [complaint for error in errors for complaint in _translated(error, document)]


def nearest(word: str, known: list[str]) -> str:
    """The known word that was probably meant, or an empty text."""
    found = process.extractOne(word, known, scorer=fuzz.ratio, score_cutoff=60)
    return found[0] if found else ""


@cache
def _validator() -> Any:
    # Python's $ also matches before a last line break; JSON Schema's does not.
    def pattern(_validator: Any, expression: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not re.fullmatch(expression, instance):
            yield ValidationError(f"does not match {expression}")

    def unique(_validator: Any, wanted: bool, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        texts = [item for item in cast("list[object]", instance) if isinstance(item, str)] if isinstance(instance, list) else []
        if wanted and len(set(texts)) < len(texts):
            yield ValidationError("has an item twice")

    def required(_validator: Any, names: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, dict) and not set(names) <= instance.keys():
            yield ValidationError("misses fields")

    library: Any = validators
    return library.extend(Draft202012Validator, {"pattern": pattern, "uniqueItems": unique, "required": required})(
        module_schema()
    )


def _translated(error: ValidationError, document: Document, base: Path = ()) -> Iterator[Complaint]:
    path = (*base, *error.relative_path)
    schema = cast("dict[str, Any]", error.schema)
    instance = cast("Any", error.instance)
    if error.validator == "additionalProperties":
        yield from _unknown_fields(instance, schema, path)
    elif error.validator == "required":
        yield from _missing_fields(instance, schema, path)
    elif "propertyNames" in error.relative_schema_path:
        yield Complaint((*path, instance), f"{_shown(instance)} is not {schema['title']}", of_key=True)
    elif error.validator == "anyOf" and (fitting := _fitting_branch(error)):
        for inner in fitting:
            yield from _translated(inner, document, path)
    else:
        yield _wrong_value(error, schema, path, document)


def _unknown_fields(instance: dict[str, Any], schema: dict[str, Any], path: Path) -> Iterator[Complaint]:
    known = list(schema["properties"])
    for field in instance:
        if field not in known:
            meant = nearest(field, known)
            hint = f"did you mean {meant}?" if meant else "known here: " + ", ".join(known)
            yield Complaint((*path, field), f"unknown field {_shown(field)}", hint, of_key=True)


def _missing_fields(instance: dict[str, Any], schema: dict[str, Any], path: Path) -> Iterator[Complaint]:
    for field in schema["required"]:
        if field not in instance:
            example = _resolved(schema["properties"][field]).get("examples", [""])[0]
            yield Complaint(path, f"the field {field} is missing", f"for example {field}: {example}", incomplete=True)


def _fitting_branch(error: ValidationError) -> list[ValidationError]:
    """The errors of the one alternative whose type the value has; empty where none or several have it."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    fitting = [inners for inners in branches.values() if not any(_is_type_error(inner) for inner in inners)]
    # One alternative for scalars: its title says more than the error inside it.
    return fitting[0] if len(fitting) == 1 and isinstance(error.instance, dict | list) else []


def _is_type_error(error: ValidationError) -> bool:
    return error.validator == "type" and not error.relative_path


def _wrong_value(error: ValidationError, schema: dict[str, Any], path: Path, document: Document) -> Complaint:
    instance = cast("Any", error.instance)
    shown = "the value" if path and path[0] in _SILENT else _shown(instance)
    title = schema.get("title") or "allowed here"
    if not path:
        return Complaint(path, f"{shown} is not a mapping of fields", "write lines such as name: billing-api")
    if error.validator == "uniqueItems":
        return Complaint(path, "an item is given twice", "remove one of them")
    if error.validator == "enum":
        choices = [str(choice) for choice in schema["enum"]]
        meant = nearest(instance, choices) if isinstance(instance, str) else ""
        return Complaint(path, f"{shown} is not {title}", f"did you mean {meant}?" if meant else "one of " + ", ".join(choices))
    scalar = document.scalars.get(path)
    if scalar and not scalar.style and schema.get("type") == "string" and not isinstance(instance, str):
        return Complaint(path, f"{shown} is not {title}", f'put it in quotes: "{scalar.text[:60]}"')
    if path[0] == "env" and isinstance(instance, (bool, float)):
        return Complaint(path, f"{shown} is not {title}", "put it in quotes")
    if error.validator in ("maxItems", "maxProperties", "maxLength"):
        return Complaint(path, f"{shown} is longer than {error.validator_value}", "shorten it")
    return Complaint(path, f"{shown} is not {title}", _for_example(schema))


def _for_example(schema: dict[str, Any]) -> str:
    examples = schema.get("examples", [])
    return (
        "for example " + " or ".join(_plain(example) for example in examples[:2]) if examples else schema.get("description", "")
    )


def _plain(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    return module_schema()["$defs"][reference.rsplit("/", 1)[-1]] | schema if reference else schema
