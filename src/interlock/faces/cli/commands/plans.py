"""From words to an approved plan."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from interlock.core.clock import SystemClock
from interlock.core.errors import Invalid
from interlock.faces.cli.api import Api, api_of
from interlock.faces.cli.deciding import Decision, decide, is_terminal, read_plan
from interlock.faces.cli.failures import ASKED
from interlock.faces.cli.options import AsJson, Limit
from interlock.faces.cli.output import show, show_exactly, show_json
from interlock.faces.cli.repository import repository_of
from interlock.faces.cli.text import Doc
from interlock.faces.cli.views.delivery import status
from interlock.faces.cli.views.plan import approved, listing_of, plan_summary, plan_to_decide, rejected
from interlock.faces.cli.views.question import question
from interlock.faces.cli.watching import watch_to_the_end

PlanId = Annotated[str, typer.Argument(metavar="PLAN", help="The plan's id, or latest for the newest plan.")]
Yes = Annotated[bool, typer.Option("--yes", help="Approve without asking for confirmation.")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow the run until it ends; its outcome is the exit code.")]


def plan(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is wanted, in plain words.")],
    env: Annotated[str | None, typer.Option(help="The environment, if the text names none.")] = None,
    repo: Annotated[str | None, typer.Option(help="The repository of the service, if the text names none.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only show the plan; nothing is stored.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a plan of a request in plain words; nothing is done before it is approved.

    What is not clear is asked instead of guessed: exit code 2.
    """
    repository = repo and repository_of(repo)
    api = api_of(ctx)
    parsed = api.post("commands", "parse", text=text, environment=env, repository=repository, preview=preview)
    given = [*(("--env", env) if env else ()), *(("--repo", repo) if repo else ()), *(("--preview",) if preview else ())]
    _show_parsed(parsed, text, given, is_stored=not preview, as_json=as_json)


def show_plan(
    ctx: typer.Context,
    plan_id: PlanId,
    content: Annotated[bool, typer.Option("--content", help="Print the bytes that are approved, and nothing else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a plan with every step, its exact commands and its rights.

    `--content` prints the canonical bytes whose hash is approved: keep them, read them, and approve them with
    `interlock approve PLAN --file FILE`.
    """
    api = api_of(ctx)
    if content:
        show_exactly(api.content("plans", plan_id, "content"))
    else:
        found, _ = read_plan(api, plan_id)
        show(found, plan_to_decide, as_json=as_json)


def plans(ctx: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List plans, newest first."""
    page = api_of(ctx).get("plans", limit=limit)
    show(page, lambda found: listing_of(found, SystemClock().now()), as_json=as_json)


def approve(  # noqa: PLR0913, PLR0917 - an option for each way to say what is approved
    ctx: typer.Context,
    plan_id: PlanId,
    content_hash: Annotated[str | None, typer.Option("--hash", help="Approve the content with this hash.")] = None,
    file: Annotated[Path | None, typer.Option(help="Approve exactly the content in this file.")] = None,
    yes: Yes = False,
    when_open: Annotated[
        bool, typer.Option("--when-open", help="If the environment is closed, start as soon as it opens.")
    ] = False,
    override: Annotated[str | None, typer.Option(metavar="REASON", help="Start despite windows and freezes.")] = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Approve exactly what was shown; the run follows by itself.

    At a terminal the plan is shown and you are asked. Elsewhere say which content is meant with `--hash` or `--file`, or
    take it unseen with `--yes`.

    Where an environment asks for several approvals the run follows the last of them. One that is outside of its windows, or
    frozen, refuses; `--when-open` has the approved plan wait, and the owner may `--override` it in an emergency.
    """
    if sum((content_hash is not None, file is not None, yes)) > 1:
        raise Invalid("options", "--hash, --file and --yes exclude each other", hint="give one of them")
    api = api_of(ctx)
    said = Decision(content_hash=content_hash, file=file, is_yes=yes, when_open=when_open, override=override)
    decided = decide(api, plan_id, said, as_json=as_json)
    _after_approval(api, decided, watch=watch, as_json=as_json)


def reject(
    ctx: typer.Context,
    plan_id: PlanId,
    reason: Annotated[str, typer.Option(help="Why; it is kept on the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """Turn a plan down."""
    show(api_of(ctx).post("plans", plan_id, "reject", reason=reason), rejected, as_json=as_json)


def rollback(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE")],
    env: Annotated[str, typer.Option(help="The environment.")],
    to: Annotated[str | None, typer.Option(metavar="VERSION", help="The last known good one by default.")] = None,
    yes: Yes = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Plan the way back to a release that was good, and approve it.

    Without a terminal and without `--yes` the plan waits for approval: exit code 2.
    """
    api = api_of(ctx)
    parsed = api.post("services", service, "rollback", environment=env, version=to)
    sentence = f"roll back {service} in {env}" + (f" to {to}" if to else "")
    decide_about(api, parsed, sentence, yes=yes, watch=watch, as_json=as_json)


def decide_about(api: Api, parsed: Doc, sentence: str, *, yes: bool, watch: bool, as_json: bool) -> None:
    """Approve the plan that was just made, or leave it waiting where there is nobody to ask."""
    proposed = parsed.get("plan")
    if proposed is None or (not yes and (as_json or not is_terminal())):
        _show_parsed(parsed, sentence, (), is_stored=True, as_json=as_json)
    if proposed is None or (as_json and not yes):
        raise typer.Exit(ASKED)
    decided = decide(api, proposed["plan_id"], Decision(is_yes=yes), as_json=as_json)
    _after_approval(api, decided, watch=watch, as_json=as_json)


def _show_parsed(parsed: Doc, sentence: str, given: Sequence[str], *, is_stored: bool, as_json: bool) -> None:
    """``given`` are the options beside the sentence."""
    if as_json:
        show_json(parsed)
    elif parsed["kind"] == "plan":
        show(parsed["plan"], lambda found: plan_summary(found, is_stored=is_stored), as_json=False)
    elif parsed["kind"] == "status":
        show({"items": parsed["status"]}, lambda found: status(found, SystemClock().now()), as_json=False)
    else:
        asked = {"text": sentence, "asked": parsed["question"], "given": list(given)}
        show(asked, lambda found: question(found["text"], found["asked"], found["given"]), as_json=False)
    if parsed["kind"] == "question":
        raise typer.Exit(ASKED)


def _after_approval(api: Api, plan: Doc, *, watch: bool, as_json: bool) -> None:
    if not watch or plan["state"] == "pending_approval":
        show(plan, approved, as_json=as_json)
        if watch:
            raise typer.Exit(ASKED)
        return
    raise typer.Exit(watch_to_the_end(api, plan["plan_id"], is_plain=False, as_json=as_json))
