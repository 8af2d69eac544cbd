"""A Dockerfile and its ``.dockerignore`` for a repository that has none, made of its recipe. Pure: text in, text out.

What depends on nothing but the manifests of the dependencies comes first, so that an engine's cache spares installing them
again. Commands stay argument lists (exec form); a shell stands between only where several commands start the service. No secret
gets in: whatever the recipe names under ``secrets`` is given to the container when it starts.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping

import msgspec

from interlock.core.errors import Invalid
from interlock.sources.model import Command, Recipe

CONTAINER_PORT = 8080
"""Where a service listens inside its container when it can be told."""
USER = "65532:65532"
FOLDER = "/app"

_PYTHON = re.compile(r"^python\b", re.IGNORECASE)
_NODE = re.compile(r"^node\b", re.IGNORECASE)
_NODE_MANIFESTS = ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc")
_SCRIPTS_OF_INSTALL = ("preinstall", "install", "postinstall", "prepare", "preprepare", "postprepare")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]*")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
# A line of a requirements file that leads to something else in the repository.
_LOCAL_REQUIREMENT = re.compile(r"^\s*(-e|--editable|-c|--constraint|\.|/|file:|.*@\s*file:)")
_INCLUDE = re.compile(r"^\s*(?:-r|--requirement)[\s=]+(\S+)")
_LOOPBACK = re.compile(r"^(--?[a-z-]+=)?(127\.0\.0\.1|localhost)(:.*)?$")

IGNORED = (
    ".git",
    ".venv*",
    "**/node_modules",
    "**/__pycache__",
    "**/*.pyc",
    ".tox",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".env",
    ".env.*",
    "!.env.example",
    "Dockerfile",
    ".dockerignore",
)
"""What is made anew in the image, belongs to the machine it lies on, or may hold secrets."""


class BaseImages(msgspec.Struct, frozen=True, kw_only=True):
    """The images that generated Dockerfiles begin with."""

    python: str
    node: str


class Dockerfile(msgspec.Struct, frozen=True, kw_only=True):
    """Both texts, and where the service listens inside (None where it listens nowhere)."""

    text: str
    ignore: str
    container_port: int | None


def generate_dockerfile(recipe: Recipe, images: BaseImages, manifests: Mapping[str, str]) -> Dockerfile:
    """``manifests`` are the texts, by path, of the files that name dependencies; without them nothing is installed early.

    Raises Invalid ``dockerfile_runtime`` for what is neither Python nor Node, and ``dockerfile_start`` without a start command.
    """
    base = _base(recipe, images)
    if recipe.start is None:
        raise Invalid("dockerfile_start", "a container needs a start command", where=recipe.name)
    if not _IMAGE.fullmatch(base):
        raise Invalid("dockerfile_base", f"not the name of an image: {base!r}", where=recipe.name)
    port = (recipe.port or CONTAINER_PORT) if recipe.takes_port else recipe.port
    early = _early(recipe.install, manifests)
    install = [_run(argv) for command in recipe.install for argv in command.argv]
    build = [_run(argv) for command in recipe.build for argv in command.argv]
    lines = [
        f"FROM {base}",
        f"WORKDIR {FOLDER}",
        *_environment(recipe, port),
        *([_copy(early), *install, _copy(["."])] if early else [_copy(["."]), *install]),
        *build,
        *_writable(recipe.writable),
        f"USER {USER}",
        *([f"EXPOSE {port}"] if port else []),
        f"CMD {_exec(_start(recipe.start, port))}",
    ]
    text = "\n".join(lines) + "\n"
    return Dockerfile(text=text, ignore="\n".join(IGNORED) + "\n", container_port=port)


def _base(recipe: Recipe, images: BaseImages) -> str:
    programs = [argv[0] for command in (*recipe.install, recipe.start) if command for argv in command.argv]
    if _NODE.match(recipe.runtime) or (not recipe.runtime and any(name in {"npm", "node"} for name in programs)):
        return images.node
    if _PYTHON.match(recipe.runtime) or (not recipe.runtime and any("python" in name or "pip" in name for name in programs)):
        return images.python
    raise Invalid(
        "dockerfile_runtime",
        f"a Dockerfile can be generated for Python and Node, not for {recipe.runtime or 'this'!r}",
        where=recipe.name,
        hint="say runtime: in ai-module.yaml, or write a Dockerfile and name it there",
    )


def _environment(recipe: Recipe, port: int | None) -> list[str]:
    """``HOST`` is for services that can be told where to listen: inside a container the loopback interface reaches nobody."""
    own = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "HOST": "0.0.0.0"}  # noqa: S104
    values = own | recipe.env | ({"PORT": str(port)} if port else {})
    # A value of several lines cannot be written here; the container gets it when it starts, like all the others.
    plain = {name: value for name, value in values.items() if _PLAIN_NAME.fullmatch(name) and value.isprintable()}
    return [f"ENV {name}={_quoted(value)}" for name, value in plain.items() if name not in recipe.secrets]


def _early(install: Iterable[Command], manifests: Mapping[str, str]) -> list[str]:
    """The files that installing needs, where they are all that it needs; else none."""
    found: list[str] = []
    for argv in (argv for command in install for argv in command.argv):
        needed = _needed(argv, manifests)
        if needed is None:
            return []
        found += needed
    return list(dict.fromkeys(found))


def _needed(argv: tuple[str, ...], manifests: Mapping[str, str]) -> list[str] | None:
    """What one command reads of the repository; None where that cannot be told."""
    match argv:
        case ("python3" | "python", "-m", "venv", *_):
            return []
        case (_, "-m", "pip", "install", *rest) | ("pip" | "pip3", "install", *rest):
            return _required(rest, manifests)
        case ("npm", "ci" | "install" | "i", *rest) if all(word.startswith("-") for word in rest):
            return _node_manifests(manifests)
        case _:
            return None


def _required(words: list[str], manifests: Mapping[str, str]) -> list[str] | None:
    """The requirements files that pip is given, with those that they include; packages by name need none."""
    found: list[str] = []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        if word in {"-r", "--requirement"} and remaining:
            included = _with_includes(remaining.pop(0), manifests)
            if included is None:
                return None
            found += included
        elif word in {"-e", "--editable", "-c", "--constraint"} or word.startswith((".", "/")) or "/" in word:
            return None
    return found


def _with_includes(path: str, manifests: Mapping[str, str], depth: int = 0) -> list[str] | None:
    text = manifests.get(path)
    if text is None or depth > 5 or not _PLAIN_PATH.fullmatch(path):
        return None
    found = [path]
    for line in text.splitlines():
        if include := _INCLUDE.match(line):
            folder = path.rpartition("/")[0]
            inner = _with_includes(f"{folder}/{include[1]}".lstrip("/"), manifests, depth + 1)
            if inner is None:
                return None
            found += inner
        elif _LOCAL_REQUIREMENT.match(line):
            return None
    return found


def _node_manifests(manifests: Mapping[str, str]) -> list[str] | None:
    try:
        package = json.loads(manifests.get("package.json", ""))
        scripts: Mapping[str, str] = package.get("scripts") or {}
        is_whole = bool(set(scripts) & set(_SCRIPTS_OF_INSTALL)) or "workspaces" in package or '"file:' in json.dumps(package)
    except (ValueError, AttributeError, TypeError):
        return None
    return None if is_whole else [name for name in _NODE_MANIFESTS if name in manifests]


def _copy(paths: list[str]) -> str:
    """Into the folder, where each keeps its place; one line for each folder that they come from would not be kept together."""
    if all("/" not in path for path in paths):
        return f"COPY {_exec((*paths, './'))}"
    return "\n".join(f"COPY {_exec((path, './' + path))}" for path in paths)


def _run(argv: tuple[str, ...]) -> str:
    return f"RUN {_exec(argv)}"


def _writable(folders: tuple[str, ...]) -> list[str]:
    """Made here with their owner, for engines that give a new volume the owner that the folder has in the image."""
    if not folders:
        return []
    return [_run(("mkdir", "-p", *folders)), _run(("chown", USER, *folders))]


def _start(start: Command, port: int | None) -> tuple[str, ...]:
    commands = start.on_port(port) if port else start.argv
    reachable = tuple(tuple(_LOOPBACK.sub(_everywhere, word) for word in argv) for argv in commands)
    if len(reachable) == 1:
        return reachable[0]
    # Each word is quoted: the shell only runs one after the other, and makes way for the last.
    steps = [*(shlex.join(argv) for argv in reachable[:-1]), "exec " + shlex.join(reachable[-1])]
    return ("/bin/sh", "-ec", "\n".join(steps))


def _everywhere(found: re.Match[str]) -> str:
    """An address to listen on, as it has to be inside; outside, the engine publishes it on the loopback interface."""
    return f"{found[1] or ''}0.0.0.0{found[3] or ''}"  # noqa: S104


def _exec(words: Iterable[str]) -> str:
    return json.dumps(list(words), ensure_ascii=False)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
