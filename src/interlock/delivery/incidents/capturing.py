"""Keeps the facts of an incident when it is opened, and puts its report together from them."""

from collections.abc import Awaitable, Callable
from typing import Any

from interlock.core.clock import Clock, to_text
from interlock.core.errors import InterlockError
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.delivery.incidents import store
from interlock.delivery.incidents.facts import Facts, ProcessFact, ReleaseFact, trimmed, without_secrets
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.incidents.report import Report, report_of
from interlock.delivery.logs.clusters import LogCluster, clusters_of, mask_line, templates_of
from interlock.delivery.model import Deployment, Incident, Release
from interlock.delivery.service import Delivery
from interlock.delivery.targets import Targets
from interlock.events.model import Envelope
from interlock.events.service import Events
from interlock.sources.ports import Commit
from interlock.sources.recipe_changes import recipe_changes

LOG_BYTES = 256 * 1024
MAX_COMMITS = 50

History = Callable[[Scope, str, str, str, int], Awaitable[list[Commit]]]
"""The commits between two, by repository, older and newer commit and how many; `sources.service.Sources.history`."""


class Capturing:
    """Looks at what an incident is about, once. What cannot be had is left out, with the reason: a report there always is."""

    def __init__(
        self,
        database: Database,
        events: Events,
        delivery: Delivery,
        incidents: Incidents,
        targets: Targets,
        history: History,
        clock: Clock,
    ) -> None:
        self._database = database
        self._events = events
        self._delivery = delivery
        self._incidents = incidents
        self._targets = targets
        self._history = history
        self._clock = clock

    async def incident_opened(self, scope: Scope, event: Envelope) -> None:
        """``incident.opened``: keep the facts while they are there. Idempotent."""
        await self.facts(scope, await self._incidents.get(scope, event.data["incident_id"]))

    async def facts(self, scope: Scope, incident: Incident) -> Facts:
        """The facts as they were kept; of an incident without any, as they are now."""
        async with self._database.read(scope) as connection:
            kept = await store.incident_facts(connection, incident.incident_id)
        if kept is not None:
            return kept
        facts = await self._look(scope, incident)
        async with self._database.write(scope) as session:
            return await store.keep_incident_facts(session.connection, facts)

    async def report(self, scope: Scope, incident_id: str) -> Report:
        """The report as of now. Raises NotFound ``incident``."""
        incident = await self._incidents.get(scope, incident_id)
        facts = await self.facts(scope, incident)
        subjects = [f"incident:{incident_id}", f"rollback:{incident_id}", f"deployment:{incident.deployment_id}"]
        subjects += [f"plan:{facts.plan_id}", f"release:{incident.release_id}"]
        events = [event for subject in subjects for event in await self._events.about(scope, subject)]
        return report_of(incident, facts, events, self._clock.now())

    async def _look(self, scope: Scope, incident: Incident) -> Facts:
        deployment = await self._delivery.deployment(scope, incident.deployment_id)
        bad = await self._delivery.release(scope, deployment.release_id)
        before = await self._delivery.last_good(scope, incident.service, incident.environment, before=deployment.deployment_id)
        good = await self._delivery.release(scope, before.release_id) if before else None
        missing: dict[str, str] = {}
        commits = await self._commits(scope, incident.service, good, bad, missing)
        log, log_lines = await self._log(deployment, before, missing)
        return Facts(
            incident_id=incident.incident_id,
            captured_at=to_text(self._clock.now()),
            plan_id=deployment.plan_id,
            live_at=deployment.live_at,
            bad=_release(bad),
            good=_release(good) if good else None,
            commits=trimmed(commits),
            recipe=without_secrets(recipe_changes(good.recipe, bad.recipe, good.recipe.watch, bad.recipe.watch))
            if good
            else (),
            processes=await self._processes(deployment, missing),
            log=log,
            log_lines=log_lines,
            missing=missing,
        )

    async def _commits(
        self, scope: Scope, service: str, good: Release | None, bad: Release, missing: dict[str, str]
    ) -> list[Commit]:
        if good is None or good.commit == bad.commit:
            return []
        try:
            repository = (await self._delivery.service(scope, service)).repository
            return await self._history(scope, repository, good.commit, bad.commit, MAX_COMMITS)
        except InterlockError as error:
            missing["commits"] = error.message
            return []

    async def _processes(self, deployment: Deployment, missing: dict[str, str]) -> tuple[ProcessFact, ...]:
        found: list[ProcessFact] = []
        for key in _keys(deployment):
            status = await self._targets.of(deployment.target).status(key)
            if status.state == "absent":
                missing[f"process {key}"] = "its records are gone"
                continue
            fields: dict[str, Any] = {name: getattr(status, name) for name in ("state", "restarts", "exit_code", "reason")}
            found.append(ProcessFact(key=key, message=mask_line(status.message), **fields))
        return tuple(found)

    async def _log(
        self, deployment: Deployment, before: Deployment | None, missing: dict[str, str]
    ) -> tuple[tuple[LogCluster, ...], int]:
        lines = await self._lines(deployment, missing, "log")
        earlier = await self._lines(before, missing, "log of the last good release") if before else []
        known = templates_of(earlier) if earlier else None
        return clusters_of(lines, known), len(lines)

    async def _lines(self, deployment: Deployment, missing: dict[str, str], name: str) -> list[str]:
        found: list[str] = []
        try:
            for key in _keys(deployment):
                found += (await self._targets.of(deployment.target).log(key, -LOG_BYTES, LOG_BYTES)).text.splitlines()
        except (InterlockError, OSError) as error:
            missing[name] = str(error)
        if not found:
            missing.setdefault(name, "there is none: nothing was written, or the files of the process are gone")
        return found


def _keys(deployment: Deployment) -> tuple[str, ...]:
    """The instances of a deployment."""
    return tuple(instance.key for instance in deployment.instances)


def _release(release: Release) -> ReleaseFact:
    names = ("release_id", "version", "commit", "content")
    return ReleaseFact(**{name: getattr(release, name) for name in names})
