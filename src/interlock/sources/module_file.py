"""``ai-module.yaml``: every problem of it at once, with its place; and the recipe that it says."""

import re
from collections.abc import Callable
from typing import Any, cast

import msgspec

from interlock.core.errors import Invalid
from interlock.sources.commands import parse_arguments, parse_command
from interlock.sources.model import (
    MODULE_FILES,
    PORT_PLACEHOLDER,
    SERVICE_TYPES,
    Command,
    HealthCheck,
    Problem,
    Recipe,
    Resources,
    SmokeTest,
    WatchPolicy,
)
from interlock.sources.module_document import Document, Path, Place, Unreadable, read_document
from interlock.sources.module_schema import complaints

MAX_DURATION_S = 24 * 3600.0

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def check_module(content: str | bytes, file: str = MODULE_FILES[0]) -> list[Problem]:
    """All problems of a module file, in the order of their places; empty where it can be used. Never raises."""
    return _read(content, file)[1]


def parse_module(content: str | bytes, file: str = MODULE_FILES[0]) -> Recipe:
    """The recipe that a module file says. Raises Invalid ``module_file`` with every problem in the details ``problems``."""
    return read_module(content, file)[0]


def read_module(content: str | bytes, file: str = MODULE_FILES[0]) -> tuple[Recipe, dict[str, str]]:
    """The recipe, and where each of its fields stands (``FILE:LINE``). Raises as `parse_module` does."""
    recipe, problems, places = _read(content, file)
    if problems or recipe is None:
        first = problems[0]
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise Invalid(
            "module_file",
            f"{file} has {count}: {first.message}",
            where=f"{file}:{first.line}:{first.column}",
            hint=first.hint,
            problems=msgspec.to_builtins(problems),
        )
    return recipe, places


def _read(content: str | bytes, file: str) -> tuple[Recipe | None, list[Problem], dict[str, str]]:
    try:
        document = read_document(content)
    except Unreadable as error:
        return None, [_problem(file, error.place, (), error.message, error.hint)], {}
    reading = _Reading(document, file)
    reading.check_schema()
    recipe = reading.recipe()
    problems = sorted(reading.problems, key=lambda problem: (problem.line, problem.column))
    places = {field: f"{file}:{document.place((field,), of_key=True).line}" for field in document.fields}
    return recipe, problems, places


class _Reading:
    """One module file under reading: its sound fields, and the problems found so far."""

    def __init__(self, document: Document, file: str) -> None:
        self._document = document
        self._file = file
        self.problems = [_problem(file, *flaw) for flaw in document.flaws]
        self._given = frozenset(document.fields)

    def check_schema(self) -> None:
        """Report what the schema refuses, and take it out, so that the rest can be looked at further."""
        flawed = {path for _, path, _, _ in self._document.flaws}
        for complaint in complaints(self._document):
            if complaint.path not in flawed:
                self._report(complaint.path, complaint.message, complaint.hint, of_key=complaint.of_key)
            if not complaint.incomplete:
                _take_out(self._document.data, complaint.path)

    def recipe(self) -> Recipe | None:
        """The recipe; None where a problem was found."""
        fields = self._document.fields
        start = self._start()
        recipe = Recipe(
            name=fields.get("name", ""),
            version=fields.get("version", ""),
            description=fields.get("description", ""),
            module_type=fields.get("module_type", "api"),
            runtime=fields.get("runtime", ""),
            install=self._commands("install"),
            build=self._commands("build"),
            test=self._commands("test"),
            start=start,
            port=self._whole(fields.get("port")),
            takes_port=fields.get("takes_port", False) or (start is not None and start.takes_port),
            health=self._health(),
            smoke=self._smoke_tests(),
            env=self._environment(),
            secrets=self._said("secrets"),
            resources=self._resources(),
            replicas=int(fields.get("replicas", 1)),
            dependencies=tuple(fields.get("dependencies", ())),
            strategy=self._said("deploy").get("strategy"),
            watch=self._watch(),
            rollback=self._said("rollback").get("policy", "automatic"),
        )
        self._check_service(recipe)
        return recipe if not self.problems else None

    def _said(self, field: str) -> dict[str, Any]:
        return self._document.fields.get(field, {})

    def _commands(self, field: str) -> tuple[Command, ...]:
        """The commands of install, build or test."""
        value = self._document.fields.get(field)
        if value is None:
            return ()
        items = cast("list[Any]", value) if isinstance(value, list) else [value]
        if len(items) > 1 and all(isinstance(item, str) and " " not in item.strip() for item in items):
            written = " ".join(items)
            hint = f"one command: {written!r}; several: {' && '.join(items)!r}"
            self._report((field,), "a list of single words can be one command or several", hint)
            return ()
        paths: list[Path] = [(field, index) for index in range(len(items))] if isinstance(value, list) else [(field,)]
        commands = [self._command(path, item) for path, item in zip(paths, items, strict=True)]
        for path, command in zip(paths, commands, strict=True):
            if command is not None and command.takes_port:
                self._report(path, f"{PORT_PLACEHOLDER} in {field}", "only the start command and smoke tests know the port")
        return tuple(command for command in commands if command is not None)

    def _start(self) -> Command | None:
        return self._command(("start",), self._document.fields.get("start"))

    def _command(self, path: Path, value: str | list[Any] | None) -> Command | None:
        if value is None or (isinstance(value, list) and None in value):
            return None
        line = self._document.place(path).line
        try:
            if isinstance(value, str):
                return parse_command(value.rstrip("\n"), file=self._file, line=line)
            return parse_arguments(value, file=self._file, line=line)
        except Invalid as error:
            offset = int(error.details["column"]) - 1 if isinstance(value, str) else 0
            place = self._document.place_in(path, offset)
            self.problems.append(_problem(self._file, place, path, error.message, error.hint))
            return None

    def _health(self) -> HealthCheck | None:
        if "health" in self._document.fields and "health_check" in self._document.fields:
            self._report(("health_check",), "health and health_check are the same field", "keep one of them", of_key=True)
        field = "health" if "health" in self._document.fields else "health_check"
        value = self._document.fields.get(field)
        if value is None:
            return None
        if isinstance(value, str):
            return HealthCheck(path=self._url_path((field,), value))
        return HealthCheck(
            path=self._url_path((field, "path"), value.get("path", "/")),
            interval_s=self._duration((field, "interval"), value.get("interval", 1.0)),
            timeout_s=self._duration((field, "timeout"), value.get("timeout", 2.0)),
            healthy_after=int(value.get("healthy_after", 2)),
            start_timeout_s=self._duration((field, "start_timeout"), value.get("start_timeout", 60.0)),
        )

    def _smoke_tests(self) -> tuple[SmokeTest, ...]:
        items = self._document.fields.get("smoke_tests", ())
        tests = tuple(self._smoke_test(("smoke_tests", index), item) for index, item in enumerate(items) if item is not None)
        names: set[str] = set()
        for index, test in enumerate(tests):
            if test.name and test.name in names:
                message = f"two smoke tests are named {test.name!r}"
                self._report(("smoke_tests", index, "name"), message, "give each its own name")
            names.add(test.name)
        return tests

    def _smoke_test(self, path: Path, item: dict[str, Any]) -> SmokeTest:
        if ("path" in item) == ("command" in item) and not self._reported_in(path):
            self._report(path, "a smoke test has either a path or a command", "write exactly one of them")
        if "command" in item and "expect_status" in item:
            self._report((*path, "expect_status"), "a command has no HTTP status", "remove it", of_key=True)
        return SmokeTest(
            name=item.get("name", ""),
            path=self._url_path((*path, "path"), item["path"]) if "path" in item else None,
            expect_status=int(item.get("expect_status", 200)),
            expect_text=item.get("expect_text"),
            command=self._command((*path, "command"), item["command"]) if "command" in item else None,
        )

    def _environment(self) -> dict[str, str]:
        environment: dict[str, str] = {}
        for name, value in self._said("env").items():
            if name in self._said("secrets"):
                self._report(("env", name), f"{name} stands under env and under secrets", "keep one of them", of_key=True)
            scalar = self._document.scalars.get(("env", name))
            # As written: 010 and 0x1F are numbers to YAML, but a program reads its environment as text.
            environment[name] = scalar.text if scalar else str(value)
        for field in ("env", "secrets"):
            if "PORT" in self._said(field):
                self._report((field, "PORT"), "PORT is set by Interlock", "remove it", of_key=True)
        return environment

    def _resources(self) -> Resources:
        said = self._said("resources")
        cpu = said.get("cpu")
        return Resources(
            cpu=None if cpu is None else float(cpu),
            memory_mb=self._whole(said.get("memory_mb")),
            pids=self._whole(said.get("pids")),
        )

    def _watch(self) -> WatchPolicy:
        said = self._said("watch")

        def given(name: str, convert: Callable[[Path, Any], float]) -> float | None:
            return convert(("watch", name), said[name]) if name in said else None

        p95_ms = said.get("p95_ms")
        return WatchPolicy(
            window_s=given("window", self._duration),
            interval_s=given("interval", self._duration),
            min_requests=self._whole(said.get("min_requests")),
            error_rate=given("error_rate", lambda _path, value: _share(value)),
            p95_ms=None if p95_ms is None else float(p95_ms),
            health_failures=self._whole(said.get("health_failures")),
            restarts=self._whole(said.get("restarts")),
        )

    def _check_service(self, recipe: Recipe) -> None:
        """What several fields have to say together."""
        if "module_type" in self._document.fields and recipe.module_type in SERVICE_TYPES and "start" not in self._given:
            message = f"a module of type {recipe.module_type} needs a start command"
            self._report(("module_type",), message, "write start:, for example python3 -m app --port {port}")
        if recipe.start is not None and recipe.start.takes_port and self._document.fields.get("takes_port") is False:
            self._report(("takes_port",), f"the start command holds {PORT_PLACEHOLDER}", "remove takes_port")
        unknown_port = recipe.start is not None and not recipe.takes_port and "port" not in self._given
        if unknown_port and recipe.module_type in SERVICE_TYPES:
            hint = f"write {PORT_PLACEHOLDER} in it, or takes_port: true where it reads PORT, or port: where it listens always"
            self._report(("start",), "nothing says on which port the service listens", hint)
        for index, name in enumerate(recipe.dependencies):
            if name == recipe.name:
                self._report(("dependencies", index), "a service cannot depend on itself", "remove it")

    def _url_path(self, path: Path, value: str) -> str:
        if ".." in re.split(r"[/?#]|%2[fF]", value.replace("%2e", ".").replace("%2E", ".")):
            self._report(path, "a path may not hold '..'", "write the path from the root of the service")
        return value

    def _duration(self, path: Path, value: float | str) -> float:
        seconds = float(value) if not isinstance(value, str) else _seconds(value)
        if not 0 < seconds <= MAX_DURATION_S:
            self._report(path, f"{value} is no duration between 0 and 24 hours", "for example 5s or 2m")
        return seconds

    def _whole(self, value: float | None) -> int | None:
        return None if value is None else int(value)

    def _reported_in(self, path: Path) -> bool:
        return any(problem.path.startswith(_dotted(path) + ".") for problem in self.problems)

    def _report(self, path: Path, message: str, hint: str, *, of_key: bool = False) -> None:
        place = self._document.place(path, of_key=of_key)
        self.problems.append(_problem(self._file, place, path, message, hint))


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


def _share(value: float | str) -> float:
    return float(value.rstrip("% ")) / 100 if isinstance(value, str) else float(value)


def _problem(file: str, place: Place, path: Path, message: str, hint: str) -> Problem:
    return Problem(file=file, line=place.line, column=place.column, path=_dotted(path), message=message, hint=hint)


def _dotted(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
