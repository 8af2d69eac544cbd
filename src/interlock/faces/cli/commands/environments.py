"""The rules of environments."""

from typing import Annotated, Any

import typer

from interlock.faces.cli.api import api_of
from interlock.faces.cli.options import AsJson
from interlock.faces.cli.output import show
from interlock.faces.cli.views import rules as views

Name = Annotated[str, typer.Argument(metavar="ENVIRONMENT")]


def list_environments(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the environments in promotion order: whether changes may begin, the rules, and what serves."""
    show(api_of(ctx).get("environments"), views.environments, as_json=as_json)


def set_rules(  # noqa: PLR0913, PLR0917 - an option for each rule
    ctx: typer.Context,
    name: Name,
    approvals: Annotated[int | None, typer.Option(help="How many different people have to approve.")] = None,
    approvers: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Whose approvals count, separated by commas; 'anybody' for everyone.")
    ] = None,
    not_requester: Annotated[
        bool | None,
        typer.Option("--not-requester/--requester", help="Do not count the approval of whoever asked for the plan."),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(metavar="WINDOW", help="When changes may begin; may be given several times; always for no windows."),
    ] = None,
    busy: Annotated[str | None, typer.Option(help="A second plan for a service: refuse or wait.")] = None,
    drift: Annotated[str | None, typer.Option(help="What to do about changes from outside: heal or ask.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set rules of an environment; those that are not given stay as they are.

    A window is days, times and a zone: 'Mon-Fri 09:00-16:00 Europe/Berlin', 'Sat,Sun 22:00-04:00 UTC'.
    """
    said: dict[str, Any] = {"approvals": approvals, "not_requester": not_requester, "busy": busy, "drift": drift}
    if approvers is not None:
        said["approvers"] = [] if approvers == "anybody" else [item.strip() for item in approvers.split(",") if item.strip()]
    if window:
        said["windows"] = [] if window == ["always"] else window
    show(api_of(ctx).patch("environments", name, **said), views.changed, as_json=as_json)


def freeze(
    ctx: typer.Context,
    name: Name,
    until: Annotated[str, typer.Option(metavar="TIME", help="RFC 3339, such as 2026-12-27T00:00:00Z.")] = "",
    reason: Annotated[str, typer.Option(help="Why; it is kept on the record and told to whoever is refused.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let nothing new begin in an environment until a moment, or until it is thawed. What runs goes on, and ways back stay
    open."""
    show(api_of(ctx).post("environments", name, "freeze", until=until, reason=reason), views.changed, as_json=as_json)


def thaw(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """End a freeze."""
    show(api_of(ctx).post("environments", name, "thaw"), views.changed, as_json=as_json)
