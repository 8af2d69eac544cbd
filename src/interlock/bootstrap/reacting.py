"""Who reacts to which event."""

from interlock.delivery.contracts import (
    DriftGone,
    EnvironmentFrozen,
    EnvironmentRulesChanged,
    EnvironmentThawed,
    IncidentOpened,
    IncidentResolved,
)
from interlock.delivery.incidents.capturing import Capturing
from interlock.events.service import Events
from interlock.inbox.contracts import ItemAnswered
from interlock.plans.contracts import PlanApproved, PlanChanged, PlanDue, PlanRefused
from interlock.plans.drift.healing import Healing
from interlock.plans.drilled import DrillHandlers
from interlock.plans.handlers import PlanHandlers
from interlock.plans.wayback import WayBack
from interlock.runs.contracts import RunBegan, RunEnded, TaskAsks
from interlock.runs.feed import JournalFeed
from interlock.runs.handlers import RunHandlers
from interlock.tenancy.contracts import UserRemoved


def subscribe_plans(events: Events, journal: JournalFeed, plans: PlanHandlers, runs: RunHandlers) -> None:
    events.subscribe("plans.run", plans.plan_due, PlanApproved, PlanDue)
    events.subscribe("plans.rules", plans.rules_changed, EnvironmentRulesChanged, EnvironmentFrozen, EnvironmentThawed)
    events.subscribe("plans.people", plans.user_removed, UserRemoved)
    events.subscribe("plans.started", plans.run_started, RunBegan, feed=journal)
    events.subscribe("plans.finished", plans.run_finished, RunEnded, feed=journal)
    events.subscribe("runs.question", runs.task_asks, TaskAsks, feed=journal)
    events.subscribe("runs.answer", runs.item_answered, ItemAnswered)
    events.subscribe("runs.finished", runs.run_finished, RunEnded, feed=journal)


def subscribe_way_back(events: Events, way_back: WayBack) -> None:
    events.subscribe("wayback.incident", way_back.incident_opened, IncidentOpened)
    events.subscribe("wayback.place", way_back.plan_changed, PlanChanged)
    events.subscribe("wayback.resolved", way_back.incident_resolved, IncidentResolved)
    events.subscribe("wayback.answer", way_back.item_answered, ItemAnswered)


def subscribe_drills(events: Events, journal: JournalFeed, drills: DrillHandlers) -> None:
    """What a drill has found is kept."""
    events.subscribe("drills.finished", drills.run_finished, RunEnded, feed=journal)
    events.subscribe("drills.refused", drills.plan_refused, PlanRefused)


def subscribe_healing(events: Events, journal: JournalFeed, healing: Healing) -> None:
    events.subscribe("healing.finished", healing.run_finished, RunEnded, feed=journal)
    events.subscribe("healing.gone", healing.drift_gone, DriftGone)
    events.subscribe("healing.answer", healing.item_answered, ItemAnswered)


def subscribe_facts(events: Events, capturing: Capturing) -> None:
    """The facts of an incident are kept when it is opened. Whatever hangs that is looked at holds up nothing else."""
    events.subscribe("incidents.facts", capturing.incident_opened, IncidentOpened, lane="facts")
