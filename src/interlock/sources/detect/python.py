"""Python web services: Flask, FastAPI, Starlette, Django, aiohttp, and programs that serve by themselves."""

import re
import shlex

from interlock.sources.commands import parse_arguments, parse_command
from interlock.sources.detect.detection import Detection
from interlock.sources.detect.files import Files
from interlock.sources.detect.module_type import module_type_of
from interlock.sources.detect.python_packages import Packages, read_packages, read_runtime
from interlock.sources.detect.python_start import FRAMEWORKS, PYTHON, Start, find_start, read_modules, service_modules
from interlock.sources.model import SERVICE_TYPES, Command, Evidence, Finding, HealthCheck, ModuleType, Recipe

_TOOLS = ".venv-build"
_TESTS = ".venv-test"
_TEST = re.compile(r"(^|/)(test_[^/]*|[^/]*_test)\.py$")
_HEALTH_PATHS = ("/healthz", "/health", "/ready", "/readyz", "/livez", "/api/health", "/api/healthz", "/status", "/ping", "/")
_DEVELOPMENT_SERVERS = frozenset({"flask", "runserver"})


async def detect_python(files: Files, name: str) -> Detection | None:
    """A Python web service; None where the repository is no Python project, no start command where nothing serves."""
    paths = service_modules(files)
    packages = await read_packages(files)
    # Without a manifest, a few scripts among many other files do not make a Python project.
    if not paths or (packages.manager == "none" and len(paths) * 4 < len(files.paths)):
        return None
    start = find_start(files, packages, await read_modules(files, paths))
    if start is None:
        return _unstartable(packages, name)
    command = parse_arguments(start.arguments, file=start.file, line=start.line)
    runtime = await read_runtime(files)
    health, health_evidence = await _health(files, start)
    kind, kind_evidence = await _service_type(files)
    test, test_evidence = await _test(files, packages)
    port = start.routes.code.port
    recipe = Recipe(
        name=name,
        version=packages.version,
        module_type=kind,
        runtime=runtime.value if runtime else "python",
        install=_install(packages),
        test=test,
        start=command,
        port=port[0] if port and not command.takes_port else None,
        takes_port=start.takes_port,
        health=health,
        env={"PYTHONPATH": start.folder} if start.folder else {},
    )
    evidence = [
        *await _about_packages(files, packages),
        await files.evidence("start", command.text, start.file, start.line, start.confidence),
        *await _about_port(files, start),
        *([runtime] if runtime else []),
        *health_evidence,
        *test_evidence,
        *kind_evidence,
    ]
    return Detection(recipe=recipe, evidence=tuple(evidence), findings=_findings(packages, start))


def _unstartable(packages: Packages, name: str) -> Detection:
    framework = packages.has(*FRAMEWORKS)
    message = "no Python module was found that serves HTTP"
    if framework:
        message = f"{framework} is among the dependencies, but no application object and server were found that belong together"
    finding = Finding(
        severity="error",
        code="nothing_to_start",
        message=message,
        where=packages.file,
        hint="add a server such as uvicorn or gunicorn to the dependencies, or write the start command into ai-module.yaml",
    )
    return Detection(recipe=Recipe(name=name, module_type="api"), findings=(finding,))


async def _about_packages(files: Files, packages: Packages) -> list[Evidence]:
    evidence = [await files.evidence("package_manager", packages.manager, packages.file)] if packages.file else []
    if framework := packages.has(*FRAMEWORKS):
        evidence.append(await files.evidence("framework", framework, *packages.dependencies[framework]))
    return evidence


async def _about_port(files: Files, start: Start) -> list[Evidence]:
    code, path = start.routes.code, start.routes.path
    evidence: list[Evidence] = []
    if code.port_variable_line:
        evidence.append(await files.evidence("takes_port", "PORT", path, code.port_variable_line))
    elif code.port_argument:
        evidence.append(await files.evidence("takes_port", code.port_argument[0], path, code.port_argument[1], 0.7))
    if code.port:
        evidence.append(await files.evidence("port", str(code.port[0]), path, code.port[1], 0.9))
    return evidence


async def _health(files: Files, start: Start) -> tuple[HealthCheck | None, list[Evidence]]:
    seen = dict(reversed(start.routes.code.get_paths))
    for wanted in _HEALTH_PATHS:
        for path in (wanted, f"{wanted}/"):
            if path in seen:
                confidence = 0.5 if wanted == "/" else 0.9
                return HealthCheck(path=path), [await files.evidence("health", path, start.routes.path, seen[path], confidence)]
    return None, []


async def _service_type(files: Files) -> tuple[ModuleType, tuple[Evidence, ...]]:
    """What serves HTTP is a web application or an API, whatever else lies beside it."""
    kind, evidence = await module_type_of(files)
    return (kind, evidence) if kind in SERVICE_TYPES else ("api", ())


def _install(packages: Packages) -> tuple[Command, ...]:
    """Commands that need nothing but ``python3`` with its ``venv`` module, and that change nothing outside the folder."""
    environment = "python3 -m venv .venv"
    match packages.manager:
        case "none":
            return ()
        case "pip":
            line = f"{environment} && {PYTHON} -m pip install -r requirements.txt"
        case "project":
            line = f"{environment} && {PYTHON} -m pip install ."
        case "listed":
            wanted = shlex.join(packages.requirements)
            line = f"{environment} && {PYTHON} -m pip install {wanted}" if wanted else environment
        case "uv":
            line = _with_tool("uv", *_manager_arguments(packages))
        case manager:
            line = f"{environment} && {_with_tool(manager, *_manager_arguments(packages))}"
    return (parse_command(line, file=packages.file),)


def _with_tool(tool: str, *arguments: str) -> str:
    """Run a package manager from an environment of its own; it installs into ``.venv``, which it finds in the folder."""
    return " ".join(
        [f"python3 -m venv {_TOOLS} && {_TOOLS}/bin/python -m pip install {tool} && {_TOOLS}/bin/{tool}", *arguments]
    )


def _manager_arguments(packages: Packages) -> list[str]:
    """Arguments of a package manager: what is locked, with what the tests need where they need anything."""
    for_tests, is_locked = "pytest" in packages.test_dependencies, packages.is_locked
    match packages.manager:
        case "uv":
            return ["sync", "--no-python-downloads", *(["--frozen"] * is_locked), "--all-groups" if for_tests else "--no-dev"]
        case "poetry":
            return ["install", "--no-interaction", *([] if for_tests else ["--only", "main"])]
        case "pdm":
            return ["install", *(["--frozen-lockfile"] * is_locked), *([] if for_tests else ["--prod"])]
        case _:
            return ["install", *(["--deploy"] * is_locked), *(["--dev"] * for_tests)]


async def _test(files: Files, packages: Packages) -> tuple[tuple[Command, ...], list[Evidence]]:
    """pytest, where there are tests for it and the project asks for it."""
    tests = next((path for path in files.paths if _TEST.search(path)), "")
    asked = packages.dependencies.get("pytest") or packages.test_dependencies.get("pytest")
    if not tests or asked is None:
        return (), []
    line = f"{PYTHON} -m pytest"
    if "pytest" not in packages.dependencies and packages.manager in ("pip", "project", "listed"):
        # An environment of its own: what only the tests need does not belong into the release.
        needed = packages.test_needs
        if not needed:
            return (), []
        line = f"python3 -m venv {_TESTS} && {_TESTS}/bin/python -m pip install {needed} && {_TESTS}/bin/python -m pytest"
    return (parse_command(line, file=asked[0], line=asked[1]),), [await files.evidence("test", "pytest", *asked, 0.9)]


def _findings(packages: Packages, start: Start) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    if _DEVELOPMENT_SERVERS & set(start.arguments):
        findings.append(
            Finding(
                severity="warning",
                code="development_server",
                message="the service is started by its framework's own development server",
                where=start.file,
                hint="add gunicorn or waitress to the dependencies",
            )
        )
    if packages.manager in ("uv", "poetry", "pdm", "pipenv") and not packages.is_locked:
        findings.append(
            Finding(
                severity="warning",
                code="no_lock_file",
                message=f"{packages.manager} has no lock file here: two builds of one commit can differ",
                where=packages.file,
                hint="commit the lock file",
            )
        )
    return tuple(findings)
