"""Deciding about a plan: what is approved is what was shown, byte for byte."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import typer

from interlock.core.canonical import digest_bytes
from interlock.core.errors import Conflict, Invalid
from interlock.faces.cli.api import Api
from interlock.faces.cli.failures import REFUSED, Undecided
from interlock.faces.cli.output import show
from interlock.faces.cli.text import Doc
from interlock.faces.cli.views.plan import whole_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided beforehand: the hash of a content, a file with the content, or whatever it is (``is_yes``); and when it
    may start, where the environment is closed: when it opens, or all the same for the reason in ``override``."""

    content_hash: str | None = None
    file: Path | None = None
    is_yes: bool = False
    when_open: bool = False
    override: str | None = None


def read_plan(api: Api, plan_id: str) -> tuple[Doc, str]:
    """A plan with its content, and the hash of exactly that content, computed here from the bytes that are shown.

    Raises Conflict ``plan_altered`` where the plan says another hash.
    """
    raw = api.content("plans", plan_id, "content")
    plan = api.get("plans", plan_id)
    content_hash = digest_bytes(raw)
    if plan["content_hash"] != content_hash:
        message = f"{plan_id} was altered: its content has the hash {content_hash}, the plan says {plan['content_hash']}"
        raise Conflict("plan_altered", message, where=plan_id, hint="make a new plan and look at it again")
    return plan | {"content": cast("Doc", json.loads(raw))}, content_hash


def decide(api: Api, plan_id: str, decision: Decision, *, as_json: bool) -> Doc:
    """Approve a plan as decided beforehand, or after it was shown and somebody at the terminal said yes."""
    content_hash = _decided(decision) or _asked(api, plan_id, decision, as_json=as_json)
    said = {"when_open": decision.when_open or None, "override": decision.override}
    return api.post("plans", plan_id, "approve", content_hash=content_hash, **said)


def is_terminal() -> bool:
    """Whether there is somebody who can be shown a plan, and asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _decided(decision: Decision) -> str | None:
    if decision.file is None:
        return decision.content_hash
    try:
        return digest_bytes(decision.file.read_bytes())
    except OSError as error:
        raise Invalid("file", f"the content cannot be read: {error.strerror}", where=str(decision.file)) from error


def _asked(api: Api, plan_id: str, decision: Decision, *, as_json: bool) -> str:
    plan, content_hash = read_plan(api, plan_id)
    if decision.is_yes:
        return content_hash
    if as_json or not is_terminal():
        raise _nobody_to_ask(plan_id, content_hash)
    show(plan, whole_plan, as_json=False)
    # One that cannot be approved is refused by the control plane, which says why.
    if plan["state"] == "pending_approval" and not typer.confirm(f"\nApprove exactly this ({content_hash[:19]}…)?"):
        typer.echo("Not approved; nothing was done.")
        raise typer.Exit(REFUSED)
    return content_hash


def _nobody_to_ask(plan_id: str, content_hash: str) -> Undecided:
    hint = f"read it with `interlock show {plan_id}`, then: interlock approve {plan_id} --hash {content_hash}"
    message = f"{plan_id} waits for approval, and there is no terminal to ask on"
    return Undecided("not_decided", message, where=plan_id, hint=hint)
