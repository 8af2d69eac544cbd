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


class PlanSigned(EventData, frozen=True, kw_only=True):
    """One approval of several; ``missing`` says which ones are not there yet."""

    event_type = "plan.signed"
    plan_id: str
    content_hash: str
    signature: str
    missing: str
    override: str = ""


class PlanApproved(EventData, frozen=True, kw_only=True):
    """The last approval that was needed. ``waits`` is empty where the run follows at once."""

    event_type = "plan.approved"
    plan_id: str
    content_hash: str
    signature: str
    waits: str = ""
    override: str = ""


class PlanDue(EventData, frozen=True, kw_only=True):
    """What an approved plan waited for has come; its run follows."""

    event_type = "plan.due"
    plan_id: str


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
