"""References in JSON values: ``{"$output": "task.field"}`` to what a task gave, ``{"$item": "field"}`` to an item of a list."""

from collections.abc import Iterator, Mapping
from typing import Any


def references(value: Any) -> Iterator[str]:
    """Every ``task.field`` that a JSON value refers to."""
    if isinstance(value, dict):
        if set(value) == {"$output"}:  # pyright: ignore[reportUnknownArgumentType]
            yield str(value["$output"])  # pyright: ignore[reportUnknownArgumentType]
        else:
            for item in value.values():  # pyright: ignore[reportUnknownVariableType]
                yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from references(item)


def places(value: Any, place: str = "") -> Iterator[tuple[str, str, str]]:
    """Every reference in a JSON value: where it stands, whether it is ``$output`` or ``$item``, and to what."""
    if isinstance(value, dict):
        kind = str(next(iter(value))) if len(value) == 1 else ""  # pyright: ignore[reportUnknownArgumentType]
        if kind in {"$output", "$item"}:
            yield place, kind, str(value[kind])  # pyright: ignore[reportUnknownArgumentType]
        else:
            for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
                yield from places(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
            yield from places(item, f"{place}[{number}]")


def resolve(value: Any, outputs: Mapping[str, dict[str, Any]], item: Any = None) -> Any:
    """``value`` with every reference replaced by what it stands for; null where the task gave no such output."""
    if isinstance(value, dict):
        if set(value) == {"$output"}:  # pyright: ignore[reportUnknownArgumentType]
            task_id, _, name = str(value["$output"]).rpartition(".")  # pyright: ignore[reportUnknownArgumentType]
            return outputs.get(task_id, {}).get(name)
        if set(value) == {"$item"}:  # pyright: ignore[reportUnknownArgumentType]
            field = str(value["$item"])  # pyright: ignore[reportUnknownArgumentType]
            return item[field] if field else item
        return {key: resolve(inner, outputs, item) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [resolve(inner, outputs, item) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return value
