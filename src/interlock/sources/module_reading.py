"""What every part of a module file is read with: its sound fields, its problems and their places."""

from typing import Any, cast

from interlock.core.errors import Invalid
from interlock.sources.commands import parse_arguments, parse_command
from interlock.sources.model import PORT_PLACEHOLDER, Command, Problem
from interlock.sources.module_document import Document, Path, Place
from interlock.sources.module_schema import complaints

MAX_DURATION_S = 24 * 3600.0

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Reading:
    """One module file under reading: its sound fields, and the problems found so far."""

    def __init__(self, document: Document, file: str) -> None:
        self.document = document
        self.file = file
        self.problems = [problem_at(file, *flaw) for flaw in document.flaws]
        self.given = frozenset(document.fields)

    def check_schema(self) -> None:
        """Report what the schema refuses, and take it out, so that the rest can be looked at further."""
        flawed = {path for _, path, _, _ in self.document.flaws}
        for complaint in complaints(self.document):
            if complaint.path not in flawed:
                self.report(complaint.path, complaint.message, complaint.hint, of_key=complaint.of_key)
            if not complaint.incomplete:
                _take_out(self.document.data, complaint.path)

    def said(self, field: str) -> dict[str, Any]:
        """A top-level field that is a mapping; empty where it is not given."""
        return self.document.fields.get(field, {})

    def command(self, path: Path, value: str | list[Any] | None) -> Command | None:
        """The command at ``path``; None where there is none, or where it was refused."""
        if value is None or (isinstance(value, list) and None in value):
            return None
        line = self.document.place(path).line
        try:
            if isinstance(value, str):
                return parse_command(value.rstrip("\n"), file=self.file, line=line)
            return parse_arguments(value, file=self.file, line=line)
        except Invalid as error:
            offset = int(error.details["column"]) - 1 if isinstance(value, str) else 0
            place = self.document.place_in(path, offset)
            self.problems.append(problem_at(self.file, place, path, error.message, error.hint))
            return None

    def command_without_port(self, path: Path, value: str | list[Any] | None) -> Command | None:
        """As `command`, for one that runs where nothing listens yet."""
        command = self.command(path, value)
        if command is not None and command.takes_port:
            hint = "only the start command and smoke tests know the port"
            self.report(path, f"{PORT_PLACEHOLDER} in {path[0]}", hint)
        return command

    def duration(self, path: Path, value: float | str) -> float:
        """Seconds."""
        seconds = float(value) if not isinstance(value, str) else _seconds(value)
        if not 0 < seconds <= MAX_DURATION_S:
            self.report(path, f"{value} is no duration between 0 and 24 hours", "for example 5s or 2m")
        return seconds

    def whole(self, value: float | None) -> int | None:
        """A whole number, which YAML may have given as 3.0."""
        return None if value is None else int(value)

    def is_reported_in(self, path: Path) -> bool:
        """Whether something below ``path`` was wrong, so that what misses there may have been taken out."""
        return any(problem.path.startswith(dotted(path) + ".") for problem in self.problems)

    def report(self, path: Path, message: str, hint: str, *, of_key: bool = False) -> None:
        """Add a problem of the value (or key) at ``path``."""
        place = self.document.place(path, of_key=of_key)
        self.problems.append(problem_at(self.file, place, path, message, hint))


def _take_out(data: Any, path: Path) -> None:
    """Remove what stands at ``path``; in a list None takes its place, so that the other items keep theirs."""
    for part in path[:-1]:
        try:
            data = data[part]
        except (LookupError, TypeError):
            return
    if path and isinstance(data, dict):
        cast("dict[str | int, Any]", data).pop(path[-1], None)
    elif path and isinstance(data, list):
        data[cast("int", path[-1])] = None


def _seconds(text: str) -> float:
    number = text.rstrip("mhs")
    return float(number) * _UNITS_S[text[len(number) :]]


def share(value: float | str) -> float:
    """``5%`` or ``0.05`` as a number from 0 to 1."""
    return float(value.rstrip("% ")) / 100 if isinstance(value, str) else float(value)


def problem_at(file: str, place: Place, path: Path, message: str, hint: str) -> Problem:
    """What is wrong with ``path``, which stands at ``place``."""
    return Problem(file=file, line=place.line, column=place.column, path=dotted(path), message=message, hint=hint)


def dotted(path: Path) -> str:
    """A field as people write it, such as ``smoke_tests[0].path``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
