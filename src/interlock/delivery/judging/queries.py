"""Templates of queries: ``{service}``, ``{environment}``, ``{release}`` and ``{deployment}`` in PromQL. Pure.

All other braces are those of PromQL and stay. A value is written so that it means itself where it stands: inside of a string,
as part of a pattern, or in a name; it can never end the string and become a part of the query.
"""

import re
from collections.abc import Iterator, Mapping

from interlock.core.errors import Invalid

PLACEHOLDERS = ("service", "environment", "release", "deployment")

_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_NAME = re.compile(r"[A-Za-z0-9_]+")
# A comment ends with its line; in a string in back quotes nothing is escaped.
_STRING = re.compile(r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`""", re.DOTALL)
_PATTERN_FOLLOWS = re.compile(r"[=!]~\s*$")
# What has a meaning in RE2; escaped one by one, because a backslash before any other letter may have one too.
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def filled(template: str, values: Mapping[str, str]) -> str:
    """The query with its placeholders replaced by ``values``.

    Raises Invalid ``query_template`` where a value cannot stand where its placeholder does, or is missing.
    """
    return "".join(_fill(text, quote, is_pattern, values) for text, quote, is_pattern in _parts(template))


def _parts(template: str) -> Iterator[tuple[str, str, bool]]:
    """The template in parts: their text, the quote that they are in (empty outside of strings), whether a pattern is meant."""
    position = 0
    for found in _STRING.finditer(template):
        yield template[position : found.start()], "", False
        is_comment = found[0].startswith("#")
        is_pattern = bool(_PATTERN_FOLLOWS.search(template, 0, found.start()))
        yield found[0], "#" if is_comment else found[0][0], is_pattern
        position = found.end()
    yield template[position:], "", False


def _fill(text: str, quote: str, is_pattern: bool, values: Mapping[str, str]) -> str:
    def replace(found: re.Match[str]) -> str:
        name = found[1]
        if name not in values:
            raise Invalid("query_template", f"there is no {name} here to fill into {found[0]}")
        value = _SPECIAL.sub(r"\\\g<0>", values[name]) if is_pattern else values[name]
        return _written(value, quote, found[0])

    return text if quote == "#" else _PLACEHOLDER.sub(replace, text)


def _written(value: str, quote: str, placeholder: str) -> str:
    if quote in {'"', "'"}:
        escaped = value.replace("\\", "\\\\").replace(quote, "\\" + quote)
        # Any other control character may stand in a string as it is.
        return escaped.replace("\n", "\\n")
    if quote == "`" and "`" not in value:
        return value
    if not quote and _NAME.fullmatch(value):
        return value
    hint = f'put it in double quotes, as in {{job="{placeholder}"}}'
    raise Invalid("query_template", f"{placeholder} is {value[:100]!r}, which cannot stand there", hint=hint)
