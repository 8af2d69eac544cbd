"""Looking, round after round, whether what runs is what should run."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import structlog

from interlock.core.clock import Clock
from interlock.core.errors import Unavailable
from interlock.core.scope import Scope
from interlock.delivery.artifacts import Artifacts
from interlock.delivery.drift.comparison import Drift, PlaceDrift, Seen, SeenLeg, Wanted, confirmed, drift_of, recent_attempts
from interlock.delivery.drift.record import DriftRecord
from interlock.delivery.model import Deployment, Release, Route
from interlock.delivery.ports import Forwarder
from interlock.delivery.service import Delivery
from interlock.delivery.targets import Targets
from interlock.sources.model import Target
from interlock.tools.ports import ProcessStatus, Sighting

log = structlog.get_logger(__name__)

ARTIFACTS_S = 30.0
"""Between two looks at files and images: they matter when they are needed, and asking costs more."""
IN_USE = frozenset({"live", "good", "paused"})
"""What is starting is in use as long as a plan is under way in its place; what a run has left behind is not."""
FORWARDER = "interlock-forwarder-"
"""How the keys of the forwarder itself begin."""


class UnderWay(msgspec.Struct, frozen=True, kw_only=True):
    """What plans change now: ``places`` are (service, environment), ``keys`` how the keys of what they start begin."""

    places: frozenset[tuple[str, str]] = frozenset()
    keys: tuple[str, ...] = ()


LookUnderWay = Callable[[Scope], Awaitable[UnderWay]]

Place = tuple[str, str]
Surveys = dict[Target, dict[str, Sighting] | None]


class DriftObserver:
    """Compares the record with what the targets and the forwarder say. One survey of each of them a round; an instance is
    looked at by itself only where the survey does not have it."""

    def __init__(
        self,
        delivery: Delivery,
        record: DriftRecord,
        targets: Targets,
        forwarder: Forwarder,
        artifacts: Artifacts,
        clock: Clock,
        under_way: LookUnderWay,
    ) -> None:
        self._delivery = delivery
        self._record = record
        self._targets = targets
        self._forwarder = forwarder
        self._artifacts = artifacts
        self._clock = clock
        self._under_way = under_way
        self._before: dict[Place, frozenset[str]] = {}
        self._identities: dict[str, str] = {}
        self._releases: dict[str, Release] = {}
        self._fallbacks: dict[str, str] = {}
        self._owners: dict[str, tuple[str, Place]] = {}
        """Key -> deployment and place, of what runs and no serving deployment has."""
        self._kinds: set[Target] | None = None
        self._gone: dict[str, str] = {}
        self._artifacts_due = 0.0
        self.unseen: dict[Place, tuple[str, ...]] = {}
        """Place -> why something of it could not be observed in the last round."""

    async def look(self, scope: Scope) -> list[PlaceDrift]:
        """One round; returns what is known of each place afterwards, as far as there is something."""
        known = {(item.service, item.environment): item for item in await self._record.listing(scope)}
        under_way = await self._under_way(scope)
        wanted = await self._wanted(scope)
        surveys = await self._survey(scope, wanted.values())
        legs, no_legs = await self._legs()
        orphans = await self._orphans(scope, wanted, surveys, under_way)
        await self._look_at_artifacts(wanted.values())
        seen = {place: await self._seen(item, surveys, legs, no_legs, orphans.pop(place, {})) for place, item in wanted.items()}
        seen |= _elsewhere(seen.keys(), known.keys(), orphans, legs, is_blind=bool(no_legs) or None in surveys.values())
        changing = await self._changing(scope, under_way, wanted)
        for place, what in seen.items():
            if place not in changing:
                item = wanted.get(place) or _nothing(place)
                await self._compare(scope, item, what, known.get(place) or PlaceDrift(service=place[0], environment=place[1]))
        for place in changing:
            self._before.pop(place, None)
        self.unseen = {place: what.unseen for place, what in seen.items() if what.unseen}
        return await self._record.listing(scope)

    async def _compare(self, scope: Scope, wanted: Wanted, seen: Seen, known: PlaceDrift) -> None:
        place = (known.service, known.environment)
        found = drift_of(wanted, seen)
        marks = frozenset(drift.mark for drift in found)
        sure = confirmed(known, found, self._before.get(place, ()), seen)
        self._before[place] = marks
        deployment_id = wanted.deployment.deployment_id if wanted.deployment else ""
        # Written only where it says something new: most rounds see what the one before saw.
        if (
            sure != known.drifts
            or not set(known.accepted) | set(known.left) <= marks
            or recent_attempts(known.attempts, self._clock.now()) != known.attempts
        ):
            await self._record.saw(scope, known, deployment_id, sure, marks)

    # --- what should be ---

    async def _wanted(self, scope: Scope) -> dict[Place, Wanted]:
        routes, serving = await self._delivery.standing(scope)
        found: dict[Place, Wanted] = {}
        for route in routes:
            deployment = serving.get(route.deployment_id)
            if deployment is None:
                found[route.service, route.environment] = Wanted(route=route)
                continue
            found[route.service, route.environment] = Wanted(
                route=route,
                deployment=deployment,
                release=await self._release(scope, deployment.release_id),
                fallback=await self._fallback(scope, deployment),
                identities=self._identities,
            )
        return found

    async def _release(self, scope: Scope, release_id: str) -> Release:
        if release_id not in self._releases:
            self._releases[release_id] = await self._delivery.release(scope, release_id)
        return self._releases[release_id]

    async def _fallback(self, scope: Scope, deployment: Deployment) -> Release | None:
        """What a rollback of it would go back to. Looked up once: it is what it is for as long as this one serves."""
        if deployment.deployment_id not in self._fallbacks:
            place = (deployment.service, deployment.environment)
            found = await self._delivery.last_good(scope, *place, before=deployment.deployment_id)
            self._fallbacks[deployment.deployment_id] = found.release_id if found else ""
        release_id = self._fallbacks[deployment.deployment_id]
        return await self._release(scope, release_id) if release_id else None

    async def _changing(self, scope: Scope, before: UnderWay, wanted: dict[Place, Wanted]) -> set[Place]:
        """Places that a plan changes, or that were changed while they were looked at."""
        after = await self._under_way(scope)
        routes, serving = await self._delivery.standing(scope)
        now = {(route.service, route.environment): (route, serving.get(route.deployment_id)) for route in routes}
        moved = {place for place, item in wanted.items() if now.get(place) != (item.route, item.deployment)}
        return {*before.places, *after.places, *moved}

    # --- what is ---

    async def _survey(self, scope: Scope, wanted: Iterable[Wanted]) -> Surveys:
        if self._kinds is None:
            self._kinds = await self._delivery.targets(scope)
        self._kinds |= {item.deployment.target for item in wanted if item.deployment}
        found: Surveys = {}
        for target in sorted(self._kinds):
            try:
                found[target] = await self._targets.of(target).survey()
            except Unavailable as error:
                log.info("drift.target_away", target=target, error=str(error))
                found[target] = None
        return found

    async def _legs(self) -> tuple[dict[str, SeenLeg], str]:
        """The stable legs by route, or why they cannot be told."""
        try:
            legs = await self._forwarder.list()
        except Unavailable as error:
            return {}, error.message
        stable = [status for status in legs if status.leg.kind == "stable"]
        return {status.leg.route: SeenLeg(port=status.leg.port, shares=status.shares) for status in stable}, ""

    async def _seen(
        self, wanted: Wanted, surveys: Surveys, legs: dict[str, SeenLeg], no_legs: str, orphans: dict[str, Sighting]
    ) -> Seen:
        unseen = [f"the forwarder does not answer: {no_legs}"] if no_legs and wanted.deployment else []
        instances: dict[str, tuple[ProcessStatus, Sighting | None]] | None = {}
        survey = surveys.get(wanted.deployment.target) if wanted.deployment else None
        if wanted.deployment and survey is None:
            instances = None
            unseen.append(f"the target of its {wanted.deployment.target}s does not answer")
        elif wanted.deployment and survey is not None:
            instances = await self._instances(wanted.deployment, survey)
            unseen += [status.message for status, _ in instances.values() if status.state == "unknown"]
        return Seen(
            instances=instances,
            orphans=orphans,
            leg=legs.get(wanted.route.name),
            has_legs=not no_legs,
            gone=self._gone,
            unseen=tuple(unseen),
        )

    async def _instances(
        self, deployment: Deployment, survey: dict[str, Sighting]
    ) -> dict[str, tuple[ProcessStatus, Sighting | None]]:
        found: dict[str, tuple[ProcessStatus, Sighting | None]] = {}
        for instance in deployment.instances:
            sighting = survey.get(instance.key)
            if sighting is None or sighting.is_paused:
                found[instance.key] = (await self._targets.of(deployment.target).status(instance.key), None)
            else:
                self._identities.setdefault(instance.key, sighting.identity)
                found[instance.key] = (ProcessStatus(state="running"), sighting)
        return found

    # --- what nothing wants ---

    async def _orphans(
        self, scope: Scope, wanted: dict[Place, Wanted], surveys: Surveys, under_way: UnderWay
    ) -> dict[Place, dict[str, Sighting]]:
        serving = [item.deployment for item in wanted.values() if item.deployment]
        keys = {instance.key for deployment in serving for instance in deployment.instances}
        found: dict[Place, dict[str, Sighting]] = defaultdict(dict)
        for target, survey in surveys.items():
            for key, sighting in (survey or {}).items():
                if key in keys or key.startswith((FORWARDER, *under_way.keys)):
                    continue
                place = await self._place_of(scope, target, key, sighting)
                if place is not None and place not in under_way.places:
                    found[place][key] = sighting
        return found

    async def _place_of(self, scope: Scope, target: Target, key: str, sighting: Sighting) -> Place | None:
        """Where an orphan belongs; None for what is none, because a deployment that is in use has it."""
        if key not in self._owners:
            self._owners[key] = _owner(key, await self._delivery.owners(scope, key))
        deployment_id, place = self._owners[key]
        if deployment_id and (await self._delivery.deployment(scope, deployment_id)).state in IN_USE:
            return None
        labels = sighting.labels if target == "container" else {}
        return (labels.get("interlock.service", place[0]), labels.get("interlock.environment", place[1]))

    # --- files and images ---

    async def _look_at_artifacts(self, wanted: Iterable[Wanted]) -> None:
        now = self._clock.monotonic()
        if now < self._artifacts_due:
            return
        self._artifacts_due = now + ARTIFACTS_S
        releases = {item.release_id: item for one in wanted for item in (one.release, one.fallback) if item}
        self._gone = await self._artifacts.missing(releases.values())


def problems(drifts: Iterable[Drift]) -> list[str]:
    """The differences in words, one each."""
    return [drift.detail for drift in drifts]


def _owner(key: str, history: Iterable[Deployment]) -> tuple[str, Place]:
    """The deployment (empty for none) and the place that a key belongs to; by the run that its name begins with where no
    deployment has it."""
    candidates: list[Deployment] = []
    for item in history:
        if any(instance.key == key for instance in item.instances):
            return item.deployment_id, (item.service, item.environment)
        if key.startswith(item.run_id.replace("_", "-") + "-"):
            candidates.append(item)
    # A run may have led to several environments; its tasks are named after them.
    named = [item for item in candidates if f"-{item.environment}" in key] or candidates
    return "", (named[0].service, named[0].environment) if named else ("", "")


def _elsewhere(
    places: Iterable[Place],
    known: Iterable[Place],
    orphans: dict[Place, dict[str, Sighting]],
    legs: dict[str, SeenLeg],
    *,
    is_blind: bool,
) -> dict[Place, Seen]:
    """What belongs to no place of the record, by the names that it bears itself; and what was known of such places."""
    ours = {f"{service}.{environment}" for service, environment in places}
    strays = {(name.rpartition(".")[0], name.rpartition(".")[2]): leg for name, leg in legs.items() if name not in ours}
    gone = set[Place]() if is_blind else set(known) - set(places)
    return {
        place: Seen(instances={}, orphans=orphans.get(place, {}), leg=strays.get(place))
        for place in orphans.keys() | strays.keys() | gone
    }


def _nothing(place: Place) -> Wanted:
    return Wanted(route=Route(service=place[0], environment=place[1], stable_port=0, candidate_port=0))
