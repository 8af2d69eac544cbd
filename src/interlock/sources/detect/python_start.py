"""How a Python web service is started: framework, server and application object become one command."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from interlock.sources.detect.files import Files
from interlock.sources.detect.python_code import App, Code, read_code
from interlock.sources.detect.python_packages import Packages

MAX_READ = 24
"""Modules that are looked into; what starts a service stands near the root under a telling name."""

PYTHON = ".venv/bin/python"
FRAMEWORKS = ("fastapi", "starlette", "flask", "django", "aiohttp")

_ENTRIES = ("app", "main", "server", "wsgi", "asgi", "application", "api", "web", "run", "index", "__main__", "__init__")
_TELLING = frozenset({*_ENTRIES, "manage", "urls"})
_NOT_SERVICE = re.compile(
    r"(^|/)(tests?|testing|docs?|examples?|samples|scripts|migrations|alembic|node_modules|site-packages|venv|build|dist|\.[^/]+)/"
    r"|(^|/)(test_[^/]*|[^/]*_test|conftest|setup|noxfile|tasks)\.py$"
)
# A name that begins with a hyphen would be an option of the program that is given it.
_PLAIN = re.compile(r"[\w.][\w./ -]*\.py")
_SERVERS: dict[str, tuple[str, ...]] = {
    "flask": ("gunicorn", "waitress", "flask"),
    "fastapi": ("uvicorn", "hypercorn"),
    "starlette": ("uvicorn", "hypercorn"),
    "aiohttp": ("gunicorn",),
}
"""What can serve an application of each framework, the best first."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module that was read; ``in_package`` where its folder is a package."""

    path: str
    code: Code
    in_package: bool


@dataclass(frozen=True, slots=True)
class Start:
    """How the service is started, the folder that has to be on the module path (empty for the root), and why.

    ``routes`` is the module that holds the routes.
    """

    arguments: list[str]
    file: str
    line: int
    confidence: float
    routes: Module
    folder: str = ""
    takes_port: bool = True


def service_modules(files: Files) -> list[str]:
    """The Python files that can belong to a service: no tests, documentation, migrations, environments."""
    return [path for path in files.paths if _PLAIN.fullmatch(path) and not _NOT_SERVICE.search(path)]


async def read_modules(files: Files, paths: list[str]) -> list[Module]:
    """The modules that most probably start the service, the most probable first."""

    def rank(path: str) -> tuple[int, int, str]:
        stem = PurePosixPath(path).stem
        return _depth(path), _ENTRIES.index(stem) if stem in _ENTRIES else len(_ENTRIES), path

    ranked = sorted(paths, key=rank)
    telling = [path for path in ranked if PurePosixPath(path).stem in _TELLING]
    others = [path for path in ranked if PurePosixPath(path).stem not in _TELLING and _depth(path) <= 1]
    found: list[Module] = []
    for path in [*telling, *others][:MAX_READ]:
        # In a thread: a large module takes a while, and others wait for the event loop.
        code = await asyncio.to_thread(read_code, await files.text(path) or "")
        if code is not None:
            found.append(Module(path, code, f"{PurePosixPath(path).parent}/__init__.py" in files))
    return found


def find_start(files: Files, packages: Packages, modules: list[Module]) -> Start | None:
    """The start command; None where nothing is found that serves, or nothing to serve it with."""
    manage = next((module for module in modules if module.path.endswith("manage.py") and module.code.settings_module), None)
    if manage is not None:
        return _django(files, packages, manage, modules)
    apps = [(module, app) for module in modules for app in module.code.apps]
    # An application object whose framework is seen before one that another module makes, a ready one before a function.
    for module, app in sorted(apps, key=lambda pair: (pair[1].framework == "", pair[1].is_factory)):
        framework = app.framework or packages.has(*_SERVERS)
        start = _serve(packages, module, app, framework, modules)
        if start is not None:
            return start
    return next((_script(packages, module) for module in modules if module.code.servers), None)


def _serve(packages: Packages, module: Module, app: App, framework: str, modules: list[Module]) -> Start | None:
    """Serve an application object with what the project depends on; None where it depends on nothing that could."""
    server = packages.has(*_SERVERS.get(framework, ()))
    if not server:
        return None
    folder, dotted = _module_name(module)
    if not all(part.isidentifier() for part in dotted.split(".")):
        return None
    arguments = [PYTHON, "-m", *_server_arguments(server, framework, f"{dotted}:{app.name}", is_factory=app.is_factory)]
    confidence = (0.95 if app.framework else 0.7) - 0.1 * app.is_factory
    return Start(arguments, module.path, app.line, confidence, _with_routes(module, modules), folder)


def _server_arguments(server: str, framework: str, target: str, *, is_factory: bool) -> list[str]:
    called = f"{target}()" if is_factory else target
    match server:
        case "uvicorn":
            return ["uvicorn", target, *(["--factory"] if is_factory else []), "--host", "127.0.0.1", "--port", "{port}"]
        case "hypercorn":
            return ["hypercorn", "--bind", "127.0.0.1:{port}", called]
        case "waitress":
            return ["waitress", "--listen", "127.0.0.1:{port}", *(["--call"] if is_factory else []), target]
        case "gunicorn":
            worker = ["--worker-class", "aiohttp.GunicornWebWorker"] if framework == "aiohttp" else []
            return ["gunicorn", "--bind", "127.0.0.1:{port}", *worker, called]
        case _:
            return ["flask", "--app", called, "run", "--host", "127.0.0.1", "--port", "{port}"]


def _django(files: Files, packages: Packages, manage: Module, modules: list[Module]) -> Start:
    settings, line = manage.code.settings_module or ("", 0)
    folder = str(PurePosixPath(manage.path).parent).removeprefix(".")
    project = settings.split(".")[0]
    inside = f"{folder}/{project}" if folder else project
    routes = next((module for module in modules if module.path == f"{inside}/urls.py"), manage)
    for server, interface in (("gunicorn", "wsgi"), ("waitress", "wsgi"), ("uvicorn", "asgi")):
        if packages.has(server) and f"{inside}/{interface}.py" in files:
            target = f"{project}.{interface}:application"
            arguments = [PYTHON, "-m", *_server_arguments(server, "django", target, is_factory=False)]
            return Start(arguments, f"{inside}/{interface}.py", 0, 0.95, routes, folder)
    arguments = [PYTHON, manage.path, "runserver", "--noreload", "127.0.0.1:{port}"]
    return Start(arguments, manage.path, line, 0.85, routes)


def _script(packages: Packages, module: Module) -> Start:
    """A program that serves when it is run."""
    code = module.code
    given = code.port_argument[0].split() if code.port_argument and not code.port_variable_line else []
    python = "python3" if packages.manager == "none" else PYTHON
    takes_port = bool(code.port_variable_line or given)
    line = code.servers[0][1]
    return Start([python, module.path, *given], module.path, line, 0.8 if takes_port else 0.6, module, takes_port=takes_port)


def _with_routes(module: Module, modules: list[Module]) -> Module:
    """The module that holds the routes: that of the application, or the only one that has any where it makes none itself."""
    others = [other for other in modules if other.code.get_paths]
    return others[0] if not module.code.get_paths and len(others) == 1 else module


def _module_name(module: Module) -> tuple[str, str]:
    """The folder to put on the module path and the dotted name from there."""
    parts = list(PurePosixPath(module.path).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    folders = parts[:-1]
    if folders and folders[0] == "src":
        return "src", ".".join(parts[1:])
    is_package = module.in_package or module.code.has_relative_imports or bool(module.code.imports & set(folders))
    return ("/".join(folders), parts[-1]) if folders and not is_package else ("", ".".join(parts))


def _depth(path: str) -> int:
    return path.count("/") - path.startswith("src/")
