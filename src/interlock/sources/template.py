"""A commented ``ai-module.yaml`` for a repository, filled in with what was found in it."""

import json
import re
from collections.abc import Sequence

from interlock.sources.detect.detection import Detection
from interlock.sources.detect.families import detect_stack
from interlock.sources.detect.files import Read
from interlock.sources.detect.module_type import detect_module_type
from interlock.sources.model import SERVICE_TYPES, Command, Evidence, ModuleType
from interlock.sources.module_schema import module_schema

# Begins as a command or a path does, and holds nothing that YAML reads otherwise in the middle of a line.
_PLAIN = re.compile(r"[a-z./][A-Za-z0-9_./ :=@%+,{}&<>~'-]*[A-Za-z0-9_./{}'*]")


async def module_template(paths: Sequence[str], read: Read, name: str = "my-service") -> str:
    """A module file that `check_module` accepts: what was found is filled in with its evidence, the rest is in comments.

    ``name`` is the service's name, which the file has to have.
    """
    kind, evidence = await detect_module_type(paths, read)
    found = await detect_stack(paths, read, name)
    if found is not None and found.recipe.start is not None:
        return _join(_head(name, found.recipe.module_type, found.evidence), _filled(found), _rest(found))
    return _join(_head(name, kind, evidence), _empty(kind), _rest(None))


def _head(name: str, kind: ModuleType, evidence: Sequence[Evidence]) -> list[str]:
    reasons = [item for item in evidence if item.claim == "module_type"]
    return [
        "# How to install, build, test, run, check and watch this service.",
        "# Every field: interlock module schema. Check this file: interlock module check.",
        "",
        f"name: {name}",
        'version: "0.1.0"',
        "# One of: web_app, api, ml_model, data_pipeline, infrastructure.",
        *_because(reasons),
        f"module_type: {kind}",
    ]


def _filled(found: Detection) -> list[str]:
    """The fields of a service that was recognised."""
    recipe = found.recipe
    lines = [*_because(_about(found, "runtime")), f"runtime: {_quoted(recipe.runtime)}", ""]
    lines += [*_because(_about(found, "package_manager")), *_commands("install", recipe.install)]
    lines += [*_because(_about(found, "test")), *_commands("test", recipe.test)]
    lines += ["", "# {port} stands for the port to listen on, on 127.0.0.1; the variable PORT holds it too."]
    lines += _because(_about(found, "start"))
    if recipe.start is not None:
        lines.append(f"start: {_quoted(recipe.start.text)}")
        if recipe.takes_port and not recipe.start.takes_port:
            lines += [*_because(_about(found, "takes_port")), "takes_port: true"]
        if not recipe.takes_port:
            lines += [*_because(_about(found, "port")), f"port: {recipe.port or 8000}"]
    if recipe.health is not None:
        lines += ["", *_because(_about(found, "health")), f"health: {_quoted(recipe.health.path)}"]
    if recipe.env:
        lines += ["", "env:", *(f"  {name}: {_quoted(value)}" for name, value in recipe.env.items())]
    return lines


def _empty(kind: ModuleType) -> list[str]:
    """The fields of a module in which nothing was recognised that could be started."""
    lines = [
        "",
        "# Plain commands joined by &&, without a shell.",
        "# install: ./install.sh",
        "# build: ./build.sh",
        "# test: ./test.sh",
    ]
    if kind not in SERVICE_TYPES:
        return [*lines, "# start: ./run.sh"]
    return [
        *lines,
        "",
        "# To be completed: the command that starts the service in the foreground.",
        "# {port} stands for the port to listen on, on 127.0.0.1; the variable PORT holds it too.",
        "start: ./start.sh --port {port}",
    ]


def _rest(found: Detection | None) -> list[str]:
    """The fields that were not filled in, each with its meaning, as comments."""
    filled = {"name", "version", "module_type", "install", "build", "test", "start", "port", "takes_port", "health_check"}
    if found is not None:
        filled |= {"runtime"} | ({"health"} if found.recipe.health else set()) | ({"env"} if found.recipe.env else set())
    lines: list[str] = []
    for field, schema in module_schema()["properties"].items():
        if field not in filled:
            lines += ["", f"# {schema['description']}", f"# {field}: {json.dumps(schema['examples'][0], ensure_ascii=False)}"]
    return lines


def _commands(field: str, commands: tuple[Command, ...]) -> list[str]:
    if len(commands) == 1:
        return [f"{field}: {_quoted(commands[0].text)}"]
    return [f"{field}:", *(f"  - {_quoted(command.text)}" for command in commands)] if commands else []


def _about(found: Detection, claim: str) -> list[Evidence]:
    return [item for item in found.evidence if item.claim == claim][:1]


def _because(evidence: Sequence[Evidence]) -> list[str]:
    """Where a value comes from, as comments of one line each."""
    lines: list[str] = []
    for item in evidence:
        place = f"{item.file}:{item.line}" if item.line else item.file
        text = f"# Found in {place}" + (f": {item.text}" if item.line and item.text else "")
        lines.append("".join(letter if letter.isprintable() else "?" for letter in text))
    return lines


def _quoted(text: str) -> str:
    """A YAML scalar: plain where that cannot be misread, else in JSON's quotes, which are YAML's too."""
    is_plain = _PLAIN.fullmatch(text) and ": " not in text and not text.endswith(":")
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _join(*parts: list[str]) -> str:
    return "\n".join(line for part in parts for line in part) + "\n"
