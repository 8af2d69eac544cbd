"""Logs: what a service writes."""

from typing import Annotated

import typer

from interlock.faces.cli.api import api_of
from interlock.faces.cli.follow import follow_log
from interlock.faces.cli.logbook import LogPrinter, print_event, print_json_lines, print_window
from interlock.faces.cli.options import AsJson
from interlock.faces.cli.output import show_json
from interlock.faces.cli.text import Doc
from interlock.faces.cli.watching import INTERRUPTED


def logs(  # noqa: PLR0913, PLR0917 - an option for each way to look
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE")],
    env: Annotated[str, typer.Option(help="The environment.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep following as it is written, across deployments.")
    ] = False,
    tail: Annotated[int | None, typer.Option(min=0, max=10_000, help="Begin with this many of the last lines [100].")] = None,
    since_offset: Annotated[
        str | None, typer.Option(metavar="OFFSET", help="Begin at a byte, negative from the end, or at a cursor.")
    ] = None,
    deployment: Annotated[
        str | None, typer.Option(metavar="ID", help="Show this deployment instead of the one that serves.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print it exactly as written, including control characters.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what a service has written: what serves in the environment, or served last. Secrets are masked.

    With --follow it goes on over every switch until it is interrupted; a control plane that goes away is waited for. With
    --json each event is one line then.
    """
    api = api_of(ctx)
    path = ("services", service, "environments", env, "logs")
    query: Doc = {"tail": tail, "offset": since_offset, "deployment": deployment}
    if not follow:
        window = api.get(*path, **query)
        if as_json:
            show_json(window)
        else:
            print_window(window, LogPrinter(is_raw=raw))
        return
    printer = LogPrinter(is_raw=raw)
    events = follow_log(api, (*path, "stream"), query, printer.connection)
    try:
        if as_json:
            print_json_lines(events)
            return
        for event in events:
            print_event(event, printer)
        printer.end()
    except KeyboardInterrupt:
        printer.end()
        raise typer.Exit(INTERRUPTED) from None
