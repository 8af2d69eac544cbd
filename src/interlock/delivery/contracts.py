"""Events of delivery. The subject is ``service:<name>``, ``environment:<name>``, ``release:<id>``, ``deployment:<id>`` or
``incident:<id>``."""

from typing import Any

from interlock.events.model import EventData


class ServiceAdded(EventData, frozen=True, kw_only=True):
    event_type = "service.added"
    name: str
    repository: str


class ServiceWatchChanged(EventData, frozen=True, kw_only=True):
    event_type = "service.watch_changed"
    name: str
    watch: dict[str, Any]


class ReleaseBuilt(EventData, frozen=True, kw_only=True):
    event_type = "release.built"
    release_id: str
    service: str
    version: str
    commit: str
    content: str
    bundle: str


class DeploymentChanged(EventData, frozen=True, kw_only=True):
    event_type = "deployment.changed"
    deployment_id: str
    service: str
    environment: str
    release_id: str
    version: str
    state: str
    reason: str


class IncidentOpened(EventData, frozen=True, kw_only=True):
    """``found_by`` is ``run`` when a run found it and acts on it, ``watch`` when its run is over: then whoever holds the plan
    brings the deployment back, or asks; ``host`` when the release is not to blame."""

    event_type = "incident.opened"
    incident_id: str
    deployment_id: str
    plan_id: str
    found_by: str
    service: str
    environment: str
    severity: str
    title: str
    evidence: dict[str, Any]


class IncidentAcknowledged(EventData, frozen=True, kw_only=True):
    event_type = "incident.acknowledged"
    incident_id: str
    service: str
    environment: str
    by: str
    note: str


class IncidentNoted(EventData, frozen=True, kw_only=True):
    event_type = "incident.noted"
    incident_id: str
    service: str
    environment: str
    by: str
    text: str


class IncidentResolved(EventData, frozen=True, kw_only=True):
    event_type = "incident.resolved"
    incident_id: str
    service: str
    environment: str
    how: str
    by: str = ""


class Quarantined(EventData, frozen=True, kw_only=True):
    event_type = "release.quarantined"
    service: str
    content: str
    version: str
    incident_id: str
    reason: str


class QuarantineLifted(EventData, frozen=True, kw_only=True):
    event_type = "release.quarantine_lifted"
    service: str
    content: str
    version: str


class EnvironmentRulesChanged(EventData, frozen=True, kw_only=True):
    """``changed`` holds each rule that became another: what it was, and what it is."""

    event_type = "environment.rules_changed"
    environment: str
    changed: dict[str, tuple[Any, Any]]


class EnvironmentFrozen(EventData, frozen=True, kw_only=True):
    """``until`` is empty where nobody said an end."""

    event_type = "environment.frozen"
    environment: str
    until: str
    reason: str


class EnvironmentThawed(EventData, frozen=True, kw_only=True):
    event_type = "environment.thawed"
    environment: str


class RollbackDrilled(EventData, frozen=True, kw_only=True):
    """``outcome`` is proven or failed; ``reason`` says why the rollback would not have worked."""

    event_type = "rollback.drilled"
    drill_id: str
    service: str
    environment: str
    release_id: str
    version: str
    outcome: str
    reason: str


class DriftFound(EventData, frozen=True, kw_only=True):
    """What runs is not what should run; ``drifts`` are all differences that are known now, as in `drift.Drift`. The subject is
    ``drift:<service>.<environment>``. Published again when they become others."""

    event_type = "drift.found"
    service: str
    environment: str
    deployment_id: str
    drifts: list[dict[str, str]]


class DriftGone(EventData, frozen=True, kw_only=True):
    """What runs is what should run again."""

    event_type = "drift.gone"
    service: str
    environment: str
    deployment_id: str


class DriftAccepted(EventData, frozen=True, kw_only=True):
    """A person said that what differs is right as it is; ``marks`` name it."""

    event_type = "drift.accepted"
    service: str
    environment: str
    marks: list[str]
    by: str
