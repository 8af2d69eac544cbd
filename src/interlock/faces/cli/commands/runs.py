"""Runs: list, follow, pause, cancel."""

from typing import Annotated

import typer

from interlock.core.clock import SystemClock
from interlock.faces.cli.api import api_of
from interlock.faces.cli.options import AsJson, Limit
from interlock.faces.cli.output import show
from interlock.faces.cli.reports import Output, write_report
from interlock.faces.cli.views.run import run_cancelled, run_paused, run_resumed
from interlock.faces.cli.views.run import runs as runs_view
from interlock.faces.cli.views.waiting import run_waits, task_waits
from interlock.faces.cli.watching import run_named, watch_to_the_end

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run or of its plan, or latest for the newest run.")]
Reason = Annotated[str | None, typer.Option(help="Why; it is kept on the record.")]


def runs(ctx: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List runs, newest first."""
    page = api_of(ctx).get("runs", limit=limit)
    show(page, lambda found: runs_view(found, SystemClock().now()), as_json=as_json)


def watch(
    ctx: typer.Context,
    run_id: RunId,
    plain: Annotated[bool, typer.Option("--plain", help="Print one line per event, even on a terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Follow a run until it ends: exit code 0 when it completed, else 1.

    A control plane that goes away is waited for; nothing is lost or shown twice when it is back. Interrupting this leaves
    the run alone.
    """
    raise typer.Exit(watch_to_the_end(api_of(ctx), run_id, is_plain=plain, as_json=as_json))


def report(ctx: typer.Context, run_id: RunId, output: Output = None, as_json: AsJson = False) -> None:
    """Write the report of a run as Markdown: what was asked, done, changed, failed, left, and what it took."""
    api = api_of(ctx)
    write_report(api, "runs", run_named(api, run_id), output, as_json=as_json)


def why(
    ctx: typer.Context,
    run_id: RunId,
    task: Annotated[str | None, typer.Argument(metavar="STEP", help="A step of the run; all of it by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run waits for, or why one step of it does not run: followed to the cause."""
    api = api_of(ctx)
    path = ("runs", run_named(api, run_id), *(("tasks", task) if task else ()), "why")
    show(api.get(*path), task_waits if task else run_waits, as_json=as_json)


def pause(ctx: typer.Context, run_id: RunId, reason: Reason = None, as_json: AsJson = False) -> None:
    """Let no further step of a run start; what is under way goes on to its end.

    Questions can be answered and the run can be cancelled meanwhile; its time does not count.
    """
    api = api_of(ctx)
    show(api.post("runs", run_named(api, run_id), "pause", reason=reason), run_paused, as_json=as_json)


def resume(ctx: typer.Context, run_id: RunId, reason: Reason = None, as_json: AsJson = False) -> None:
    """End the pause of a run: it goes on as soon as there is a slot for it."""
    api = api_of(ctx)
    show(api.post("runs", run_named(api, run_id), "resume", reason=reason), run_resumed, as_json=as_json)


def cancel(
    ctx: typer.Context,
    run_id: RunId,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """End a run; what it changed is brought back as its plan says."""
    api = api_of(ctx)
    show(api.post("runs", run_named(api, run_id), "cancel", reason=reason), run_cancelled, as_json=as_json)
