"""Incidents and quarantine: what went wrong, and what must not come back."""

from typing import Any, Literal

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, LimitReached, NotFound
from interlock.core.ids import new_id
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.delivery import contracts
from interlock.delivery.incidents import store
from interlock.delivery.model import Deployment, FoundBy, Incident, Quarantine, Release
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.tenancy.service import Tenancy

MAX_TIMELINE = 500


class Incidents:
    """One open incident a deployment; what happens to it afterwards is added to its timeline."""

    def __init__(self, database: Database, events: Events, tenancy: Tenancy, inbox: Inbox, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._tenancy = tenancy
        self._inbox = inbox
        self._clock = clock

    async def open(
        self,
        scope: Scope,
        deployment: Deployment,
        title: str,
        evidence: dict[str, Any],
        *,
        severity: Literal["warning", "critical"] = "warning",
        found_by: FoundBy = "run",
        asks: str = "",
    ) -> Incident:
        """Open an incident, or add to the one that is open. ``asks`` puts an alarm with these words into the inbox."""
        at = to_text(self._clock.now())
        async with self._database.write(scope) as session:
            incident = await store.open_incident_of(session.connection, deployment.deployment_id)
            if incident is None:
                incident = _new(deployment, title, evidence, severity, found_by, at)
                await store.put_incident(session.connection, incident)
                data = contracts.IncidentOpened(
                    incident_id=incident.incident_id,
                    deployment_id=deployment.deployment_id,
                    plan_id=deployment.plan_id,
                    found_by=found_by,
                    service=incident.service,
                    environment=incident.environment,
                    severity=severity,
                    title=title,
                    evidence=evidence,
                )
                await self._events.publish(session, data, subject=f"incident:{incident.incident_id}")
            elif all(what != title for _, what in incident.timeline):
                merged = {**incident.evidence, **evidence}
                timeline = (*incident.timeline, (at, title))
                worst = "critical" if "critical" in {severity, incident.severity} else "warning"
                incident = msgspec.structs.replace(incident, evidence=merged, timeline=timeline, severity=worst)
                await store.put_incident(session.connection, incident)
            if asks:
                subject = f"incident:{incident.incident_id}"
                await self._inbox.ask(session, "alarm", subject, asks, ("seen",), {"incident_id": incident.incident_id})
        return incident

    async def open_for(self, scope: Scope, deployment_id: str) -> Incident | None:
        """The open incident of a deployment."""
        async with self._database.read(scope) as connection:
            return await store.open_incident_of(connection, deployment_id)

    async def found_by_run(self, scope: Scope, deployment_id: str) -> Incident | None:
        """The open incident that says what a run has found of its deployment: a verdict, also where the run's own record does
        not have it because the control plane died in between."""
        incident = await self.open_for(scope, deployment_id)
        return incident if incident is not None and incident.found_by == "run" else None

    async def resolve(self, scope: Scope, incident_id: str, how: str) -> None:
        """Close an incident; closing it again changes nothing."""
        async with self._database.write(scope) as session:
            incident = await store.incident(session.connection, incident_id)
            if incident is not None and incident.state != "resolved":
                await self._resolve(session, incident, how)

    async def bring_back(self, scope: Scope, incident_id: str, asked_by: str, role: str) -> None:
        """Put on record that a run in ``role`` brings back what it is about, since ``asked_by`` asked for it; repeating changes
        nothing. Raises NotFound ``incident``."""
        async with self._database.write(scope) as session:
            incident = _existing(await store.incident(session.connection, incident_id), incident_id)
            if (asked_by, role) not in incident.ways_back:
                ways_back = (*incident.ways_back, (asked_by, role))
                await store.put_incident(session.connection, msgspec.structs.replace(incident, ways_back=ways_back))

    # --- what people do with it ---

    async def acknowledge(self, scope: Scope, incident_id: str, note: str = "") -> Incident:
        """Say that somebody takes care of it, which settles its alarm. For the watch the incident stays open.

        Raises NotFound ``incident``, Conflict ``incident_resolved``, LimitReached ``timeline_full``.
        """
        async with self._database.write(scope) as session:
            incident = _unresolved(await store.incident(session.connection, incident_id), incident_id)
            said = f": {note}" if note else ""
            if incident.state == "acknowledged" and not note:
                return incident
            first = {} if incident.acknowledged_by else {"acknowledged_by": scope.principal, "acknowledged_at": self._now()}
            incident = msgspec.structs.replace(incident, state="acknowledged", **first)
            incident = self._told(incident, f"{scope.principal} takes care of it{said}")
            await store.put_incident(session.connection, incident)
            data = contracts.IncidentAcknowledged(note=note, by=scope.principal, **_place(incident))
            await self._events.publish(session, data, subject=f"incident:{incident_id}")
            await self._inbox.withdraw(session, f"incident:{incident_id}", f"{scope.principal} takes care of it")
        return incident

    async def note(self, scope: Scope, incident_id: str, text: str) -> Incident:
        """Add what somebody found out, also afterwards. Raises NotFound ``incident``, LimitReached ``timeline_full``."""
        async with self._database.write(scope) as session:
            incident = _existing(await store.incident(session.connection, incident_id), incident_id)
            incident = self._told(incident, f"{scope.principal} notes: {text}")
            await store.put_incident(session.connection, incident)
            data = contracts.IncidentNoted(text=text, by=scope.principal, **_place(incident))
            await self._events.publish(session, data, subject=f"incident:{incident_id}")
        return incident

    async def settle(self, scope: Scope, incident_id: str, reason: str) -> Incident:
        """Close an incident by hand. What goes on being wrong opens another one.

        Raises NotFound ``incident``, Conflict ``incident_resolved``.
        """
        async with self._database.write(scope) as session:
            incident = _unresolved(await store.incident(session.connection, incident_id), incident_id)
            return await self._resolve(session, incident, f"{scope.principal} resolved it: {reason}", by=scope.principal)

    async def _resolve(self, session: Session, incident: Incident, how: str, by: str = "") -> Incident:
        at = self._now()
        timeline = (*incident.timeline, (at, how))
        incident = msgspec.structs.replace(incident, state="resolved", resolved_at=at, resolved_by=by, timeline=timeline)
        await store.put_incident(session.connection, incident)
        data = contracts.IncidentResolved(how=how, by=by, **_place(incident))
        await self._events.publish(session, data, subject=f"incident:{incident.incident_id}")
        return incident

    def _told(self, incident: Incident, what: str) -> Incident:
        if len(incident.timeline) >= MAX_TIMELINE:
            message = f"the timeline of {incident.incident_id} has {MAX_TIMELINE} entries"
            raise LimitReached("timeline_full", message, hint="keep what else there is to say elsewhere")
        return msgspec.structs.replace(incident, timeline=(*incident.timeline, (self._now(), what)))

    def _now(self) -> str:
        return to_text(self._clock.now())

    # --- looking ---

    async def get(self, scope: Scope, incident_id: str) -> Incident:
        """Raises NotFound ``incident``."""
        async with self._database.read(scope) as connection:
            return _existing(await store.incident(connection, incident_id), incident_id)

    async def listing(self, scope: Scope, state: str | None = None, limit: int = 100) -> list[Incident]:
        """Incidents, newest first."""
        async with self._database.read(scope) as connection:
            return await store.all_incidents(connection, state, limit)

    # --- quarantine ---

    async def quarantine(self, scope: Scope, release: Release, incident_id: str, reason: str) -> None:
        """Refuse this content from now on; doing it again changes nothing."""
        async with self._database.write(scope) as session:
            existing = await store.quarantine(session.connection, release.service, release.content)
            if existing is not None and not existing.lifted_by:
                return
            item = Quarantine(
                service=release.service,
                content=release.content,
                version=release.version,
                incident_id=incident_id,
                reason=reason,
                at=to_text(self._clock.now()),
            )
            await store.put_quarantine(session.connection, item)
            names = ("service", "content", "version", "incident_id", "reason")
            data = contracts.Quarantined(**{name: getattr(item, name) for name in names})
            await self._events.publish(session, data, subject=f"release:{release.release_id}")

    async def check_not_quarantined(self, scope: Scope, service: str, content: str) -> None:
        """Raises Conflict ``quarantined``, naming the incident."""
        async with self._database.read(scope) as connection:
            item = await store.quarantine(connection, service, content)
        if item is not None and not item.lifted_by:
            raise Conflict(
                "quarantined",
                f"this content of {service} was rolled back as {item.version}: {item.reason}",
                where=item.incident_id,
                hint=f"see: interlock incidents {item.incident_id}; a person may lift it: interlock quarantine lift {service}"
                f" {item.version}",
                incident_id=item.incident_id,
            )

    async def quarantined(self, scope: Scope) -> list[Quarantine]:
        """What is refused now."""
        async with self._database.read(scope) as connection:
            return [item for item in await store.all_quarantines(connection) if not item.lifted_by]

    async def lift(self, scope: Scope, service: str, version: str) -> Quarantine:
        """Allow a quarantined content again. Raises Forbidden ``owner_only``, NotFound ``quarantine``."""
        await self._tenancy.require_owner(scope, "lift a quarantine")
        async with self._database.write(scope) as session:
            for item in await store.all_quarantines(session.connection):
                if (item.service, item.version) == (service, version) and not item.lifted_by:
                    lifted = msgspec.structs.replace(item, lifted_by=scope.principal)
                    await store.put_quarantine(session.connection, lifted)
                    data = contracts.QuarantineLifted(service=service, content=item.content, version=version)
                    await self._events.publish(session, data, subject=f"service:{service}")
                    return lifted
        raise NotFound("quarantine", f"{service} {version} is not in quarantine", hint="see: interlock quarantine list")


def verdict_of(incident: Incident, code: str, where: str) -> Conflict:
    """The error of the task whose verdict the incident holds."""
    reason = incident.title.removeprefix(f"{incident.service} {incident.version} in {incident.environment}: ")
    return Conflict(code, reason, where=where, incident_id=incident.incident_id, evidence=incident.evidence)


def _existing(incident: Incident | None, incident_id: str) -> Incident:
    if incident is None:
        raise NotFound("incident", f"there is no incident {incident_id}", hint="see: interlock incidents")
    return incident


def _unresolved(found: Incident | None, incident_id: str) -> Incident:
    incident = _existing(found, incident_id)
    if incident.state == "resolved":
        hint = f"what was found out since can be added: interlock incidents note {incident_id} TEXT"
        raise Conflict("incident_resolved", f"{incident_id} was resolved at {incident.resolved_at}", hint=hint)
    return incident


def _place(incident: Incident) -> dict[str, str]:
    return {name: getattr(incident, name) for name in ("incident_id", "service", "environment")}


def _new(
    deployment: Deployment,
    title: str,
    evidence: dict[str, Any],
    severity: Literal["warning", "critical"],
    found_by: FoundBy,
    at: str,
) -> Incident:
    return Incident(
        incident_id=new_id("inc"),
        service=deployment.service,
        environment=deployment.environment,
        deployment_id=deployment.deployment_id,
        release_id=deployment.release_id,
        version=deployment.version,
        severity=severity,
        title=title,
        evidence=evidence,
        found_by=found_by,
        opened_at=at,
        state="open",
        timeline=((deployment.live_at or deployment.started_at, f"{deployment.version} got traffic"), (at, title)),
    )
