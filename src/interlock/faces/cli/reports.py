"""Reports: printed or written as Markdown, or as data."""

from pathlib import Path
from typing import Annotated

import typer

from interlock.core.errors import Invalid
from interlock.faces.cli.api import Api
from interlock.faces.cli.output import show_exactly, show_json
from interlock.faces.cli.text import clean

Output = Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write it; the terminal by default.")]


def write_report(api: Api, kind: str, name: str, output: Path | None, *, as_json: bool) -> None:
    """The report of one of a ``kind``, such as ``incidents``. Raises Invalid ``file``."""
    if as_json:
        show_json(api.get(kind, name, "report"))
        return
    content = api.content(kind, name, "report", format="markdown")
    if output is None:
        show_exactly(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise Invalid("file", f"it cannot be written: {error.strerror}", where=str(output)) from error
    typer.echo(f"{clean(str(output))}: the report of {clean(name)}")
