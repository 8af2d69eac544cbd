"""The steps of a plan: what is done, where, with which exact commands and rights."""

import re
import shlex
from collections.abc import Iterable
from typing import Any, cast

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interlock.faces.cli.text import Doc, as_text, duration
from interlock.faces.cli.views.parts import DIM, STRONG, pairs, section

_EFFECTS = {"read": DIM, "write": "default", "deploy": "cyan", "destructive": "red"}
_PLAIN = re.compile(r"[\w@%+=:,./{}-]+")
LINE_END = "␊"
"""What stands for a line feed in texts that were made harmless."""
_EMPTY: tuple[Any, ...] = ({}, [], "", None)


def is_straight(task: Doc) -> bool:
    """Whether a step runs when nothing goes wrong."""
    return task["when"] != "failed" and not task["branch"] and not task.get("undoes")


def outline(content: Doc) -> Iterable[RenderableType]:
    """One line for each step, in groups."""
    for heading, tasks in _groups(content):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(justify="right", style=DIM)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for number, task in tasks:
            grid.add_row(str(number), Text(task["id"]), _effect(task), _marked(task))
        yield section(heading, grid)


def steps(content: Doc) -> Iterable[RenderableType]:
    """Every step with its commands, what it waits for, and what it may do."""
    grants: dict[str, list[Doc]] = {}
    for grant in content["grants"]:
        grants.setdefault(grant["task"], []).append(grant)
    ways_back = _ways_back(content["graph"]["tasks"])
    for heading, tasks in _groups(content):
        blocks: list[RenderableType] = []
        for number, task in tasks:
            blocks += [_step(number, task, grants.get(task["id"], []), ways_back.get(task["id"], [])), Text(" ")]
        yield section(heading, *blocks[:-1])


def _groups(content: Doc) -> list[tuple[str, list[tuple[int, Doc]]]]:
    """The steps with their numbers: the build, each environment, and what each of them holds in reserve."""
    groups: dict[str, list[tuple[int, Doc]]] = {}
    for number, task in enumerate(content["graph"]["tasks"], 1):
        groups.setdefault(_heading(task, content["environments"]), []).append((number, task))
    return list(groups.items())


def _heading(task: Doc, environments: list[str]) -> str:
    place: Doc = task["inputs"].get("place") or {}
    named: str = place.get("environment") or task["branch"].partition(":")[2]
    where = named if named in environments else "Build"
    if is_straight(task):
        return where
    if task["branch"].startswith("rollback"):
        return f"{where}, the way back: only if something goes wrong after the start"
    return f"{where}, only if a step fails"


def _ways_back(tasks: list[Doc]) -> dict[str, list[str]]:
    """For each step those that take it back."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        for target in _taken(task):
            found.setdefault(target, []).append(task["id"])
    return found


def _taken(task: Doc) -> list[str]:
    return [*task.get("takes_back", ()), *([task["undoes"]] if task.get("undoes") else [])]


def _marked(task: Doc) -> Text:
    """What a step does, marked where nothing takes it back."""
    return Text.assemble((f"one-way: {task['one_way']}; ", "yellow") if task.get("one_way") else "", task["title"])


def _step(number: int, task: Doc, grants: list[Doc], ways_back: list[str]) -> RenderableType:
    head = Table.grid(expand=False, padding=(0, 2))
    head.add_column(justify="right", style=DIM, min_width=2)
    head.add_column(overflow="fold")
    head.add_column(no_wrap=True)
    head.add_row(str(number), Text(task["id"], style=STRONG), _effect(task))
    commands = [argv for grant in grants for argv in _commands(grant)]
    is_said = task["title"] == " && ".join(" ".join(argv) for argv in commands)
    rows: list[tuple[str, RenderableType]] = [
        ("does", "" if is_said else task["title"]),
        ("runs", Text("\n").join(Text(f"$ {_quoted(argv)}") for argv in commands)),
        ("may", Group(*(_right(grant) for grant in grants)) if grants else ""),
        ("after" if task["when"] != "failed" else "if", _needs(task)),
        ("only if", task.get("condition", "")),
        ("for each", _items(task)),
        ("undoes", _undoes(task)),
        ("undone", f"by {' or '.join(ways_back)}" if ways_back else ""),
        ("one-way", Text(task.get("one_way", ""), style="yellow") if task.get("one_way") else ""),
        ("limits", _limits(task)),
    ]
    return Group(head, Padding(pairs(rows), (0, 0, 0, 4), expand=False))


def _commands(grant: Doc) -> list[list[str]]:
    """The argument lists that a grant fixes."""
    rule = grant["arguments"].get("commands")
    return cast("list[list[str]]", rule["value"]) if rule is not None and rule["rule"] == "exactly" else []


def _quoted(argv: list[str]) -> str:
    """A command so that every argument can be told from the next one; a placeholder such as {port} needs no quotes."""
    return " ".join(part if _PLAIN.fullmatch(part) else shlex.quote(part) for part in map(str, argv))


def _needs(task: Doc) -> str:
    needs = ", ".join(task["needs"])
    if task["when"] == "any":
        return f"whatever is done of: {needs}"
    return needs if task["when"] == "succeeded" or not needs else f"one of these fails: {needs}"


def _items(task: Doc) -> str:
    """Over what a step is spread, and how many of it may fail."""
    each = task.get("each")
    if not each:
        return ""
    items: Any = each["items"]
    of = f"of {len(items)} items" if isinstance(items, list) else f"of {items['$output']}"  # pyright: ignore[reportUnknownArgumentType]
    bound = f", {each['max_concurrent']} at once" if each["max_concurrent"] else ""
    return of + bound + (f"; {each['tolerated']} may fail" if each["tolerated"] else "")


def _undoes(task: Doc) -> str:
    """What a step takes back, and until when."""
    settled = f", unless {task['settled_by']} has completed" if task.get("settled_by") else ""
    when = f", if the run fails{settled}" if task.get("undoes") else ""
    return ", ".join(_taken(task)) + when


def _limits(task: Doc) -> str:
    attempts = task["retry"]["max_attempts"]
    times = "one attempt" if attempts == 1 else f"up to {attempts} attempts"
    return f"{duration(task['timeout_s'])}, {times}"


def _right(grant: Doc) -> RenderableType:
    """A tool, and below it what each of its arguments may be; empty ones and the commands, shown before, are left out."""
    rules = [
        (f"  {name}", _rule(rule))
        for name, rule in grant["arguments"].items()
        if rule["rule"] != "exactly" or (name != "commands" and rule["value"] not in _EMPTY)
    ]
    return Group(Text(grant["tool"]), pairs(rows=rules)) if rules else Text(grant["tool"])


def _rule(rule: Doc) -> str:
    match rule["rule"]:
        case "exactly":
            return _in_lines(as_text(rule["value"]))
        case "under":
            return f"under {as_text(rule['value'])}"
        case "one_of":
            return "one of " + " or ".join(as_text(value) for value in rule["value"])
        case "port":
            return "any free one"
        case "shares" if rule["value"]:
            return f"as decided in the run, on this host or {' or '.join(rule['value'])}"
        case _:
            return "as decided in the run"


def _in_lines(text: str) -> str:
    """A text of several lines, such as a Dockerfile, line by line. The sign of a line's end stays: it may be a letter too."""
    return text.replace(LINE_END, f"{LINE_END}\n").rstrip("\n")


def _effect(task: Doc) -> Text:
    return Text(task["effect"], style=_EFFECTS.get(task["effect"], "default"))
