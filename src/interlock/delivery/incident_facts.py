"""What is known of an incident, kept when it happens: processes are swept, repositories move, people forget. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from interlock.delivery.log_clusters import LogCluster, mask
from interlock.sources.model import Command, Recipe
from interlock.sources.ports import Commit

MAX_FILES = 20


class ReleaseFact(msgspec.Struct, frozen=True, kw_only=True):
    """A release, as far as a report needs it."""

    release_id: str
    version: str
    commit: str
    content: str


class ProcessFact(msgspec.Struct, frozen=True, kw_only=True):
    """A process of the deployment as the host told of it."""

    key: str
    state: str
    restarts: int
    exit_code: int | None
    reason: str
    message: str


class RecipeChange(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between two recipes; of variables the names alone, never a value."""

    field: str
    before: str
    after: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """``missing`` says, for each kind of fact that could not be had, why."""

    incident_id: str
    captured_at: str
    plan_id: str
    live_at: str
    bad: ReleaseFact
    good: ReleaseFact | None
    """The last one in the same place that was known to be good."""
    commits: tuple[Commit, ...] = ()
    recipe: tuple[RecipeChange, ...] = ()
    processes: tuple[ProcessFact, ...] = ()
    log: tuple[LogCluster, ...] = ()
    log_lines: int = 0
    missing: dict[str, str] = {}


def trimmed(commits: Sequence[Commit]) -> tuple[Commit, ...]:
    """Commits with a bounded number of files, and without what looks like a secret in their subjects."""
    return tuple(
        msgspec.structs.replace(item, subject=mask(item.subject)[:200], author=item.author[:100], files=item.files[:MAX_FILES])
        for item in commits
    )


def recipe_changes(before: Recipe, after: Recipe) -> tuple[RecipeChange, ...]:
    """What differs in how a service is built, run, checked and watched."""
    found: list[RecipeChange] = []
    for name in ("install", "build", "test"):
        _note(found, name, _commands(getattr(before, name)), _commands(getattr(after, name)))
    _note(found, "start", _command(before.start), _command(after.start))
    for name in ("port", "strategy", "target", "replicas", "rollback", "drain_s"):
        _note(found, name, _said(getattr(before, name)), _said(getattr(after, name)))
    for name in ("health", "watch", "resources"):
        _note_fields(found, name, getattr(before, name), getattr(after, name))
    for name in ("env", "secrets"):
        _note_names(found, name, getattr(before, name), getattr(after, name))
    _note(found, "migrate", _commands([item.command for item in before.migrate]), _commands([i.command for i in after.migrate]))
    _note(found, "dependencies", ", ".join(before.dependencies), ", ".join(after.dependencies))
    return tuple(found)


def _note(found: list[RecipeChange], field: str, before: str, after: str) -> None:
    if before != after:
        found.append(RecipeChange(field=field, before=mask(before) or "not said", after=mask(after) or "not said"))


def _note_fields(found: list[RecipeChange], name: str, before: object, after: object) -> None:
    one: dict[str, Any] = msgspec.to_builtins(before) or {}
    other: dict[str, Any] = msgspec.to_builtins(after) or {}
    for field in sorted({*one, *other}):
        _note(found, f"{name}.{field}", _said(one.get(field)), _said(other.get(field)))


def _note_names(found: list[RecipeChange], name: str, before: dict[str, str], after: dict[str, str]) -> None:
    for variable in sorted({*before, *after}):
        if before.get(variable) != after.get(variable):
            is_kept = variable in before and variable in after
            one = "another value" if is_kept else "set" if variable in before else "not set"
            other = "another value" if is_kept else "set" if variable in after else "not set"
            found.append(RecipeChange(field=f"{name}.{variable}", before="a value" if is_kept else one, after=other))


def _commands(commands: Sequence[Command]) -> str:
    return " && ".join(command.text for command in commands)


def _command(command: Command | None) -> str:
    return command.text if command else ""


def _said(value: object) -> str:
    return "" if value is None else str(value)
