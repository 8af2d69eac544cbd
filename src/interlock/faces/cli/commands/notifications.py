"""Channels to the outside, and what was sent through them."""

from typing import Annotated

import typer

from interlock.core.clock import SystemClock
from interlock.core.errors import Invalid
from interlock.faces.cli.api import api_of
from interlock.faces.cli.failures import REFUSED
from interlock.faces.cli.options import AsJson, Limit
from interlock.faces.cli.output import show
from interlock.faces.cli.views import notifications as views

Name = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's name.")]


def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and hyphens.")],
    events: Annotated[str, typer.Option(metavar="PATTERNS", help="Event types, separated by commas; * matches any letters.")],
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="The URL that events are posted to.")] = None,
    email: Annotated[str | None, typer.Option(metavar="ADDRESS", help="The address to send mail to.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send events to a webhook or an e-mail address, from now on. The signing secret of a webhook is shown this once."""
    if (webhook is None) == (email is None):
        raise Invalid("target", "a channel has either a webhook or an e-mail address", hint="--webhook URL or --email ADDRESS")
    kind, target = ("webhook", webhook) if webhook is not None else ("email", email)
    patterns = [pattern.strip() for pattern in events.split(",") if pattern.strip()]
    added = api_of(ctx).post("notifications", "channels", name=name, kind=kind, target=target, events=patterns)
    show(added, views.added, as_json=as_json)


def channels(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the channels: where they lead, and which events they take."""
    show(api_of(ctx).get("notifications", "channels"), views.channels, as_json=as_json)


def send_test(ctx: typer.Context, channel: Name, as_json: AsJson = False) -> None:
    """Send a test event and show what came of it. Exit code 1 where it was not delivered."""
    item = api_of(ctx).post("notifications", "channels", channel, "test")
    show(item, views.tested, as_json=as_json)
    if item["state"] != "delivered":
        raise typer.Exit(REFUSED)


def rotate(
    ctx: typer.Context,
    channel: Name,
    overlap_hours: Annotated[float, typer.Option(min=0, help="How long the former secret signs too.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Make a new signing secret, which is shown this once; the former one stays valid for a while."""
    rotated = api_of(ctx).post("notifications", "channels", channel, "rotate", overlap_hours=overlap_hours)
    show(rotated, views.rotated, as_json=as_json)


def enable(ctx: typer.Context, channel: Name, as_json: AsJson = False) -> None:
    """Deliver to a disabled channel again, what happens from now on."""
    show(api_of(ctx).post("notifications", "channels", channel, "enable"), views.enabled, as_json=as_json)


def remove(ctx: typer.Context, channel: Name, as_json: AsJson = False) -> None:
    """Take a channel away. What was still on its way through it is cancelled."""
    show(api_of(ctx).delete("notifications", "channels", channel), views.removed, as_json=as_json)


def deliveries(
    ctx: typer.Context,
    channel: Annotated[str | None, typer.Option(help="Only this channel.")] = None,
    state: Annotated[str | None, typer.Option(help="Only these: pending, delivered, dead or cancelled.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what was sent, newest first, and what became of it."""
    page = api_of(ctx).get("notifications", "deliveries", channel=channel, state=state, limit=limit)
    show(page, lambda found: views.deliveries(found, SystemClock().now()), as_json=as_json)


def redrive(
    ctx: typer.Context,
    delivery: Annotated[str | None, typer.Argument(metavar="DELIVERY", help="The id of a dead delivery.")] = None,
    channel: Annotated[str | None, typer.Option(help="Everything that was given up for this channel.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send again what was given up, with all its attempts."""
    if (delivery is None) == (channel is None):
        raise Invalid("delivery", "name one delivery, or a channel for all of its", hint="interlock notify redrive DELIVERY")
    if delivery is not None:
        page = {"items": [api_of(ctx).post("notifications", "deliveries", delivery, "redrive")], "next": None}
    else:
        page = api_of(ctx).post("notifications", "channels", str(channel), "redrive")
    show(page, views.redriven, as_json=as_json)
