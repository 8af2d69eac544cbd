"""What the HTTP and WebSocket faces need of the inside; `bootstrap` fills it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from interlock.audit.service import Audit
from interlock.delivery.drift.observer import DriftObserver
from interlock.delivery.drift.record import DriftRecord
from interlock.delivery.drills import Drills
from interlock.delivery.environments import Environments
from interlock.delivery.incidents.capturing import Capturing
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.judging.probing import Observer
from interlock.delivery.logs.reading import Logs
from interlock.delivery.logs.tasks import TaskLogs
from interlock.delivery.service import Delivery
from interlock.delivery.targets import Targets
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.notifications.service import Notifications
from interlock.plans.answering import Answering
from interlock.plans.service import Plans
from interlock.runs.service import Runs
from interlock.sources.service import Sources
from interlock.tenancy.service import Tenancy
from interlock.tenancy.submissions import Submissions

Component = Callable[[], Awaitable[dict[str, Any]]]
"""Reports on one part: ``{"ok": bool, ...}``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases, slice by slice. ``components`` are asked by ``/ready``."""

    tenancy: Tenancy
    submissions: Submissions
    plans: Plans
    runs: Runs
    delivery: Delivery
    environments: Environments
    incidents: Incidents
    capturing: Capturing
    drills: Drills
    drift: DriftRecord
    drift_observer: DriftObserver
    observer: Observer
    logs: Logs
    sources: Sources
    inbox: Inbox
    answering: Answering
    notifications: Notifications
    audit: Audit
    events: Events
    targets: Targets
    task_logs: TaskLogs
    components: dict[str, Component]
