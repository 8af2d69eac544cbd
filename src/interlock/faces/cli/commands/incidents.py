"""Incidents: what went wrong, who takes care of it, and the report."""

from typing import Annotated

import typer

from interlock.core.clock import SystemClock
from interlock.faces.cli.api import api_of
from interlock.faces.cli.options import AsJson, Limit
from interlock.faces.cli.output import show, show_json
from interlock.faces.cli.reports import Output, write_report
from interlock.faces.cli.views import incidents as views

Incident = Annotated[str, typer.Argument(metavar="INCIDENT", help="The incident's id.")]


def incidents(
    ctx: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only these: open, acknowledged or resolved.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List incidents, newest first. With an id in place of a command, show that one."""
    if ctx.invoked_subcommand is None:
        page = api_of(ctx).get("incidents", state=state, limit=limit)
        show(page, lambda found: views.incidents(found, SystemClock().now()), as_json=as_json)


def show_incident(ctx: typer.Context, incident: Incident, as_json: AsJson = False) -> None:
    """Show an incident: its timeline, the numbers that opened it, and a draft of the cause."""
    report = api_of(ctx).get("incidents", incident, "report")
    if as_json:
        show_json(report["incident"])
    else:
        show(report, views.report, as_json=False)


def acknowledge(
    ctx: typer.Context,
    incident: Incident,
    note: Annotated[str | None, typer.Option(help="What you are about to do.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say that you take care of it. Its alarm is settled; for the watch it stays open."""
    show(api_of(ctx).post("incidents", incident, "acknowledge", note=note), views.acknowledged, as_json=as_json)


def resolve(
    ctx: typer.Context,
    incident: Incident,
    reason: Annotated[str, typer.Option(help="Why it is over.")],
    as_json: AsJson = False,
) -> None:
    """Close an incident by hand. What goes on being wrong opens another one."""
    show(api_of(ctx).post("incidents", incident, "resolve", reason=reason), views.resolved, as_json=as_json)


def note(
    ctx: typer.Context,
    incident: Incident,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What was found out.")],
    as_json: AsJson = False,
) -> None:
    """Add what was found out to the timeline, also afterwards."""
    show(api_of(ctx).post("incidents", incident, "notes", text=text), views.noted, as_json=as_json)


def export(
    ctx: typer.Context,
    incident: Incident,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write the report as Markdown: impact, cause, evidence, what changed, log, timeline. With `--json` as data."""
    write_report(api_of(ctx), "incidents", incident, output, as_json=as_json)
