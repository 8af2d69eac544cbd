"""``ai-module.yaml``: every problem of it at once, with its place; and the recipe that it says."""

import re
from collections.abc import Callable
from typing import Any, cast

import msgspec

from interlock.core.errors import Invalid
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
from interlock.sources.module_document import Path, Unreadable, read_document
from interlock.sources.module_reading import Reading, problem_at, share
from interlock.sources.module_rollout import Rollout


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
        return None, [problem_at(file, error.place, (), error.message, error.hint)], {}
    reading = _ModuleReading(document, file)
    reading.check_schema()
    recipe = reading.recipe()
    problems = sorted(reading.problems, key=lambda problem: (problem.line, problem.column))
    places = {field: f"{file}:{document.place((field,), of_key=True).line}" for field in document.fields}
    return recipe, problems, places


class _ModuleReading(Reading):
    """One module file under reading: its sound fields, and the problems found so far."""

    def recipe(self) -> Recipe | None:
        """The recipe; None where a problem was found."""
        fields = self.document.fields
        start = self._start()
        takes_port = fields.get("takes_port", False) or (start is not None and start.takes_port)
        rollout = Rollout(self)
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
            port=self.whole(fields.get("port")),
            takes_port=takes_port,
            health=self._health(),
            smoke=self._smoke_tests(),
            env=self._environment(),
            secrets=self.said("secrets"),
            resources=self._resources(),
            replicas=int(fields.get("replicas", 1)),
            dependencies=tuple(fields.get("dependencies", ())),
            strategy=rollout.strategy(needs_port=start is not None and not takes_port),
            target=rollout.target,
            dockerfile=rollout.dockerfile(),
            writable=rollout.writable(),
            steps=rollout.steps(),
            drain_s=rollout.drain_s(),
            all_or_nothing=rollout.said.get("all_or_nothing", False),
            analysis=rollout.analysis(),
            migrate=rollout.migrations(),
            watch=self._watch(),
            rollback=self.said("rollback").get("policy", "automatic"),
        )
        self._check_service(recipe)
        return recipe if not self.problems else None

    def _commands(self, field: str) -> tuple[Command, ...]:
        """The commands of install, build or test."""
        value = self.document.fields.get(field)
        if value is None:
            return ()
        items = cast("list[Any]", value) if isinstance(value, list) else [value]
        if len(items) > 1 and all(isinstance(item, str) and " " not in item.strip() for item in items):
            written = " ".join(items)
            hint = f"one command: {written!r}; several: {' && '.join(items)!r}"
            self.report((field,), "a list of single words can be one command or several", hint)
            return ()
        paths: list[Path] = [(field, index) for index in range(len(items))] if isinstance(value, list) else [(field,)]
        commands = [self.command_without_port(path, item) for path, item in zip(paths, items, strict=True)]
        return tuple(command for command in commands if command is not None)

    def _start(self) -> Command | None:
        return self.command(("start",), self.document.fields.get("start"))

    def _health(self) -> HealthCheck | None:
        if "health" in self.document.fields and "health_check" in self.document.fields:
            self.report(("health_check",), "health and health_check are the same field", "keep one of them", of_key=True)
        field = "health" if "health" in self.document.fields else "health_check"
        value = self.document.fields.get(field)
        if value is None:
            return None
        if isinstance(value, str):
            return HealthCheck(path=self._url_path((field,), value))
        return HealthCheck(
            path=self._url_path((field, "path"), value.get("path", "/")),
            interval_s=self.duration((field, "interval"), value.get("interval", 1.0)),
            timeout_s=self.duration((field, "timeout"), value.get("timeout", 2.0)),
            healthy_after=int(value.get("healthy_after", 2)),
            start_timeout_s=self.duration((field, "start_timeout"), value.get("start_timeout", 60.0)),
        )

    def _smoke_tests(self) -> tuple[SmokeTest, ...]:
        items = self.document.fields.get("smoke_tests", ())
        tests = tuple(self._smoke_test(("smoke_tests", index), item) for index, item in enumerate(items) if item is not None)
        names: set[str] = set()
        for index, test in enumerate(tests):
            if test.name and test.name in names:
                message = f"two smoke tests are named {test.name!r}"
                self.report(("smoke_tests", index, "name"), message, "give each its own name")
            names.add(test.name)
        return tests

    def _smoke_test(self, path: Path, item: dict[str, Any]) -> SmokeTest:
        if ("path" in item) == ("command" in item) and not self.is_reported_in(path):
            self.report(path, "a smoke test has either a path or a command", "write exactly one of them")
        if "command" in item and "expect_status" in item:
            self.report((*path, "expect_status"), "a command has no HTTP status", "remove it", of_key=True)
        return SmokeTest(
            name=item.get("name", ""),
            path=self._url_path((*path, "path"), item["path"]) if "path" in item else None,
            expect_status=int(item.get("expect_status", 200)),
            expect_text=item.get("expect_text"),
            command=self.command((*path, "command"), item["command"]) if "command" in item else None,
        )

    def _environment(self) -> dict[str, str]:
        environment: dict[str, str] = {}
        for name, value in self.said("env").items():
            if name in self.said("secrets"):
                self.report(("env", name), f"{name} stands under env and under secrets", "keep one of them", of_key=True)
            scalar = self.document.scalars.get(("env", name))
            # As written: 010 and 0x1F are numbers to YAML, but a program reads its environment as text.
            environment[name] = scalar.text if scalar else str(value)
        for field in ("env", "secrets"):
            if "PORT" in self.said(field):
                self.report((field, "PORT"), "PORT is set by Interlock", "remove it", of_key=True)
        return environment

    def _resources(self) -> Resources:
        said = self.said("resources")
        cpu = said.get("cpu")
        return Resources(
            cpu=None if cpu is None else float(cpu),
            memory_mb=self.whole(said.get("memory_mb")),
            pids=self.whole(said.get("pids")),
        )

    def _watch(self) -> WatchPolicy:
        said = self.said("watch")

        def given(name: str, convert: Callable[[Path, Any], float]) -> float | None:
            return convert(("watch", name), said[name]) if name in said else None

        p95_ms = said.get("p95_ms")
        return WatchPolicy(
            window_s=given("window", self.duration),
            interval_s=given("interval", self.duration),
            min_requests=self.whole(said.get("min_requests")),
            error_rate=given("error_rate", lambda _path, value: share(value)),
            p95_ms=None if p95_ms is None else float(p95_ms),
            health_failures=self.whole(said.get("health_failures")),
            restarts=self.whole(said.get("restarts")),
        )

    def _check_service(self, recipe: Recipe) -> None:
        """What several fields have to say together."""
        needs_start = recipe.module_type in SERVICE_TYPES and not recipe.dockerfile
        if "module_type" in self.document.fields and needs_start and "start" not in self.given:
            message = f"a module of type {recipe.module_type} needs a start command"
            self.report(("module_type",), message, "write start:, for example python3 -m app --port {port}")
        if recipe.start is not None and recipe.start.takes_port and self.document.fields.get("takes_port") is False:
            self.report(("takes_port",), f"the start command holds {PORT_PLACEHOLDER}", "remove takes_port")
        unknown_port = recipe.start is not None and not recipe.takes_port and "port" not in self.given
        if unknown_port and recipe.module_type in SERVICE_TYPES:
            hint = f"write {PORT_PLACEHOLDER} in it, or takes_port: true where it reads PORT, or port: where it listens always"
            self.report(("start",), "nothing says on which port the service listens", hint)
        for index, name in enumerate(recipe.dependencies):
            if name == recipe.name:
                self.report(("dependencies", index), "a service cannot depend on itself", "remove it")

    def _url_path(self, path: Path, value: str) -> str:
        if ".." in re.split(r"[/?#]|%2[fF]", value.replace("%2e", ".").replace("%2E", ".")):
            self.report(path, "a path may not hold '..'", "write the path from the root of the service")
        return value
