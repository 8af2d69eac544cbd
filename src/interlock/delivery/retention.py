"""Retention: what nobody needs any more is removed; what a rollback needs never is."""

import functools
from datetime import timedelta

import structlog

from interlock.core.clock import Clock, from_text
from interlock.core.errors import InterlockError
from interlock.core.scope import Scope
from interlock.delivery.artifacts import Artifacts
from interlock.delivery.model import Release
from interlock.delivery.service import Delivery
from interlock.delivery.targets import Targets
from interlock.tools.ports import Workloads

log = structlog.get_logger(__name__)

BUILDING = timedelta(hours=6)
"""No build takes longer."""


class Retention:
    """Removes the files and images of releases beyond the newest ``keep_releases`` of a service, and what is left of ended
    processes and containers that ended ``age`` ago or earlier.

    A release is pinned while a deployment of it is in use, and while it is the last known good behind what serves.
    """

    def __init__(
        self, delivery: Delivery, artifacts: Artifacts, targets: Targets, clock: Clock, keep_releases: int, age: timedelta
    ) -> None:
        self._delivery = delivery
        self._artifacts = artifacts
        self._targets = targets
        self._clock = clock
        self._keep_releases = keep_releases
        self._age = age

    async def sweep(self, scope: Scope) -> int:
        """One round; returns how many releases, images and processes were removed. What cannot be reached now keeps nothing
        else from it, and has its turn in a later round."""
        removed = await self._artifacts.remove(await self._superseded(scope))
        for release_id in removed:
            log.info("release.removed", release=release_id)
        count = len(removed)
        for target in await self._delivery.targets(scope):
            try:
                if target == "container":
                    # A build that is under way has an image before its release is on record.
                    known = functools.partial(self._delivery.known_releases, scope)
                    count += await self._artifacts.sweep(known, self._clock.now() - BUILDING)
                count += await self._sweep_ended(scope, self._targets.of(target))
            except InterlockError as error:
                log.warning("retention.target_away", target=target, error=str(error))
        return count

    async def _superseded(self, scope: Scope) -> list[Release]:
        pinned = await self._pinned(scope)
        found: list[Release] = []
        for service in await self._delivery.services(scope):
            releases = await self._delivery.releases(scope, service.name, limit=10_000)
            kept = {release.folder for release in releases[: self._keep_releases]}
            kept |= {release.folder for release in releases if release.release_id in pinned}
            found += [release for release in releases if release.folder not in kept]
        return found

    async def _pinned(self, scope: Scope) -> set[str]:
        pinned = {item.release_id for item in await self._delivery.in_use(scope)}
        for route in await self._delivery.routes(scope):
            if not route.deployment_id:
                continue
            serving = await self._delivery.deployment(scope, route.deployment_id)
            pinned.add(serving.release_id)
            before = await self._delivery.last_good(scope, route.service, route.environment, before=route.deployment_id)
            if before is not None:
                pinned.add(before.release_id)
        return pinned

    async def _sweep_ended(self, scope: Scope, workloads: Workloads) -> int:
        oldest = self._clock.now() - self._age
        routes = await self._delivery.routes(scope)
        serving = [await self._delivery.deployment(scope, route.deployment_id) for route in routes if route.deployment_id]
        # What serves keeps its files even when its process has ended: they say why.
        kept = {instance.key for item in serving for instance in item.instances}
        removed = 0
        for key, status in (await workloads.list()).items():
            # What was frozen from outside is there, whatever it is worth.
            has_ended = status.state in {"exited", "lost"} and status.pid is None
            ended_at = status.ended_at or status.started_at
            if has_ended and ended_at and from_text(ended_at) < oldest and key not in kept:
                await workloads.remove(key)
                removed += 1
        return removed
