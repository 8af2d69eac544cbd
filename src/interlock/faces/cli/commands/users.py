"""People and their tokens."""

from typing import Annotated

import typer

from interlock.core.clock import SystemClock
from interlock.faces.cli.api import api_of
from interlock.faces.cli.options import AsJson
from interlock.faces.cli.output import show
from interlock.faces.cli.views import rules as views

Name = Annotated[str, typer.Argument(metavar="NAME")]


def add_user(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Add a user, who may ask for plans, approve where the rules allow it, and read everything. The token is printed once."""
    show(api_of(ctx).put("users", name), views.user_added, as_json=as_json)


def list_users(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List everybody who has a token, the owner first."""
    show(api_of(ctx).get("users"), lambda found: views.users(found, SystemClock().now()), as_json=as_json)


def remove_user(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Remove a user: the token is void, and approvals that were given with it count no more."""
    show(api_of(ctx).delete("users", name), views.user_removed, as_json=as_json)
