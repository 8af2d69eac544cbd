"""A plan: what would be done, as content that is hashed and approved, and what is said about it."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from interlock.core.canonical import canonical_json, digest_bytes
from interlock.runs.graph import TaskGraph
from interlock.sources.model import Evidence, Finding, Recipe, WatchPolicy
from interlock.sources.recipe_changes import FieldChange
from interlock.tools.grants import Grant

PlanState = Literal[
    "pending_approval", "approved", "running", "succeeded", "failed", "rolled_back", "rejected", "expired", "superseded"
]
Action = Literal["deploy", "promote", "rollback", "drill", "test", "build", "restart", "stop", "status"]

_NEXT: dict[PlanState, frozenset[PlanState]] = {
    "pending_approval": frozenset({"approved", "rejected", "expired", "superseded"}),
    "approved": frozenset({"running", "failed", "rejected"}),
    "running": frozenset({"succeeded", "failed", "rolled_back"}),
    "succeeded": frozenset({"rolled_back"}),
    "failed": frozenset({"rolled_back"}),
    "rolled_back": frozenset(),
    "rejected": frozenset(),
    "expired": frozenset(),
    "superseded": frozenset(),
}
APPROVED: frozenset[PlanState] = frozenset({"approved", "running"})
"""Every approval is there and nothing has ended; of them those under way change their places, see `is_under_way`."""
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
    healing: TaskGraph = TaskGraph(tasks=())
    """How what the plan brought is brought back after a change from outside: a branch for each environment, no part of the
    run of ``graph``."""

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
    recipe: tuple[FieldChange, ...] = ()
    """What is said differently about building, running and judging it than for the release that serves."""
    rollback: str = ""
    """Where a rollback goes, in words."""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A principal approved exactly the content with this hash; signed with the tenant's key over `approval_message`.

    ``override`` is the owner's reason to start it in spite of windows and freezes; ``when_open`` has it wait for them.
    """

    by: str
    at: str
    content_hash: str
    signature: str
    override: str = ""
    when_open: bool = False


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What one environment asks of a plan by its rules of this moment, and what of it was given."""

    environment: str
    approvals: int
    approvers: tuple[str, ...]
    not_requester: bool
    given: tuple[str, ...]
    """Who has approved, of those whose approvals count here."""
    windows: tuple[str, ...]
    busy: str
    drift: str
    closed: str = ""
    """Why it may not be changed at this moment; empty where it may."""
    opens_at: str = ""


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
    estimates: dict[str, float] = {}
    """Seconds, by step, for those that run when nothing goes wrong."""
    approvals: tuple[Approval, ...] = ()
    waits: Literal["", "window", "turn"] = ""
    """What an approved plan waits for before it starts by itself; ``reason`` says it in words."""
    terms: tuple[Terms, ...] = ()
    """Never stored: as long as the plan has not started, what each environment asks of it now."""
    missing: str = ""
    """Never stored: which approvals a plan that waits for approval still needs, in words."""
    reason: str = ""
    """Why it is in its state, where that needs saying."""
    run_id: str = ""
    returns_to: PlanState | None = None
    """While what it brought is healed: the state in which it is again afterwards."""


def approval_message(plan_id: str, approval: Approval) -> bytes:
    """What an approval signs: none of its parts can be moved to another plan, content, person or time."""
    said = {name: value for name in ("override", "when_open") if (value := getattr(approval, name))}
    signed = {name: getattr(approval, name) for name in ("content_hash", "by", "at")}
    return canonical_json({"approve": plan_id} | signed | said)


def is_under_way(plan: Plan) -> bool:
    """Whether the plan changes its places now, or is just about to: one that waits does not."""
    return plan.state in APPROVED and not plan.waits


def same_places(one: Plan, other: Plan) -> Sequence[str]:
    """The environments in which both change the same service."""
    return [name for name in one.environments if name in other.environments] if one.service == other.service else []


def is_altered(content: bytes, content_hash: str) -> bool:
    """Whether ``content`` is not what the hash was made of."""
    return digest_bytes(content) != content_hash
