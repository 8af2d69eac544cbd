"""A plan: what would be done, as content that is hashed and approved, and what is said about it."""

from typing import Any, Literal

import msgspec

from interlock.core.canonical import canonical_json, digest_bytes
from interlock.runs.graph import TaskGraph
from interlock.sources.model import Evidence, Finding, Recipe, WatchPolicy
from interlock.tools.grants import Grant

PlanState = Literal[
    "pending_approval", "approved", "running", "succeeded", "failed", "rolled_back", "rejected", "expired", "superseded"
]
Action = Literal["deploy", "promote", "rollback", "drill", "test", "build", "restart", "stop", "status"]

_NEXT: dict[PlanState, frozenset[PlanState]] = {
    "pending_approval": frozenset({"approved", "rejected", "expired", "superseded"}),
    "approved": frozenset({"running", "failed"}),
    "running": frozenset({"succeeded", "failed", "rolled_back"}),
    "succeeded": frozenset({"rolled_back"}),
    "failed": frozenset({"rolled_back"}),
    "rolled_back": frozenset(),
    "rejected": frozenset(),
    "expired": frozenset(),
    "superseded": frozenset(),
}
UNDER_WAY: frozenset[PlanState] = frozenset({"approved", "running"})
ENDED: frozenset[PlanState] = frozenset({"succeeded", "failed", "rolled_back"})
"""Its run is over; only the plan's own way back takes it to ``running`` again."""


def may_become(now: PlanState, then: PlanState) -> bool:
    """Whether a plan in state ``now`` may go to ``then``."""
    return then in _NEXT[now]


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What serves in an environment when the plan is made, and what a rollback goes back to; empty where nothing serves."""

    environment: str
    deployment_id: str = ""
    release_id: str = ""
    version: str = ""
    bundle: str = ""


class PlanContent(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what will happen, and nothing else. The hash of its canonical JSON is what is approved."""

    format: int = 1
    plan_id: str
    action: Action
    service: str
    repository: str
    environments: tuple[str, ...]
    ref_kind: str
    ref_name: str
    commit: str
    tree: str
    tier: int
    content: str
    release_id: str
    recipe: Recipe
    watch: WatchPolicy
    graph: TaskGraph
    grants: tuple[Grant, ...]
    pins: tuple[Pin, ...]
    source: Pin | None = None
    """Of a promotion: what serves where it comes from, and has to serve there until the run begins."""

    def encoded(self) -> bytes:
        """RFC 8785 canonical JSON: the bytes that are stored, hashed and approved."""
        return canonical_json(msgspec.to_builtins(self))

    def digest(self) -> str:
        """The content hash."""
        return digest_bytes(self.encoded())


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes different in one environment. ``commits`` are the lines of the log between the two versions."""

    environment: str
    now: str
    then: str
    url: str
    commits: tuple[str, ...] = ()
    rollback: str = ""
    """Where a rollback goes, in words."""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A principal approved exactly the content with this hash; signed with the tenant's key over `approval_message`."""

    by: str
    at: str
    content_hash: str
    signature: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan with its state and all that is said about it outside the hash."""

    plan_id: str
    content_hash: str
    state: PlanState
    action: Action
    service: str
    environments: tuple[str, ...]
    version: str
    text: str
    requested_by: str
    created_at: str
    expires_at: str
    tier: int
    evidence: tuple[Evidence, ...] = ()
    findings: tuple[Finding, ...] = ()
    changes: tuple[Change, ...] = ()
    highlights: tuple[dict[str, Any], ...] = ()
    corrections: tuple[dict[str, Any], ...] = ()
    post_steps: tuple[str, ...] = ()
    constraints: dict[str, Any] = {}
    estimate_s: float = 0.0
    needs_approval: bool = True
    approval: Approval | None = None
    reason: str = ""
    """Why it is in its state, where that needs saying."""
    run_id: str = ""


def approval_message(plan_id: str, content_hash: str, by: str, at: str) -> bytes:
    """What an approval signs: none of its parts can be moved to another plan, content, person or time."""
    return canonical_json({"approve": plan_id, "content_hash": content_hash, "by": by, "at": at})


def is_altered(content: bytes, content_hash: str) -> bool:
    """Whether ``content`` is not what the hash was made of."""
    return digest_bytes(content) != content_hash
