"""Watching a run at the terminal, as lines, or in silence until it has ended."""

import sys
import time

import typer
from rich.live import Live

from interlock.core.clock import SystemClock
from interlock.core.errors import Conflict, InterlockError, NotFound
from interlock.faces.cli.api import Api
from interlock.faces.cli.follow import ENDED, follow
from interlock.faces.cli.output import console, say, show_json
from interlock.faces.cli.text import Doc, clean, clean_data
from interlock.faces.cli.views.events import event_line
from interlock.faces.cli.views.run import Progress, RunView

LATEST = "latest"
"""Stands for the newest run wherever a run's id is taken."""
APPEARS_WITHIN_S = 30.0
SETTLES_WITHIN_S = 10.0
LOOK_EVERY_S = 0.1
REFRESHES_PER_S = 5
INTERRUPTED = 130


def watch_to_the_end(api: Api, run_or_plan: str, *, is_plain: bool, as_json: bool) -> int:
    """Follow the run that `run_named` finds to its end; returns the exit code: 0 when it completed, else 1.

    With ``as_json`` nothing is printed but the run as it ended. An interruption leaves the run alone.
    """
    run_id = run_named(api, run_or_plan)
    try:
        status = _watch(api, run_id, is_plain=is_plain, is_silent=as_json)
    except KeyboardInterrupt:
        say(f"The run goes on. Come back to it: interlock watch {clean(run_id)}")
        return INTERRUPTED
    if as_json:
        show_json(api.get("runs", run_id))
    elif status != "completed":
        _say_what_is_now(api, run_id)
    return 0 if status == "completed" else 1


def _say_what_is_now(api: Api, run_id: str) -> None:
    """What the plan says of a run that did not complete, as soon as it knows of that."""
    deadline = time.monotonic() + SETTLES_WITHIN_S
    plan_id = api.get("runs", run_id)["plan_id"]
    while (plan := api.get("plans", plan_id))["state"] in {"approved", "running"} and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    if plan["reason"]:
        say(f"{clean(plan_id)} {plan['state'].replace('_', ' ')}: {clean(plan['reason'])}")


def run_named(api: Api, name: str) -> str:
    """The id of a run: ``name`` itself, the run of a plan, or for `LATEST` that of the plan approved last, else the newest."""
    if name.startswith("plan_"):
        return run_of(api, name)
    if name != LATEST:
        return name
    # What was approved a moment ago is meant, though its run is only about to begin.
    if approved := api.get("plans", state="approved", limit=1)["items"]:
        return run_of(api, approved[0]["plan_id"])
    runs = api.get("runs", limit=1)["items"]
    if not runs:
        raise NotFound("run", "there is no run yet", hint="a run begins with an approval: interlock approve latest")
    return str(runs[0]["run_id"])


def run_of(api: Api, plan_id: str) -> str:
    """The run of a plan that is under way, or else its newest one; waits for the run of a plan that was just approved."""
    deadline = time.monotonic() + APPEARS_WITHIN_S
    told = ""
    while True:
        runs: list[Doc] = api.get("runs", plan=plan_id)["items"]
        if runs:
            active = [run for run in runs if run["status"] not in ENDED]
            return str((active or runs)[0]["run_id"])
        plan = api.get("plans", plan_id)
        if plan["state"] not in {"approved", "running"}:
            raise _no_run(plan)
        if plan.get("waits"):
            # It starts by itself, whenever that is.
            deadline = time.monotonic() + APPEARS_WITHIN_S
            if plan["reason"] != told:
                say(clean(plan["reason"]))
                told = plan["reason"]
        if time.monotonic() > deadline:
            raise NotFound("run", f"{plan_id} has no run after {APPEARS_WITHIN_S:g} s", hint="see: interlock runs")
        time.sleep(LOOK_EVERY_S)


def _no_run(plan: Doc) -> InterlockError:
    reason = f": {plan['reason']}" if plan["reason"] else ""
    hint = f"interlock approve {plan['plan_id']}" if plan["state"] == "pending_approval" else "make a new plan"
    return Conflict("no_run", f"{plan['plan_id']} is {plan['state'].replace('_', ' ')}, it has no run{reason}", hint=hint)


def _watch(api: Api, run_id: str, *, is_plain: bool, is_silent: bool) -> str:
    if is_silent:
        return _silently(api, run_id)
    return _as_lines(api, run_id) if is_plain or not sys.stdout.isatty() else _live(api, run_id)


def _silently(api: Api, run_id: str) -> str:
    status = ""
    for event in follow(api, run_id, lambda _: None):
        status = event.get("status", status) if event["type"] == "RunFinished" else status
    return status


def _as_lines(api: Api, run_id: str) -> str:
    progress = Progress()
    is_lost = False

    def notice(text: str) -> None:
        nonlocal is_lost
        if bool(text) is not is_lost:
            say(text or "the connection is back")
        is_lost = bool(text)

    for event in follow(api, run_id, notice):
        harmless = clean_data(event)
        progress.apply(harmless)
        typer.echo(event_line(harmless))
    return progress.status


def _live(api: Api, run_id: str) -> str:
    progress, clock = Progress(), SystemClock()
    lost = ""

    def view() -> RunView:
        return RunView(progress, clock.now(), lost, is_last=progress.ended is not None)

    def notice(text: str) -> None:
        nonlocal lost
        lost = text

    with Live(console=console(), get_renderable=view, refresh_per_second=REFRESHES_PER_S, vertical_overflow="visible"):
        for event in follow(api, run_id, notice):
            progress.apply(clean_data(event))
    return progress.status
