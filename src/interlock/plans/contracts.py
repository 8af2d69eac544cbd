"""Events of plans; the subject is ``plan:<id>``."""

from typing import Any

from interlock.events.model import EventData


class PlanProposed(EventData, frozen=True, kw_only=True):
    event_type = "plan.proposed"
    plan_id: str
    content_hash: str
    action: str
    service: str
    text: str
    environments: tuple[str, ...]


class PlanRefused(EventData, frozen=True, kw_only=True):
    """A request of which no plan was made, or an approval that was not taken."""

    event_type = "plan.refused"
    text: str
    code: str
    message: str
    details: dict[str, Any] | None = None
    """What the refusal itself is about, with its ``hint``; only where somebody reacts to it."""


class PlanApproved(EventData, frozen=True, kw_only=True):
    event_type = "plan.approved"
    plan_id: str
    content_hash: str
    signature: str


class PlanRejected(EventData, frozen=True, kw_only=True):
    event_type = "plan.rejected"
    plan_id: str
    reason: str


class PlanChanged(EventData, frozen=True, kw_only=True):
    """Any other step of a plan's state."""

    event_type = "plan.changed"
    plan_id: str
    state: str
    reason: str
