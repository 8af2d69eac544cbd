"""How a Python project brings in what it needs: package manager, dependencies, runtime."""

import ast
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, cast

from interlock.sources.detect.files import Files, line_of
from interlock.sources.model import Evidence

Manager = Literal["pip", "uv", "poetry", "pdm", "pipenv", "project", "listed", "none"]
"""``project``: pip installs the project itself; ``listed``: pip installs the dependencies that it lists, because it cannot be
installed; ``none``: only the standard library is needed."""

_TEST_REQUIREMENTS = (
    "requirements-dev.txt",
    "requirements-test.txt",
    "requirements_dev.txt",
    "requirements_test.txt",
    "dev-requirements.txt",
    "test-requirements.txt",
    "requirements/dev.txt",
    "requirements/test.txt",
)
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?")
_BROUGHT = {"fastapi": (("standard", "uvicorn"), ("all", "uvicorn"))}
_VERSION = re.compile(r"([<>=~^!]{0,2}[0-9][0-9A-Za-z.*+_-]{0,31})(,[<>=~^!]{0,2}[0-9][0-9A-Za-z.*+_-]{0,31}){0,4}")
_MAX_INCLUDED = 5


@dataclass(slots=True)
class Packages:
    """What the project depends on. Names are normalised as PEP 503 says."""

    manager: Manager = "none"
    file: str = ""
    """Where the manager is seen."""
    dependencies: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """Name to the file and line that ask for it."""
    requirements: tuple[str, ...] = ()
    """The dependencies as `project` lists them."""
    test_dependencies: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    test_needs: str = ""
    """What pip has to be told to install to run the tests."""
    is_locked: bool = False
    name: str = ""
    version: str = ""

    def has(self, *names: str) -> str:
        """The first of ``names`` that the service itself depends on, or an empty text."""
        return next((name for name in names if name in self.dependencies), "")


async def read_packages(files: Files) -> Packages:
    """Read the manifests at the root."""
    packages = Packages()
    project = _table(await files.text("pyproject.toml"))
    tools = _mapping(project.get("tool"))
    declared = _mapping(project.get("project"))
    packages.name = _text(declared.get("name")) or _text(_mapping(tools.get("poetry")).get("name"))
    packages.version = _text(declared.get("version")) or _text(_mapping(tools.get("poetry")).get("version"))
    packages.manager, packages.file = _manager(files, project)
    packages.is_locked = any(lock in files for lock in ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock"))
    packages.requirements = tuple(
        text for text in _strings(declared.get("dependencies")) if _names(text) and text.isprintable()
    )
    text = await files.text("pyproject.toml") or ""
    _add(packages.dependencies, "pyproject.toml", text, _service_names(declared, tools))
    _add(packages.test_dependencies, "pyproject.toml", text, _test_names(project, declared, tools))
    await _read_pipfile(files, packages)
    if packages.manager in ("pip", "project"):
        await _read_requirements(files, "requirements.txt", packages.dependencies)
        await _read_setup(files, packages)
    extra = next(
        (name for name, group in _mapping(declared.get("optional-dependencies")).items() if "pytest" in _plain(group)), ""
    )
    if packages.manager == "project" and extra:
        packages.test_needs = f"'.[{extra}]'"
    test_file = next((name for name in _TEST_REQUIREMENTS if name in files), "")
    if packages.manager == "pip" and test_file:
        packages.test_needs = f"-r requirements.txt -r {test_file}"
        await _read_requirements(files, test_file, packages.test_dependencies)
    return packages


async def read_runtime(files: Files) -> Evidence | None:
    """The version of Python that the project asks for, such as ``python 3.12`` or ``python >=3.11``."""
    for file, line, version in await _wanted_versions(files):
        plain = version.replace(" ", "").removeprefix("cpython-").removeprefix("python-")
        if _VERSION.fullmatch(plain):
            return await files.evidence("runtime", f"python {plain}", file, line)
    return None


async def _wanted_versions(files: Files) -> list[tuple[str, int, str]]:
    """File, line and version wherever one may be given, the most binding first."""
    wanted: list[tuple[str, int, str]] = []
    for name in (".python-version", "runtime.txt"):
        wanted += [(name, 1, words[0]) for words in [(await files.text(name) or "").split()] if words]
    for number, line in enumerate((await files.text(".tool-versions") or "").split("\n"), 1):
        words = line.split()
        if len(words) > 1 and words[0] == "python":
            wanted.append((".tool-versions", number, words[1]))
    manifest = await files.text("pyproject.toml") or ""
    table = _table(manifest)
    poetry = _mapping(_mapping(_mapping(table.get("tool")).get("poetry")).get("dependencies"))
    pipfile = await files.text("Pipfile") or ""
    requires = _mapping(_table(pipfile).get("requires"))
    for file, text, version in (
        ("pyproject.toml", manifest, _mapping(table.get("project")).get("requires-python")),
        ("pyproject.toml", manifest, poetry.get("python")),
        ("Pipfile", pipfile, requires.get("python_full_version")),
        ("Pipfile", pipfile, requires.get("python_version")),
    ):
        if _text(version):
            wanted.append((file, line_of(text, _text(version)), _text(version)))
    return wanted


def _manager(files: Files, project: dict[str, Any]) -> tuple[Manager, str]:
    tools = _mapping(project.get("tool"))
    locked: tuple[tuple[Manager, str], ...] = (
        ("uv", "uv.lock"),
        ("poetry", "poetry.lock"),
        ("pdm", "pdm.lock"),
        ("pipenv", "Pipfile.lock"),
    )
    for manager, lock in locked:
        if lock in files:
            return manager, lock
    configured: tuple[Manager, ...] = ("uv", "poetry", "pdm")
    for manager in configured:
        if manager in tools:
            return manager, "pyproject.toml"
    if "Pipfile" in files:
        return "pipenv", "Pipfile"
    if "requirements.txt" in files:
        return "pip", "requirements.txt"
    if "project" in project:
        return ("project" if "build-system" in project else "listed"), "pyproject.toml"
    setup = next((name for name in ("setup.py", "setup.cfg") if name in files), "")
    return ("project", setup) if setup else ("none", "")


def _service_names(declared: dict[str, Any], tools: dict[str, Any]) -> list[str]:
    poetry = _mapping(tools.get("poetry"))
    return [*_strings(declared.get("dependencies")), *_mapping(poetry.get("dependencies"))]


def _test_names(project: dict[str, Any], declared: dict[str, Any], tools: dict[str, Any]) -> list[str]:
    names: list[str] = []
    for groups in (project.get("dependency-groups"), declared.get("optional-dependencies")):
        for group in _mapping(groups).values():
            names += _strings(group)
    names += _strings(_mapping(tools.get("uv")).get("dev-dependencies"))
    for group in _mapping(_mapping(tools.get("pdm")).get("dev-dependencies")).values():
        names += _strings(group)
    poetry = _mapping(tools.get("poetry"))
    names += _mapping(poetry.get("dev-dependencies"))
    for group in _mapping(poetry.get("group")).values():
        names += _mapping(_mapping(group).get("dependencies"))
    return names


async def _read_pipfile(files: Files, packages: Packages) -> None:
    text = await files.text("Pipfile")
    table = _table(text)
    _add(packages.dependencies, "Pipfile", text or "", _mapping(table.get("packages")))
    _add(packages.test_dependencies, "Pipfile", text or "", _mapping(table.get("dev-packages")))


async def _read_requirements(files: Files, path: str, into: dict[str, tuple[str, int]]) -> None:
    """The names in a requirements file and in those that it includes with ``-r``."""
    waiting, seen = [path], set[str]()
    while waiting and len(seen) < _MAX_INCLUDED:
        current = waiting.pop(0)
        seen.add(current)
        for number, line in enumerate((await files.text(current) or "").split("\n"), 1):
            words = line.split()
            if len(words) == 2 and words[0] in ("-r", "--requirement"):
                waiting.append(str(PurePosixPath(current).parent / words[1]))
            for name in _names(line):
                into.setdefault(name, (current, number))


async def _read_setup(files: Files, packages: Packages) -> None:
    """The literal ``install_requires`` of a ``setup.py``, without running it."""
    text = await files.text("setup.py")
    try:
        tree = ast.parse(text or "")
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "install_requires" and isinstance(node.value, ast.List | ast.Tuple):
            names = [item.value for item in node.value.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)]
            _add(packages.dependencies, "setup.py", text or "", names)


def _add(into: dict[str, tuple[str, int]], file: str, text: str, requirements: Iterable[str]) -> None:
    for requirement in requirements:
        for name in _names(requirement):
            into.setdefault(name, (file, line_of(text, requirement) or line_of(text, name)))


def _names(requirement: str) -> list[str]:
    """The package that a requirement asks for, and those that its extras are known to bring."""
    found = _REQUIREMENT.match(requirement)
    if not found:
        return []
    name = re.sub(r"[-_.]+", "-", found[1]).lower()
    extras = {extra.strip().lower() for extra in (found[2] or "").split(",")}
    return [name, *(brought for extra, brought in _BROUGHT.get(name, ()) if extra in extras)]


def _plain(group: Any) -> set[str]:
    return {name for requirement in _strings(group) for name in _names(requirement)}


def _table(text: str | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text or "")
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _strings(value: Any) -> list[str]:
    return [item for item in cast("list[object]", value) if isinstance(item, str)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
