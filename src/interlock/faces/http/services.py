"""What the HTTP and WebSocket faces need of the inside; `bootstrap` fills it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from interlock.audit.service import Audit
from interlock.delivery.capturing import Capturing
from interlock.delivery.drift_observer import DriftObserver
from interlock.delivery.drift_record import DriftRecord
from interlock.delivery.drills import Drills
from interlock.delivery.environments import Environments
from interlock.delivery.incidents import Incidents
from interlock.delivery.logs import Logs
from interlock.delivery.probing import Observer
from interlock.delivery.service import Delivery
from interlock.delivery.targets import Targets
from interlock.delivery.task_logs import TaskLogs
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
