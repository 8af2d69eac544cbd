"""The control plane itself, and the demo."""

from typing import Annotated

import typer

from interlock.faces.cli.context import context_of
from interlock.faces.cli.options import AsJson


def serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="Where to listen; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes any free port.")] = None,
) -> None:
    """Run the control plane on this machine, until it is interrupted.

    What was under way goes on at the next start. Services that were deployed keep running while it is away.
    """
    raise typer.Exit(context_of(ctx).serve(host, port))


def demo(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Leave nothing behind; this is the default.")] = False,
    as_json: AsJson = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server and the services up at the end.")] = False,
    containers: Annotated[
        bool, typer.Option("--containers", help="With images and canaries; needs a container engine.")
    ] = False,
) -> None:
    """Tell the whole story on this machine: words, plan, approval, durable run, watched release, rollback."""
    raise typer.Exit(context_of(ctx).demo(once=once, as_json=as_json, keep=keep, containers=containers))
