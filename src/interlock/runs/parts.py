"""What a task says of itself beside its needs (a condition, a list, schemas), and what of that cannot be."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol

import msgspec

from interlock.runs import conditions, schemas
from interlock.runs.faults import Fault
from interlock.runs.references import places, references

Condition = Literal["succeeded", "failed", "any"]
"""``succeeded``: every need completed. ``failed``: at least one need failed, or was cancelled after it had begun. ``any``: all
needs have ended, at least one completed, and the others were left out by choice; this joins branches again."""

MAX_ITEMS = 10_000


class Each(msgspec.Struct, frozen=True, kw_only=True):
    """Makes a task one for each item of a list: ``id[0]``, ``id[1]`` and so on, in the order of the list.

    The list is known when the needs have ended; ``{"$item": ""}`` in the inputs stands for an item, ``{"$item": "field"}`` for
    a field of it. The task itself completes once all its instances have, with their outputs in order as ``items``; where an
    instance failed that was ``tolerated``, its place holds null, and ``failures`` says which and why. When more fail, those
    that have not begun are skipped, those under way come to their end, and the task fails, with the same as its output.

    An undo of such a task is one task, with the list of what was done: ``{"$output": "id.items"}``.
    """

    items: Any
    """``{"$output": "task.field"}`` with a task that this one needs, or the list itself."""
    max_concurrent: int = 0
    """How many run at once; 0 for as many as the run has slots."""
    tolerated: int | str = 0
    """How many may fail: a number, or a share of the items such as ``10%``, rounded down."""

    def allowed(self, count: int) -> int:
        """How many of ``count`` instances may fail."""
        if isinstance(self.tolerated, str):
            return int(count * float(self.tolerated.removesuffix("%")) / 100 + 1e-9)
        return self.tolerated


class Node(Protocol):
    """What is looked at of a task."""

    @property
    def id(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def when(self) -> Condition: ...
    @property
    def inputs(self) -> dict[str, Any]: ...
    @property
    def condition(self) -> str: ...
    @property
    def each(self) -> Each | None: ...
    @property
    def input_schema(self) -> dict[str, Any]: ...
    @property
    def output_schema(self) -> dict[str, Any]: ...


Nodes = Mapping[str, Node]


def schemas_fault(task: Node) -> Fault | None:
    """What is wrong with the schemas of ``task`` themselves; None where nothing is."""
    for name, schema in (("input_schema", task.input_schema), ("output_schema", task.output_schema)):
        if schema and (found := schemas.schema_fault(schema, name)):
            return found
    return None


def part_fault(task: Node, tasks: Nodes) -> Fault | None:
    """What is wrong with a part of ``task`` in a graph of ``tasks`` whose schemas are; None where nothing is."""
    if task.when == "any" and not task.needs:
        return Fault("joins nothing: it has no needs", "when")
    if found := _condition_fault(task, tasks) if task.condition else None:
        return found
    if found := _each_fault(task, tasks):
        return found
    return next(_edge_faults(task, tasks), None) or next(_literal_faults(task), None)


def _condition_fault(task: Node, tasks: Nodes) -> Fault | None:
    if found := conditions.fault(task.condition, task.needs, tasks, has_inputs=task.each is None):
        return found
    for seen in conditions.looks_at(task.condition):
        if seen.field and schemas.field_of(_gives(tasks, seen.task), seen.field) is None:
            return _no_field(tasks, seen.task, seen.field, seen.place)
    return None


def _each_fault(task: Node, tasks: Nodes) -> Fault | None:
    owner = tasks.get(task.id.rpartition("[")[0]) if task.id.endswith("]") else None
    if owner is not None and owner.each is not None:
        return Fault(f"has the name of an instance of {owner.id!r}", "id")
    each = task.each
    if each is None:
        place = next((place for place, kind, _ in places(task.inputs) if kind == "$item"), None)
        return None if place is None else Fault("speaks of an item, and is not done for each of a list", f"inputs{place}")
    if "$item" in task.inputs:
        return Fault("are an item, not an object that holds it", "inputs", 'such as {"item": {"$item": ""}}')
    is_share = isinstance(each.tolerated, str) and re.fullmatch(r"\d{1,2}(\.\d{1,3})?%|100%", each.tolerated)
    if not is_share and not _is_count(each.tolerated):
        return Fault(f"{each.tolerated!r} is no number of failures", "each.tolerated", "a number, or a share such as 10%")
    if not _is_count(each.max_concurrent):
        return Fault(f"{each.max_concurrent!r} is no number of tasks", "each.max_concurrent", "0 sets no bound")
    return _items_fault(task, tasks, each.items)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _items_fault(task: Node, tasks: Nodes, items: Any) -> Fault | None:
    if isinstance(items, list | tuple):
        many = len(items)  # pyright: ignore[reportUnknownArgumentType]
        return Fault(f"{many} items are more than {MAX_ITEMS}", "each.items") if many > MAX_ITEMS else None
    [(place, kind, name)] = list(places(items))[:1] or [("", "", "")]
    if kind != "$output" or place:
        hint = 'name a list that a need gives, {"$output": "task.field"}, or the list itself'
        return Fault(f"{str(items)[:100]!r} is no list", "each.items", hint)
    owner, _, field = name.rpartition(".")
    if owner not in task.needs:
        what = f"takes its list from {owner!r}, which is no need of this task"
        return Fault(what, "each.items", f"add {owner} to its needs" if owner in tasks else f"{owner!r} is not in the graph")
    given = schemas.field_of(_gives(tasks, owner), field)
    if given is None:
        return _no_field(tasks, owner, field, "each.items")
    why = schemas.contradiction(given, {"type": "array"})
    return Fault(f"{name} {why}", "each.items", f"see task {owner}, output_schema.properties.{field}") if why else None


def _edge_faults(task: Node, tasks: Nodes) -> Iterator[Fault]:
    """Where what a task refers to is not there, or is not what it asks for; both as far as schemas say."""
    for place, kind, name in places(task.inputs):
        owner, _, field = name.rpartition(".") if kind == "$output" else ("", "", name)
        given = schemas.field_of(_gives(tasks, owner), field) if owner else _item_schema(task, tasks, field)
        if given is None:
            yield _no_field(tasks, owner, field, f"inputs{place}")
            continue
        wanted = _wanted(task, place)
        if why := schemas.contradiction(given, wanted) if given and wanted else "":
            source = f"task {owner}, output_schema.properties.{field}" if owner else "the schema of each.items"
            yield Fault(f"{name or 'the item'} {why}", f"input_schema.properties{place}", f"see {source}")


def _literal_faults(task: Node) -> Iterator[Fault]:
    """Where an input that refers to nothing is not what its schema asks for, or one that it asks for is missing."""
    if not task.input_schema:
        return
    for name in task.input_schema.get("required", ()):
        if name not in task.inputs:
            yield Fault(f"has no input {name!r}", "inputs", "input_schema requires it")
    for name, value in task.inputs.items():
        wanted = _wanted(task, f".{name}")
        if wanted and next(places(value), None) is None and (said := schemas.violation(wanted, value))[1]:
            yield Fault(said[1], f"inputs.{name}{said[0].removeprefix('$')}", f"see input_schema.properties.{name}")


def _wanted(task: Node, place: str) -> schemas.Schema:
    """What a task asks of the input at ``place``, where that is an input as a whole."""
    name = place.removeprefix(".")
    properties = task.input_schema.get("properties", {})
    wanted = properties.get(name) if isinstance(properties, dict) and name in task.inputs else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    # A reference within the whole schema means nothing in a part of it.
    return wanted if isinstance(wanted, dict) and "$ref" not in str(wanted) else {}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]


def _item_schema(task: Node, tasks: Nodes, field: str) -> schemas.Schema | None:
    """What is known beforehand of the items of ``task``, or of a field of theirs."""
    named = next(references(task.each.items), "") if task.each is not None else ""
    owner, _, name = named.rpartition(".")
    item = schemas.item_of(schemas.field_of(_gives(tasks, owner), name) or {})
    return schemas.field_of(item, field) if field else item


def _gives(tasks: Nodes, task_id: str) -> schemas.Schema:
    """The schema of a task's output; empty where it says nothing."""
    spec = tasks.get(task_id)
    if spec is None:
        return {}
    return spec.output_schema if spec.each is None else schemas.list_of(spec.output_schema)


def _no_field(tasks: Nodes, owner: str, field: str, place: str) -> Fault:
    known = ", ".join(schemas.fields(_gives(tasks, owner))) if owner else ""
    what = f"{owner!r} does not give" if owner else "the items do not have"
    hint = f"see task {owner}, output_schema: it gives {known or 'nothing'}" if owner else "see the schema of each.items"
    return Fault(f"refers to {field!r}, which {what}", place, hint)
