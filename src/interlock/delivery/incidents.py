"""Incidents and quarantine: what went wrong, and what must not come back."""

from typing import Any, Literal

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, NotFound
from interlock.core.ids import new_id
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.delivery import contracts, store
from interlock.delivery.model import Deployment, FoundBy, Incident, Quarantine, Release
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.tenancy.model import check_owner


class Incidents:
    """One open incident a deployment; what happens to it afterwards is added to its timeline."""

    def __init__(self, database: Database, events: Events, inbox: Inbox, clock: Clock) -> None:
        self._database = database
        self._events = events
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

    async def resolve(self, scope: Scope, incident_id: str, how: str) -> None:
        """Close an incident; closing it again changes nothing."""
        at = to_text(self._clock.now())
        async with self._database.write(scope) as session:
            incident = await store.incident(session.connection, incident_id)
            if incident is None or incident.state == "resolved":
                return
            timeline = (*incident.timeline, (at, how))
            incident = msgspec.structs.replace(incident, state="resolved", resolved_at=at, timeline=timeline)
            await store.put_incident(session.connection, incident)
            data = contracts.IncidentResolved(
                incident_id=incident_id, service=incident.service, environment=incident.environment, how=how
            )
            await self._events.publish(session, data, subject=f"incident:{incident_id}")

    async def get(self, scope: Scope, incident_id: str) -> Incident:
        """Raises NotFound ``incident``."""
        async with self._database.read(scope) as connection:
            incident = await store.incident(connection, incident_id)
        if incident is None:
            raise NotFound("incident", f"there is no incident {incident_id}", hint="see: interlock incidents")
        return incident

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
        check_owner(scope, "lift a quarantine")
        async with self._database.write(scope) as session:
            for item in await store.all_quarantines(session.connection):
                if (item.service, item.version) == (service, version) and not item.lifted_by:
                    lifted = msgspec.structs.replace(item, lifted_by=scope.principal)
                    await store.put_quarantine(session.connection, lifted)
                    data = contracts.QuarantineLifted(service=service, content=item.content, version=version)
                    await self._events.publish(session, data, subject=f"service:{service}")
                    return lifted
        raise NotFound("quarantine", f"{service} {version} is not in quarantine", hint="see: interlock quarantine list")


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
