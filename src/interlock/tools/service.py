"""The tools at hand."""

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import msgspec

from interlock.core.errors import Internal, Invalid
from interlock.tools.model import Tool


class Toolbox:
    """Tools by name, with typed input and output at the edge."""

    def __init__(self, tools: Iterable[Tool[Any, Any]]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    def get(self, name: str) -> Tool[Any, Any]:
        """Raises Invalid ``unknown_tool``."""
        if name not in self._tools:
            raise Invalid("unknown_tool", f"there is no tool {name}", hint="tools: " + ", ".join(sorted(self._tools)))
        return self._tools[name]


def to_input(tool: Tool[Any, Any], arguments: dict[str, Any]) -> Any:
    """The typed input. Raises Invalid ``tool_input`` with the field."""
    try:
        return msgspec.convert(arguments, tool.input)
    except msgspec.ValidationError as error:
        raise Invalid("tool_input", f"{tool.name} cannot take this: {error}", where=tool.name) from error


def defaults(tool: Tool[Any, Any]) -> Mapping[str, Any]:
    """What the tool takes for each argument that a call may leave out, as JSON data."""
    return _defaults(tool.input)


@cache
def _defaults(input_type: type[msgspec.Struct]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(input_type):
        if field.default is not msgspec.NODEFAULT:
            found[field.encode_name] = msgspec.to_builtins(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            found[field.encode_name] = msgspec.to_builtins(field.default_factory())
    return MappingProxyType(found)


def to_data(tool: Tool[Any, Any], output: Any) -> dict[str, Any]:
    """The typed output as JSON data. Raises Internal ``tool_output``."""
    try:
        return msgspec.to_builtins(msgspec.convert(output, tool.output, from_attributes=True))
    except msgspec.ValidationError as error:
        raise Internal("tool_output", f"{tool.name} gave what it does not promise: {error}", where=tool.name) from error
