"""What waits for a person."""

from typing import Annotated

import typer

from interlock.core.clock import SystemClock
from interlock.faces.cli.api import api_of
from interlock.faces.cli.options import AsJson
from interlock.faces.cli.output import show
from interlock.faces.cli.views.inbox import answered
from interlock.faces.cli.views.inbox import inbox as inbox_view


def inbox(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List what waits for a person, with the commands that settle it."""
    if ctx.invoked_subcommand is None:
        page = api_of(ctx).get("inbox")
        show(page, lambda found: inbox_view(found, SystemClock().now()), as_json=as_json)


def answer(
    ctx: typer.Context,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The item's id.")],
    given: Annotated[str, typer.Argument(metavar="ANSWER", help="One of the answers that it takes.")],
    as_json: AsJson = False,
) -> None:
    """Answer an item."""
    show(api_of(ctx).post("inbox", item, "answer", answer=given), answered, as_json=as_json)
