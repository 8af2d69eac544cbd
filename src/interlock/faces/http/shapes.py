"""The bodies of requests and answers. What the slices hand out as values goes out field by field, by the same names."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from interlock.core.clock import from_text
from interlock.delivery.drift.comparison import PlaceDrift
from interlock.plans.model import Plan, PlanContent
from interlock.runs.fanning import tally
from interlock.runs.model import RunState


class Body(BaseModel):
    """A request body: unknown fields are refused, so that a typing error is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


class ParseCommand(Body):
    text: str = Field(max_length=10_000, description="What is wanted, in plain words.")
    environment: str | None = Field(default=None, description="The environment, where the text names none.")
    repository: str | None = Field(default=None, description="The repository of the service, where the text names none.")
    preview: bool = Field(default=False, description="Only show the plan; nothing is stored.")


class ApprovePlan(Body):
    content_hash: str = Field(description="The hash of the content that was looked at.", examples=["sha256:…"])
    when_open: bool = Field(default=False, description="Outside of windows and in a freeze, wait and start by itself.")
    override: str = Field(
        default="", max_length=500, description="The owner's reason to start in spite of windows and freezes."
    )


class RejectPlan(Body):
    reason: str = Field(default="", max_length=2000)


class AddService(Body):
    name: str = Field(max_length=100)
    repository: str = Field(max_length=2000, description="A path on the server's machine, or a URL.")


class Watch(Body):
    """Thresholds; what is left out is decided by the module file, then by the settings."""

    window_s: float | None = Field(default=None, gt=0, le=86400)
    interval_s: float | None = Field(default=None, gt=0, le=600)
    min_requests: int | None = Field(default=None, ge=1)
    error_rate: float | None = Field(default=None, ge=0, le=1, description="Share of answers 500-599.")
    p95_ms: float | None = Field(default=None, gt=0)
    health_failures: int | None = Field(default=None, ge=1)
    restarts: int | None = Field(default=None, ge=1)


class ChangeRules(Body):
    """Rules of an environment; what is left out stays as it is."""

    approvals: int | None = Field(default=None, ge=1, le=20, description="How many different people have to approve.")
    approvers: list[str] | None = Field(default=None, max_length=100, description="Whose approvals count; [] for everybody's.")
    not_requester: bool | None = Field(default=None, description="Whether the approval of whoever asked does not count.")
    windows: list[str] | None = Field(
        default=None, description="When changes may begin; [] for always.", examples=[["Mon-Fri 09:00-16:00 Europe/Berlin"]]
    )
    busy: Literal["refuse", "wait"] | None = Field(default=None, description="What becomes of a second plan for a service.")
    drift: Literal["heal", "ask"] | None = None


class FreezeEnvironment(Body):
    until: str = Field(default="", max_length=40, description="RFC 3339; empty until somebody thaws it.")
    reason: str = Field(default="", max_length=500)


class RollBack(Body):
    environment: str
    version: str | None = Field(
        default=None, pattern=r"^\S{1,200}$", description="The version to go back to; the last known good one by default."
    )
    reason: str = Field(default="", max_length=500)


class DrillRollback(Body):
    environment: str
    version: str | None = Field(
        default=None,
        pattern=r"^\S{1,200}$",
        description="The version that would be gone back to; the last known good one by default.",
    )


class Promote(Body):
    environment: str = Field(description="Where the release goes to.")
    source: str | None = Field(
        default=None, description="Where it serves and is good; the environment before, in promotion order, by default."
    )


class CancelRun(Body):
    reason: str = Field(default="cancelled by request", max_length=500)


class PauseRun(Body):
    reason: str = Field(default="", max_length=500)


class AnswerItem(Body):
    answer: str = Field(max_length=200)


class AcknowledgeIncident(Body):
    note: str = Field(default="", max_length=2000)


class ResolveIncident(Body):
    reason: str = Field(min_length=1, max_length=2000)


class NoteIncident(Body):
    text: str = Field(min_length=1, max_length=4000)


class AddChannel(Body):
    name: str = Field(max_length=100)
    kind: Literal["webhook", "email"]
    target: str = Field(max_length=2000, description="A URL, or an e-mail address.")
    events: list[str] = Field(max_length=50, description="Event types; * stands for any letters.", examples=[["incident.*"]])


class RotateSecret(Body):
    overlap_hours: float = Field(default=24, ge=0, le=24 * 30, description="How long the former secret signs too.")


class Page(BaseModel):
    """One page of a list; ``next`` is the cursor of the following page, null on the last one."""

    items: list[dict[str, Any]]
    next: str | None = None


class Parsed(BaseModel):
    """What became of a sentence: a plan, a question that has to be answered first, or the status that was asked for."""

    kind: Literal["plan", "question", "status"]
    plan: dict[str, Any] | None = None
    question: dict[str, Any] | None = None
    status: list[dict[str, Any]] | None = None


def plain(value: object) -> Any:
    """A value of the slices as JSON data."""
    return msgspec.to_builtins(value)


def drift_body(known: PlaceDrift | None, place: tuple[str, str], unseen: Sequence[str]) -> dict[str, Any]:
    """What differs in a place, and what becomes of it: ``healing``, ``given_up``, ``left`` or ``open``."""
    item = known or PlaceDrift(service=place[0], environment=place[1])
    is_left = all(drift.mark in item.left for drift in item.drifts)
    standing = "healing" if item.run_id else "given_up" if item.has_given_up else "left" if is_left else "open"
    names = ("service", "environment", "since", "deployment_id", "run_id", "attempts", "accepted")
    body = {name: plain(getattr(item, name)) for name in names}
    return body | {"drifts": plain(item.drifts), "unseen": list(unseen), "state": standing if item.drifts else ""}


def plan_body(plan: Plan, content: PlanContent) -> dict[str, Any]:
    """A plan with its content."""
    return plain(plan) | {"content": plain(content)}


def run_body(state: RunState) -> dict[str, Any]:
    """A run as its journal stands: state, progress, tasks in the order of the graph, effects."""
    tasks = [_task_body(state, spec_id) for spec_id in (spec.id for spec in state.run.graph)]
    ended = sum(task["status"] in {"completed", "failed", "skipped", "cancelled"} for task in tasks)
    return {
        "run_id": state.run.run_id,
        "plan_id": state.run.plan_id,
        "role": state.run.role,
        "title": state.run.title,
        "status": str(state.status),
        "seq": state.seq,
        "adoptions": state.adoptions,
        "progress": round(ended / len(tasks), 3) if tasks else 1.0,
        "submitted_at": state.submitted_at,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
        "duration_s": _seconds(state.started_at, state.ended_at),
        "paused": plain(state.pause),
        "error": state.error,
        "summary": plain(state.summary),
        "tasks": tasks,
        "effects": [plain(entry) for entry in state.ledger.values()],
    }


def _task_body(state: RunState, task_id: str) -> dict[str, Any]:
    spec = state.run.graph.specs[task_id]
    task = state.tasks[task_id]
    about = {"id": spec.id, "title": spec.title, "kind": spec.kind, "effect": str(spec.effect), "branch": spec.branch}
    about |= {"needs": list(spec.needs), "when": spec.when, "undoes": spec.undoes, "one_way": spec.one_way}
    about |= {"takes_back": list(spec.takes_back), "priority": spec.priority}
    about |= {"condition": spec.condition, "each": plain(spec.each), "instances": tally(state, task_id)}
    return about | plain(task) | {"duration_s": _seconds(task.started_at, task.ended_at)}


def _seconds(start: str, end: str) -> float | None:
    if not start or not end:
        return None
    return round(max(0.0, (from_text(end) - from_text(start)).total_seconds()), 3)
