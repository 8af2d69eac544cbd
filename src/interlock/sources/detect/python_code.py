"""What a Python module shows of a web service, read from its syntax tree; nothing of it is ever executed."""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

FRAMEWORKS = {
    "flask.Flask": "flask",
    "fastapi.FastAPI": "fastapi",
    "starlette.applications.Starlette": "starlette",
    "aiohttp.web.Application": "aiohttp",
}
_SERVERS = frozenset(
    {
        "http.server.HTTPServer",
        "http.server.ThreadingHTTPServer",
        "socketserver.TCPServer",
        "socketserver.ThreadingTCPServer",
        "wsgiref.simple_server.make_server",
        "aiohttp.web.run_app",
        "uvicorn.run",
        "waitress.serve",
    }
)
_KNOWN = (*FRAMEWORKS, *_SERVERS)
_APP_NAMES = ("app", "application", "api", "server")
_READ_ENVIRONMENT = frozenset({"os.getenv", "os.environ.get", "os.environ.setdefault", "os.environ.pop"})
_GET_DECORATORS = frozenset({"get", "route", "api_route", "head"})
_GET_CALLS = frozenset({"add_get", "add_url_rule", "add_route", "add_api_route", "Route"})


@dataclass(frozen=True, slots=True)
class App:
    """An application object: the variable that holds it, or the function that makes it."""

    framework: str
    """Empty where another module makes it."""
    name: str
    line: int
    is_factory: bool = False


@dataclass(slots=True)
class Code:
    """What was found in one module; lines are 1-based."""

    apps: list[App] = field(default_factory=list[App])
    servers: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """Calls that serve until the end: what is called, line."""
    get_paths: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    port_variable_line: int = 0
    """Where the variable PORT is read."""
    port_argument: tuple[str, int] | None = None
    """How the port is given on the command line, such as ``--port {port}``, and the line."""
    port: tuple[int, int] | None = None
    """The port where nobody gives one, and the line."""
    settings_module: tuple[str, int] | None = None
    imports: set[str] = field(default_factory=set[str])
    """First parts of the names of the modules that are imported."""
    has_relative_imports: bool = False


def read_code(text: str) -> Code | None:
    """Read a module; None where it is no Python of a version that is understood here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        return _Reader(tree).code()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._names: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._code = Code()

    def code(self) -> Code:
        nodes = list(ast.walk(self._tree))
        for node in nodes:
            self._note_import(node)
        for statement in self._tree.body:
            self._note_statement(statement)
        for node in nodes:
            if isinstance(node, ast.Call):
                self._note_call(node)
            elif isinstance(node, ast.Subscript):
                self._note_subscript(node)
            elif isinstance(node, ast.Compare):
                self._note_comparison(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._note_routes(node)
        return self._code

    def _note_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._names[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
                self._code.imports.add(alias.name.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            self._code.has_relative_imports |= node.level > 0
            if node.module and not node.level:
                self._code.imports.add(node.module.split(".")[0])
            for alias in node.names:
                self._names[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
                if alias.name == "*":
                    self._names |= {
                        known.rsplit(".", 1)[1]: known for known in _KNOWN if known.rsplit(".", 1)[0] == node.module
                    }

    def _note_statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            number = self._number(statement.value)
            for name in names:
                if number is not None:
                    self._numbers[name] = number
                self._note_app(name, statement.value)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            self._note_factory(statement)

    def _note_app(self, name: str, value: ast.expr) -> None:
        if not isinstance(value, ast.Call):
            return
        called = self._dotted(value.func)
        framework = FRAMEWORKS.get(called, "")
        makes_app = name in _APP_NAMES and called.rsplit(".", 1)[-1].endswith(("app", "application"))
        if framework or makes_app:
            self._code.apps.append(App(framework, name, value.lineno))

    def _note_factory(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        needed = len(function.args.posonlyargs + function.args.args) - len(function.args.defaults)
        needed += sum(default is None for default in function.args.kw_defaults)
        if needed or not function.name.endswith(("app", "application")) or function.decorator_list:
            return
        for node in ast.walk(function):
            framework = FRAMEWORKS.get(self._dotted(node.func), "") if isinstance(node, ast.Call) else ""
            if framework:
                self._code.apps.append(App(framework, function.name, function.lineno, is_factory=True))
                return

    def _note_call(self, call: ast.Call) -> None:
        called = self._dotted(call.func)
        last = called.rsplit(".", 1)[-1]
        first = _text(call.args[0]) if call.args else None
        if called in _SERVERS:
            self._code.servers.append((called, call.lineno))
            self._note_port(call)
        elif called in _READ_ENVIRONMENT and first == "PORT":
            self._code.port_variable_line = self._code.port_variable_line or call.lineno
            default = self._number(call.args[1]) if len(call.args) > 1 else None
            if default:
                self._code.port = self._code.port or (default, call.lineno)
        elif called == "os.environ.setdefault" and first == "DJANGO_SETTINGS_MODULE" and len(call.args) > 1:
            self._code.settings_module = (_text(call.args[1]) or "", call.lineno)
        elif last == "add_argument" and first == "--port":
            self._code.port_argument = ("--port {port}", call.lineno)
        elif last in _GET_CALLS and first is not None:
            self._code.get_paths.append((first, call.lineno))
        elif called in ("django.urls.path", "aiohttp.web.get") and first is not None:
            self._code.get_paths.append((first if first.startswith("/") else f"/{first}", call.lineno))
        elif last == "startswith" and first is not None and first.startswith("/") and self._is_path(call.func):
            self._code.get_paths.append((first, call.lineno))

    def _note_port(self, call: ast.Call) -> None:
        places = [keyword.value for keyword in call.keywords if keyword.arg == "port"]
        places += [
            part for argument in call.args[:2] for part in (argument.elts if isinstance(argument, ast.Tuple) else [argument])
        ]
        for place in places:
            number = self._number(place)
            if number is not None:
                self._code.port = self._code.port or (number, call.lineno)

    def _note_subscript(self, node: ast.Subscript) -> None:
        value = self._dotted(node.value)
        if value == "os.environ" and _text(node.slice) == "PORT":
            self._code.port_variable_line = self._code.port_variable_line or node.lineno
        elif value == "sys.argv" and isinstance(node.slice, ast.Constant) and node.slice.value == 1:
            self._code.port_argument = self._code.port_argument or ("{port}", node.lineno)

    def _note_comparison(self, node: ast.Compare) -> None:
        """``self.path == "/health"`` and ``path in ("/", "/health")``, as in a plain request handler."""
        sides = [node.left, *node.comparators]
        if not any(self._is_path(side) for side in sides):
            return
        for side in sides:
            for part in side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]:
                text = _text(part)
                if text is not None and text.startswith("/"):
                    self._code.get_paths.append((text, part.lineno))

    def _note_routes(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute) and decorator.args:
                path = _text(decorator.args[0])
                if path is not None and decorator.func.attr in _GET_DECORATORS and _allows_get(decorator):
                    self._code.get_paths.append((path, decorator.lineno))

    def _is_path(self, node: ast.expr) -> bool:
        return any(
            (isinstance(part, ast.Attribute) and part.attr == "path") or (isinstance(part, ast.Name) and part.id == "path")
            for part in ast.walk(node)
        )

    def _number(self, node: ast.expr) -> int | None:
        """A port number: a literal, a module's constant, or the same within ``int(…)`` or beside ``or``."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int | str):
            text = str(node.value)
            return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536 else None
        if isinstance(node, ast.Name):
            return self._numbers.get(node.id)
        parts: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "int":
            parts = node.args[:1]
        elif isinstance(node, ast.Call) and self._dotted(node.func) in _READ_ENVIRONMENT:
            parts = node.args[1:2]
        elif isinstance(node, ast.BoolOp):
            parts = node.values[-1:]
        return self._number(parts[0]) if parts else None

    def _dotted(self, node: ast.expr) -> str:
        """The full name of what an expression names, by way of the imports; empty where it is no name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self._names.get(node.id, node.id), *reversed(parts)])


def _allows_get(decorator: ast.Call) -> bool:
    methods = next((keyword.value for keyword in decorator.keywords if keyword.arg == "methods"), None)
    return methods is None or "GET" in set(_texts(methods))


def _texts(node: ast.expr) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value.upper()


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
