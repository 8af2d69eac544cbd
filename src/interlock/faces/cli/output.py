"""What commands print: one JSON document, or a view for people."""

import json
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any, TextIO, cast

import typer
from rich.console import Console, RenderableType

from interlock.faces.cli.text import Doc, clean, clean_data

PIPE_WIDTH = 120
"""Columns where nobody told how wide it is, as in a pipe."""


def console(stream: TextIO | None = None) -> Console:
    """A console without any markup: what is printed is what was said. ``stream`` is stdout by default."""
    target = patient(stream if stream is not None else sys.stdout)
    width = None if target.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=target, markup=False, emoji=False, highlight=False, width=width)


def patient(stream: Any) -> TextIO:
    """The stream, which from now on shows the escape of a character that it cannot encode instead of failing."""
    if isinstance(stream, TextIOWrapper):
        cast("Any", stream).reconfigure(errors="backslashreplace")
    return cast("TextIO", stream)


def show(document: Any, view: Callable[[Doc], RenderableType], *, as_json: bool) -> None:
    """Print an answer of the API: as it is, or for people through ``view``, which gets it with harmless texts."""
    if as_json:
        show_json(document)
    else:
        show_view(view(clean_data(document)))


def show_view(view: RenderableType) -> None:
    """Print a view. Where it does not go to a terminal, nothing stands behind the last character of a line."""
    printer = console()
    if printer.is_terminal:
        printer.print(view, crop=False)
        return
    with printer.capture() as captured:
        printer.print(view, crop=False)
    typer.echo("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


def show_json(document: Any) -> None:
    """Print one JSON document. ASCII only, so that nothing in it can act on a terminal."""
    typer.echo(json.dumps(document, indent=2))


def show_exactly(content: bytes) -> None:
    """Write bytes as they are, so that their hash stays; on a terminal what could act on it is made visible instead."""
    text = content.decode(errors="replace")
    if sys.stdout.isatty() and clean(text) != text:
        typer.echo(clean(text))
        say("control characters are shown as signs; the exact bytes come when the output goes to a file")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def say(line: str) -> None:
    """A line beside the output, on stderr."""
    typer.echo(line, err=True)
