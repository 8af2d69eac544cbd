"""What is known of an incident, kept when it happens: processes are swept, repositories move, people forget. Pure."""

from collections.abc import Sequence

import msgspec

from interlock.delivery.logs.clusters import LogCluster, mask
from interlock.sources.ports import Commit
from interlock.sources.recipe_changes import FieldChange

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
    recipe: tuple[FieldChange, ...] = ()
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


def without_secrets(changes: Sequence[FieldChange]) -> tuple[FieldChange, ...]:
    """The changes without what looks like a secret in a command."""
    return tuple(msgspec.structs.replace(item, now=mask(item.now), then=mask(item.then)) for item in changes)
