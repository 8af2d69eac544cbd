"""The record: verified here or by the control plane, exported for others."""

import contextlib
import re
from pathlib import Path
from typing import Annotated, cast

import msgspec
import typer

from interlock.audit.offline import verify_lines
from interlock.core.errors import Invalid
from interlock.faces.cli.api import api_of
from interlock.faces.cli.failures import REFUSED
from interlock.faces.cli.options import AsJson
from interlock.faces.cli.output import say, show, show_json
from interlock.faces.cli.text import Doc, clean
from interlock.faces.cli.views.record import verdict

_KEY = re.compile(r"[0-9a-fA-F]{64}")


def verify(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Option(help="An exported record, verified here without a server.")] = None,
    key: Annotated[str | None, typer.Option(metavar="HEX", help="With --file: the public key to trust.")] = None,
    head: Annotated[str | None, typer.Option(metavar="HASH", help="A seal that the record must contain.")] = None,
    as_json: AsJson = False,
) -> None:
    """Verify the record: every row sealed, every seal signed and following the one before. Exit code 1 where it is broken.

    Without `--key` an exported file is checked with the key that it brings along: whole, but not who signed it.
    """
    if key is not None and (file is None or not _KEY.fullmatch(key)):
        raise Invalid("key", "--key takes 64 hex digits and goes with --file", where="--key")
    if file is None:
        found = api_of(ctx).get("audit", "verify", head=head)
    else:
        found = _verify_file(file, key or "", head or "")
        if key is None and not as_json:
            say("checked with the key in the file itself; give --key to check who signed")
    show(found, verdict, as_json=as_json)
    if not found["ok"]:
        raise typer.Exit(REFUSED)


def export(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it, as JSON lines.")],
    as_json: AsJson = False,
) -> None:
    """Write the whole record to a file. A file of that name is replaced once the export is complete."""
    aside = file.with_name(file.name + ".part")
    try:
        with api_of(ctx).download("audit", "export") as pieces, aside.open("wb") as stream:
            for piece in pieces:
                stream.write(piece)
        size_bytes = aside.stat().st_size
        aside.replace(file)
    except OSError as error:
        raise Invalid("file", f"it cannot be written: {error.strerror}", where=str(file)) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    if as_json:
        show_json({"file": str(file), "size_bytes": size_bytes})
    else:
        typer.echo(f"{clean(str(file))}: {size_bytes} bytes; check it: interlock audit verify --file {clean(str(file))}")


def _verify_file(file: Path, key: str, head: str) -> Doc:
    try:
        with file.open(encoding="utf-8", errors="replace", newline="\n") as lines:
            return cast("Doc", msgspec.to_builtins(verify_lines(lines, key, head)))
    except OSError as error:
        raise Invalid("file", f"the record cannot be read: {error.strerror}", where=str(file)) from error
