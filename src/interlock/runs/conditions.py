"""Conditions of tasks: expressions of the Common Expression Language over inputs and outputs.

An expression is a pure function of what it is given: it knows no clock, no chance and no functions but those listed here. Its
time is bounded too. The language's own bounds are the depth of an expression and the number of its iterations. What it lacks is
a bound of memory, so inside of ``all``, ``exists``, ``exists_one`` and ``filter`` only the item may be looked at, and nothing
joined.
"""

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from cel_expr_python import cel  # pyright: ignore[reportMissingTypeStubs]

from interlock.core.errors import Invalid
from interlock.core.patterns import Pattern
from interlock.runs.faults import Fault

MAX_LENGTH = 1000
MAX_JOINS = 8
MAX_DATA_BYTES = 1024 * 1024
MACROS = frozenset({"all", "exists", "exists_one", "filter"})
FUNCTIONS = MACROS | {
    *("has", "size", "contains", "startsWith", "endsWith", "matches"),
    *("int", "uint", "double", "string", "bool", "type", "dyn", "timestamp", "duration"),
}
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>[rR]?(?:\"{3}(?:\\.|.)*?\"{3}|'{3}(?:\\.|.)*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<number>\d[\w.]*)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_ID = re.compile(r"""(["'])([^"'\\\n]*)\1""")
"""The id of a task as a text: without escapes."""
_COMPLAINT = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_HINT = "conditions are written in CEL over inputs and outputs, such as: outputs.count.files > 3"


class Seen(NamedTuple):
    """That an expression looks at ``field`` of a task's output, or at the output as a whole; where it says so."""

    task: str
    field: str
    place: str


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


def fault(expression: str, needs: Collection[str], known: Collection[str], *, has_inputs: bool = True) -> Fault | None:
    """Why ``expression`` is no condition of a task with ``needs``, in a graph with the tasks ``known``; None where it is."""
    if len(expression) > MAX_LENGTH:
        return Fault(f"has {len(expression)} characters, {MAX_LENGTH} are allowed", "condition", "let a task work it out")
    try:
        program = _compiled(expression)
    except RuntimeError as error:
        return _complaint(expression, str(error))
    except TypeError:
        return Fault("has letters that are none", "condition, column 1", _HINT)
    if program.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
        kind = program.return_type().name().lower()
        return Fault(f"gives {kind}, not true or false", "condition, column 1", "compare it with something")
    if found := _unsafe(expression, has_inputs=has_inputs):
        return found
    return next((found for seen in looks_at(expression) if (found := _stranger(seen, needs, known))), None)


def looks_at(expression: str) -> list[Seen]:
    """Which outputs a condition that was checked looks at, in the order of its text."""
    return [seen for seen in _outputs(expression) if isinstance(seen, Seen)]


def holds(expression: str, inputs: Mapping[str, Any], outputs: Mapping[str, dict[str, Any]]) -> bool:
    """What a condition that was checked says of ``inputs`` and of the ``outputs`` of those that completed.

    Raises Invalid ``condition_failed`` where it says nothing: a field is missing, types do not go together, it is no truth
    value.
    """
    seen = looks_at(expression)
    data = {"inputs": inputs if _tells_of(expression, "inputs") else {}, "outputs": _visible(seen, outputs)}
    if (size := len(msgspec.json.encode(data))) > MAX_DATA_BYTES:
        raise _failed(expression, f"it looks at {size} bytes, {MAX_DATA_BYTES} are allowed")
    try:
        value = _compiled(expression).eval(data=data)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _failed(expression, _words(str(error))) from None
    if value.type() == cel.Type.ERROR:
        raise _failed(expression, _words(str(value.value())))
    if value.type() != cel.Type.BOOL:
        raise _failed(expression, f"it gives {value.type().name().lower()}, not true or false")
    return bool(value.value())


def _visible(seen: list[Seen], outputs: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each output only what the expression looks at."""
    found: dict[str, dict[str, Any]] = {}
    whole = {task for task, field, _ in seen if not field}
    for task, field, _ in seen:
        if task not in outputs:
            continue
        if task in whole:
            found[task] = outputs[task]
        elif field in outputs[task]:
            found.setdefault(task, {})[field] = outputs[task][field]
        else:
            found.setdefault(task, {})
    return found


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> Any:
    return _environment().compile(expression)


@lru_cache(maxsize=1)
def _environment() -> Any:
    data = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    return cel.NewEnv(variables={"inputs": data, "outputs": data})


def _failed(expression: str, why: str) -> Invalid:
    hint = "ask first whether it is there: has(outputs.a.x) && …" if "not found" in why else ""
    return Invalid("condition_failed", f"condition {expression} cannot be told: {why}", where="condition", hint=hint)


def _words(message: str) -> str:
    """What the evaluation says, without its codes and with no more than a line of data."""
    text = re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$", "", message)
    return text if len(text) <= 200 else text[:200] + "…"


# --- what is wrong with it -----------------------------------------------------------------------------------------------


def _complaint(expression: str, message: str) -> Fault:
    found = _COMPLAINT.search(message)
    if found is None:
        return Fault(_words(message), "condition, column 1", _HINT)
    line, column, what = max(1, int(found[1])), max(1, int(found[2])), found[3].partition(" expecting ")[0]
    what = _words(what.replace("'<EOF>'", "the end")).replace(" (in container '')", "")
    hint = "both sides must be of one type, such as 2.0 and 1.0" if "overload" in what else _HINT
    return Fault(what, _at(line, column, expression), hint)


def _stranger(seen: Seen, needs: Collection[str], known: Collection[str]) -> Fault | None:
    if seen.task in needs:
        return None
    if seen.task in known:
        return Fault(f"looks at {seen.task!r}, which is no need of this task", seen.place, f"add {seen.task} to its needs")
    return Fault(
        f"looks at {seen.task!r}, which is not in the graph", seen.place, "a task with - or . in its id: outputs['a-b'].x"
    )


def _unsafe(expression: str, *, has_inputs: bool) -> Fault | None:
    """What the language allows and a condition does not."""
    tokens = _tokens(expression)
    joins = 0
    for place, inside in _insides(tokens):
        token = tokens[place]
        what = ""
        if token.kind == "name" and _follows(tokens, place, "(") and token.text not in FUNCTIONS:
            what = f"uses {token.text}, which conditions do not have"
        elif token.kind == "name" and token.text == "matches" and _follows(tokens, place, "("):
            what = _unsafe_pattern(tokens, place)
        elif token.text == "+":
            joins += 1
            what = "adds or joins for each item" if inside else "adds or joins too often" if joins > MAX_JOINS else ""
        elif inside and token.kind == "name":
            what = _unsafe_inside(tokens, place)
        elif token.text == "inputs" and not has_inputs and not _is_field(tokens, place):
            what = "looks at inputs, which differ for each item"
        if what:
            return Fault(
                what, _place(expression, token.start), f"there are {', '.join(sorted(FUNCTIONS))}" if "have" in what else ""
            )
    return next((seen for seen in _outputs(expression) if isinstance(seen, Fault)), None)


def _unsafe_pattern(tokens: list[_Token], place: int) -> str:
    """What is wrong with the pattern of a ``matches``: one from data, or a large one, may take its time with each item."""
    last = next((end for end, depth in _closing(tokens, place + 1) if depth == 0), place + 1)
    if tokens[last - 1].kind != "text" or tokens[last - 2].text not in {"(", ","}:
        return "matches with a pattern that is not written there"
    try:
        Pattern(str(ast.literal_eval(tokens[last - 1].text)))
    except (ValueError, SyntaxError):
        return "has a pattern that cannot be read"
    except Invalid as error:
        return error.message
    return ""


def _closing(tokens: list[_Token], start: int) -> Iterator[tuple[int, int]]:
    """From the bracket at ``start`` on: each place, and how many brackets are open behind it."""
    depth = 0
    for place in range(start, len(tokens)):
        token = tokens[place]
        if token.kind == "other":
            depth += (token.text in "([{") - (token.text in ")]}")
        yield place, depth


def _unsafe_inside(tokens: list[_Token], place: int) -> str:
    name = tokens[place].text
    if name in MACROS and _follows(tokens, place, "("):
        return f"uses {name} inside of another"
    if name == "string" and _follows(tokens, place, "("):
        return "makes texts for each item"
    is_data = name in {"inputs", "outputs"} and not _is_field(tokens, place)
    return f"looks at {name} for each item, where only the item can be looked at" if is_data else ""


def _insides(tokens: list[_Token]) -> Iterator[tuple[int, bool]]:
    """The place of each token, and whether it stands inside the brackets of a macro."""
    brackets: list[bool] = []
    for place, token in enumerate(tokens):
        if token.kind == "other" and token.text in ")]}" and brackets:
            brackets.pop()
        yield place, any(brackets)
        if token.kind == "other" and token.text in "([{":
            brackets.append(token.text == "(" and place > 0 and tokens[place - 1].text in MACROS)


def _outputs(expression: str) -> Iterator[Seen | Fault]:
    """Every place where ``outputs`` is spoken of."""
    tokens = _tokens(expression)
    for place, token in enumerate(tokens):
        if token.kind != "name" or token.text != "outputs" or _is_field(tokens, place):
            continue
        kinds, texts = _window(tokens, place)
        where = _place(expression, token.start)
        if texts[0] == "." and kinds[1] == "name":
            yield Seen(texts[1], texts[3] if texts[2] == "." and kinds[3] == "name" and texts[4] != "(" else "", where)
        elif texts[0] == "[" and (name := _ID.fullmatch(texts[1])) and texts[2] == "]":
            is_field = texts[3] == "." and kinds[4] == "name" and texts[5] != "("
            yield Seen(name[2], texts[4] if is_field else "", where)
        elif place > 1 and tokens[place - 1].text == "in" and (name := _ID.fullmatch(tokens[place - 2].text)):
            yield Seen(name[2], "", where)
        else:
            yield Fault("does not say which output", where, 'outputs.a.x, outputs["a-b"].x or "a-b" in outputs')


def _window(tokens: list[_Token], place: int) -> tuple[list[str], list[str]]:
    """Kinds and texts of the six tokens behind ``place``; empty where there are no more."""
    behind = tokens[place + 1 : place + 7]
    padding = [""] * (6 - len(behind))
    return [token.kind for token in behind] + padding, [token.text for token in behind] + padding


def _tells_of(expression: str, name: str) -> bool:
    tokens = _tokens(expression)
    return any(token.text == name and not _is_field(tokens, place) for place, token in enumerate(tokens))


def _is_field(tokens: list[_Token], place: int) -> bool:
    return place > 0 and tokens[place - 1].text == "."


def _follows(tokens: list[_Token], place: int, text: str) -> bool:
    return place + 1 < len(tokens) and tokens[place + 1].text == text


@lru_cache(maxsize=1024)
def _tokens(expression: str) -> list[_Token]:
    found = (_Token(match.lastgroup or "", match[0], match.start()) for match in _TOKEN.finditer(expression))
    return [token for token in found if token.kind != "space"]


def _place(expression: str, offset: int) -> str:
    before = expression[:offset]
    return _at(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1, expression)


def _at(line: int, column: int, expression: str) -> str:
    return f"condition, line {line}, column {column}" if "\n" in expression else f"condition, column {column}"
