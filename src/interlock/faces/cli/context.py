"""What the command line is given from outside: where the data folder is, and how to serve."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import typer


class Demo(Protocol):
    """Tells the story of Interlock; returns the exit code."""

    def __call__(self, *, once: bool, as_json: bool, keep: bool, containers: bool) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CliContext:
    """``home`` is the data folder, which holds ``owner.token`` and, while a server runs, ``server.json``.

    ``url`` and ``token`` override what is found there. ``serve`` takes host and port (None for the settings) and returns the
    exit code.
    """

    home: Path
    url: str | None
    token: str | None
    serve: Callable[[str | None, int | None], int]
    demo: Demo


def context_of(ctx: typer.Context) -> CliContext:
    """The context that `build_app` was given."""
    return cast("CliContext", ctx.obj)
