"""How commands fail: the errors of the client, their exit codes, and how they are shown.

0 done, 1 refused or failed, 2 wrong usage or a question to answer, 3 no control plane answers.
"""

import json
from typing import Any, cast

import typer

from interlock.core.errors import InterlockError, Invalid, Unavailable
from interlock.faces.cli.text import Doc, clean

REFUSED = 1
ASKED = 2
UNREACHABLE = 3


class Refused(InterlockError):  # noqa: N818 - as in the error tree
    """The control plane answered with a problem document (RFC 9457), kept in ``document``."""

    def __init__(self, document: Doc) -> None:
        code, title = str(document.get("code", "refused")), str(document.get("title", "refused"))
        super().__init__(code, title, where=str(document.get("where", "")), hint=str(document.get("hint", "")))
        self.details = cast("dict[str, Any]", document.get("details") or {})
        self.document = document
        self.status = int(document.get("status", 500))


class Unreachable(Unavailable):
    """No control plane answers."""


class Undecided(Invalid):
    """Somebody has to decide first, and there is no terminal on which to ask."""


def exit_code(error: InterlockError) -> int:
    """The exit code that stands for ``error``."""
    if isinstance(error, Unreachable):
        return UNREACHABLE
    return ASKED if isinstance(error, Undecided) else REFUSED


def report(error: InterlockError, *, as_json: bool) -> None:
    """Show ``error``: as a problem document on stdout, or in words on stderr."""
    if as_json:
        typer.echo(json.dumps(_document(error), indent=2))
        return
    typer.secho("error: ", nl=False, err=True, fg="red", bold=True)
    typer.echo(clean(error.message), err=True)
    for label, text in (("where", error.where), ("hint", error.hint)):
        if text:
            typer.echo(f"  {label + ':':<6} {clean(text)}", err=True)
    for problem in _problems(error):
        typer.echo(f"  {clean(problem)}", err=True)


def _document(error: InterlockError) -> Doc:
    if isinstance(error, Refused):
        return error.document
    members = {"where": error.where, "hint": error.hint, "details": error.details}
    body: Doc = {"type": f"urn:interlock:{error.code}", "title": error.message, "code": error.code}
    return body | {name: value for name, value in members.items() if value}


def _problems(error: InterlockError) -> list[str]:
    """The single problems of a module file, where the error is about several."""
    items = cast("list[Any]", error.details.get("problems") or [])
    documents = [cast("Doc", item) for item in items if isinstance(item, dict)]
    if len(documents) < 2:
        return []
    return [
        f"{item.get('file')}:{item.get('line')}:{item.get('column')}: {item.get('message')}"
        + (f" ({item['hint']})" if item.get("hint") else "")
        for item in documents
    ]
