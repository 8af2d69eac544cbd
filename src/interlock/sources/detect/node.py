"""Node web services: a ``package.json`` with a start script."""

import json
import re
from pathlib import PurePosixPath
from typing import Any

from interlock.core.errors import Invalid
from interlock.sources.commands import parse_arguments, parse_command
from interlock.sources.detect.detection import Detection
from interlock.sources.detect.files import Files, line_of
from interlock.sources.detect.module_type import module_type_of
from interlock.sources.model import SERVICE_TYPES, Command, Evidence, Finding, HealthCheck, ModuleType, Recipe

MANIFEST = "package.json"
MAX_READ = 30

_CODE = re.compile(r"\.(js|cjs|mjs|ts)$")
_NOT_SERVICE = re.compile(
    r"(^|/)(node_modules|test|tests|__tests__|dist|build|public|docs?|\.[^/]+)/|\.(test|spec|d)\.\w+$|\.config\."
)
_PORT = re.compile(r"process\.env(?:\.PORT\b|\[['\"]PORT['\"]\])(?:\s*(?:\|\||\?\?)\s*['\"]?(\d{2,5}))?")
_HEALTH = re.compile(r"['\"`](/healthz|/health|/readyz|/ready|/livez|/api/health|/status|/ping)['\"`]")
_ENTRIES = ("server", "index", "app", "main")
# A manager other than npm; what it locks, npm does not see.
_OTHERS = ("yarn.lock", "pnpm-lock.yaml", "bun.lockb")


async def detect_node(files: Files, name: str) -> Detection | None:
    """A Node web service; None where there is no ``package.json``, no start command where it has no start script."""
    text = await files.text(MANIFEST)
    if text is None:
        return None
    package = _read(text)
    scripts = _mapping(package.get("scripts"))
    if not isinstance(scripts.get("start"), str):
        return _unstartable(name)
    start = _start(scripts["start"], line_of(text, '"start"'))
    evidence = [
        await files.evidence("package_manager", "npm", MANIFEST),
        await files.evidence("start", start.text, MANIFEST, start.line, 0.9),
    ]
    port, takes_port, health = await _code(files, start, evidence)
    kind, kind_evidence = await _service_type(files)
    runtime = _mapping(package.get("engines")).get("node")
    recipe = Recipe(
        name=name,
        version=str(package.get("version") or ""),
        module_type=kind,
        runtime=f"node {runtime}" if isinstance(runtime, str) and runtime.isprintable() else "node",
        install=_install(files, package),
        start=start,
        port=port,
        takes_port=takes_port,
        health=HealthCheck(path=health) if health else None,
    )
    return Detection(recipe=recipe, evidence=(*evidence, *kind_evidence), findings=_findings(files))


def _start(script: str, line: int) -> Command:
    """The script itself where it runs node, which then gets the signals; else by npm, which knows the package's programs."""
    try:
        command = parse_command(script, file=MANIFEST, line=line)
        if len(command.argv) == 1 and command.argv[0][0] == "node":
            return command
    except Invalid:
        pass
    return parse_arguments(["npm", "start"], file=MANIFEST, line=line)


def _install(files: Files, package: dict[str, Any]) -> tuple[Command, ...]:
    if "package-lock.json" in files or "npm-shrinkwrap.json" in files:
        return (parse_arguments(["npm", "ci"], file=MANIFEST),)
    needs = any(_mapping(package.get(field)) for field in ("dependencies", "devDependencies", "optionalDependencies"))
    return (parse_arguments(["npm", "install"], file=MANIFEST),) if needs else ()


async def _code(files: Files, start: Command, evidence: list[Evidence]) -> tuple[int | None, bool, str]:
    """The port that is taken when none is told, whether one can be told, and the path that answers while all is well."""
    port: int | None = None
    takes_port, health = False, ""
    for path in _paths(files, start):
        text = await files.text(path) or ""
        if not takes_port and (found := _PORT.search(text)):
            takes_port, port = True, int(found[1]) if found[1] else None
            evidence.append(await files.evidence("takes_port", "PORT", path, text.count("\n", 0, found.start()) + 1))
        if not health and (found := _HEALTH.search(text)):
            health = found[1]
            evidence.append(await files.evidence("health", health, path, text.count("\n", 0, found.start()) + 1, 0.7))
    return port, takes_port, health


def _paths(files: Files, start: Command) -> list[str]:
    """The code that most probably serves: what the start command names first."""
    named = {str(PurePosixPath(word)) for word in start.argv[0]}

    def rank(path: str) -> tuple[bool, int, bool, str]:
        return path not in named, path.count("/"), PurePosixPath(path).stem not in _ENTRIES, path

    return sorted((path for path in files.paths if _CODE.search(path) and not _NOT_SERVICE.search(path)), key=rank)[:MAX_READ]


async def _service_type(files: Files) -> tuple[ModuleType, tuple[Evidence, ...]]:
    kind, evidence = await module_type_of(files)
    return (kind, evidence) if kind in SERVICE_TYPES else ("api", ())


def _findings(files: Files) -> tuple[Finding, ...]:
    other = next((path for path in _OTHERS if path in files), None)
    if other is None:
        return ()
    message = f"{other} is not looked at: the packages are installed by npm"
    hint = "write the install command into ai-module.yaml"
    return (Finding(severity="warning", code="other_package_manager", message=message, where=other, hint=hint),)


def _unstartable(name: str) -> Detection:
    finding = Finding(
        severity="error",
        code="nothing_to_start",
        message="package.json has no start script",
        where=MANIFEST,
        hint="add one, or write the start command into ai-module.yaml",
    )
    return Detection(recipe=Recipe(name=name, module_type="web_app"), findings=(finding,))


def _read(text: str) -> dict[str, Any]:
    try:
        return _mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]
