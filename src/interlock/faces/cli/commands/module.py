"""``ai-module.yaml``, in process: no server and no data folder."""

import asyncio
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from interlock.core.errors import Conflict, Invalid
from interlock.faces.cli.failures import REFUSED
from interlock.faces.cli.options import AsJson
from interlock.faces.cli.output import show_json
from interlock.faces.cli.text import clean
from interlock.sources.detect.files import MAX_FILE_BYTES
from interlock.sources.model import MODULE_FILES
from interlock.sources.module_file import check_module
from interlock.sources.module_schema import module_schema
from interlock.sources.template import module_template

MAX_FILES = 20_000
"""Paths that are looked at; a repository of more is known well enough by then."""
NOT_ENTERED = frozenset({".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__"})


def schema() -> None:
    """Print the JSON Schema of ai-module.yaml, for editors and other tools."""
    show_json(module_schema())


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file, or the folder in which it lies.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Check an ai-module.yaml: every problem at once as FILE:LINE:COLUMN. Exit code 1 where there is one."""
    found = _module_file(file) if file.is_dir() else file
    try:
        problems = check_module(found.read_bytes(), str(found))
    except FileNotFoundError as error:
        hint = f"write one: interlock module init {shlex.quote(str(found.parent))}"
        raise Invalid("file", "there is no module file", where=str(found), hint=hint) from error
    except OSError as error:
        hint = "give the module file, or the folder in which it lies"
        raise Invalid("file", f"the file cannot be read: {error.strerror}", where=str(found), hint=hint) from error
    if as_json:
        show_json({"ok": not problems, "file": str(found), "problems": msgspec.to_builtins(problems)})
    else:
        for problem in problems:
            typer.echo(clean(str(problem)))
        if not problems:
            typer.echo(f"{clean(str(found))}: no problem")
    if problems:
        raise typer.Exit(REFUSED)


def init(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of the repository; this one by default.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Write an ai-module.yaml, filled in with what is found in the repository. A file that is there is never replaced."""
    existing = next((path / name for name in MODULE_FILES if (path / name).exists()), None)
    if existing is not None:
        raise Conflict(
            "file_exists", "there is a module file already", where=str(existing), hint="edit that one, or move it away"
        )
    file = path / MODULE_FILES[0]
    content = asyncio.run(_template(path))
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(content)
    except OSError as error:
        raise Invalid("file", f"it cannot be written: {error.strerror}", where=str(file)) from error
    if as_json:
        show_json({"file": str(file), "content": content})
    else:
        typer.echo(f"{clean(str(file))} is written; read it, complete it, then: interlock module check {clean(str(file))}")


def _module_file(folder: Path) -> Path:
    return next((folder / name for name in MODULE_FILES if (folder / name).exists()), folder / MODULE_FILES[0])


async def _template(folder: Path) -> str:
    async def read(path: str) -> bytes | None:
        file = folder / path
        is_readable = file.is_file() and file.stat().st_size <= MAX_FILE_BYTES
        return file.read_bytes() if is_readable else None

    return await module_template(sorted(_paths(folder)), read, _service_name(folder.resolve().name))


def _paths(folder: Path) -> Iterator[str]:
    """Files below ``folder`` as git would name them, links left out."""
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in NOT_ENTERED)
        for name in sorted(names):
            file = Path(parent, name)
            if not file.is_symlink() and file.is_file():
                yield file.relative_to(folder).as_posix()
                count += 1
            if count >= MAX_FILES:
                return


def _service_name(text: str) -> str:
    """The nearest name that a service may have."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).lstrip("-0123456789")[:40].strip("-")
    return name or "my-service"
