"""From one environment to the next, and the proof of the way back."""

from typing import Annotated

import typer

from interlock.faces.cli.api import api_of
from interlock.faces.cli.commands.plans import Watch, Yes, decide_about
from interlock.faces.cli.options import AsJson

Service = Annotated[str, typer.Argument(metavar="SERVICE")]


def promote(
    ctx: typer.Context,
    service: Service,
    to: Annotated[str, typer.Option(metavar="ENV", help="Where it goes.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="ENV", help="Where it serves and is good; by default the environment before."),
    ] = None,
    yes: Yes = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Plan to bring the very release that serves and is good in one environment into another, and approve it.

    Nothing is built. Without a terminal and without `--yes` the plan waits for approval: exit code 2.
    """
    api = api_of(ctx)
    parsed = api.post("services", service, "promote", environment=to, source=source)
    sentence = f"promote {service}" + (f" from {source}" if source else "") + f" to {to}"
    decide_about(api, parsed, sentence, yes=yes, watch=watch, as_json=as_json)


def drill(
    ctx: typer.Context,
    service: Service,
    env: Annotated[str, typer.Option(help="The environment.")],
    to: Annotated[str | None, typer.Option(metavar="VERSION", help="The last known good one by default.")] = None,
    yes: Yes = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Plan the proof that a rollback would work, and approve it: what it would bring back is started beside what
    serves, checked, and stopped. No traffic is moved.

    With `--watch` the exit code is the answer: 0 it would work, 1 it would not. A release that is damaged is refused at
    once, with exit code 1 and an alarm in the inbox. Without a terminal and without `--yes` the plan waits for approval:
    exit code 2.
    """
    api = api_of(ctx)
    parsed = api.post("services", service, "drill", environment=env, version=to)
    sentence = f"drill {service} in {env}" + (f" to {to}" if to else "")
    decide_about(api, parsed, sentence, yes=yes, watch=watch, as_json=as_json)
