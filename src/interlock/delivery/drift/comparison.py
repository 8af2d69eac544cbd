"""What should run and where it should be led, beside what is seen of it. Pure; `observer.py` looks.

What cannot be observed is no drift: it is said beside, and nothing is done about it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from interlock.core.clock import from_text
from interlock.delivery.model import Deployment, Instance, Release, Route, Shares, evenly
from interlock.delivery.rules import Drift as Rule
from interlock.tools.ports import ProcessStatus, Sighting

DriftKind = Literal[
    "ended",
    "stopped",
    "absent",
    "replaced",
    "orphan",
    "leg_gone",
    "leg_nowhere",
    "leg_elsewhere",
    "leg_shares",
    "leg_unwanted",
    "release_gone",
    "fallback_gone",
]
"""``ended``: an instance ended by its own doing, which the watch judges. ``stopped``: it was ended from outside. ``absent``:
nothing is known under its key any more. ``replaced``: another one runs under its key. ``orphan``: it runs, and nothing on
record wants it. ``leg_…``: the stable leg is gone, leads nowhere or to others, in other shares, or leads where nothing is to
serve. ``release_gone``, ``fallback_gone``: what would be started again, or gone back to, is not there any more."""

INSTANCES: frozenset[DriftKind] = frozenset({"ended", "stopped", "absent", "replaced"})
LEGS: frozenset[DriftKind] = frozenset({"leg_gone", "leg_nowhere", "leg_elsewhere", "leg_shares", "leg_unwanted"})
HEALABLE: frozenset[DriftKind] = frozenset(
    {"stopped", "absent", "replaced", "orphan", "leg_gone", "leg_nowhere", "leg_elsewhere", "leg_shares"}
)
"""What a run can bring back. The end of an instance by its own doing is for the watch: starting it again would hide it."""
ACCEPTABLE: frozenset[DriftKind] = frozenset({"orphan", "leg_shares", "leg_unwanted"})
"""What may be counted as right from now on: nothing that serves is missing, and nothing serves that was not approved."""

MAX_ATTEMPTS = 3
ATTEMPTS_WITHIN = timedelta(minutes=10)
BACKOFF = timedelta(seconds=10)
"""Before the second attempt, and twice as long before each further one."""

Step = Literal["heal", "ask", "wait", "give_up", "nothing"]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One difference: ``what`` is a key, a leg or a release, ``expected`` and ``seen`` say how they differ."""

    kind: DriftKind
    what: str
    expected: str
    seen: str
    detail: str
    """The same in words."""

    @property
    def mark(self) -> str:
        """The same for the same difference, however often it is seen."""
        return f"{self.kind} {self.what} {self.seen}"


class SeenLeg(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stable leg listens and leads, according to the forwarder."""

    port: int
    shares: Shares


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is on record for a place. ``identities`` are those of its instances when they were seen first."""

    route: Route
    deployment: Deployment | None = None
    release: Release | None = None
    fallback: Release | None = None
    identities: dict[str, str] = {}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of a place. ``unseen`` says why something cannot be: then ``instances`` are None, or ``has_legs`` is not."""

    instances: dict[str, tuple[ProcessStatus, Sighting | None]] | None
    orphans: dict[str, Sighting] = {}
    leg: SeenLeg | None = None
    has_legs: bool = True
    gone: dict[str, str] = {}
    """Release -> what of it is not there any more."""
    unseen: tuple[str, ...] = ()


class PlaceDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the drift of a place, and what was decided about it. Kept as long as it says something."""

    service: str
    environment: str
    drifts: tuple[Drift, ...] = ()
    since: str = ""
    deployment_id: str = ""
    accepted: tuple[str, ...] = ()
    """Marks of what is no drift any more, because a person said so; as long as it stays as it is."""
    left: tuple[str, ...] = ()
    """Marks of what a person leaves as it is: shown, and not asked about again."""
    attempts: tuple[str, ...] = ()
    """When it was tried to heal it."""
    told_to_heal: bool = False
    has_given_up: bool = False
    run_id: str = ""
    """The run that heals it now."""

    @property
    def name(self) -> str:
        return f"{self.service}.{self.environment}"

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing worth keeping."""
        return not (self.drifts or self.accepted or self.attempts or self.run_id)


def drift_of(wanted: Wanted, seen: Seen) -> tuple[Drift, ...]:
    """Every difference between what is on record for a place and what is seen of it."""
    found: list[Drift] = []
    if wanted.deployment is not None and seen.instances is not None:
        for instance in wanted.deployment.instances:
            if instance.key in seen.instances:
                found += _instance(wanted, wanted.deployment, instance, *seen.instances[instance.key])
    found += [_orphan(key, sighting) for key, sighting in sorted(seen.orphans.items())]
    if seen.has_legs:
        found += _leg(wanted, seen.leg)
    found += _artifacts(wanted, seen.gone)
    return tuple(found)


def _instance(
    wanted: Wanted, deployment: Deployment, instance: Instance, status: ProcessStatus, sighting: Sighting | None
) -> list[Drift]:
    name, key = f"{deployment.target} of {deployment.version}", instance.key
    if status.state in {"running", "starting"}:
        return _replaced(wanted, deployment, instance, sighting)
    if status.state == "unknown":
        return []
    if status.state == "absent":
        return [_about("absent", key, "running", "absent", f"the {name} is not there any more ({key})")]
    if status.state == "lost" or status.reason == "stopped":
        why = f": {status.message}" if status.message else ""
        return [_about("stopped", key, "running", status.state, f"the {name} was stopped from outside ({key}){why}")]
    ending = status.reason.replace("_", " ") or "ended"
    return [_about("ended", key, "running", status.state, f"the {name} has ended by itself: {ending} ({key})")]


def _replaced(wanted: Wanted, deployment: Deployment, instance: Instance, sighting: Sighting | None) -> list[Drift]:
    if sighting is None:
        return []
    image = wanted.release.image if wanted.release else ""
    recorded = wanted.identities.get(instance.key, "")
    labels = {"interlock.service": deployment.service, "interlock.environment": deployment.environment}
    if sighting.image and image and _bare(sighting.image) != _bare(image):
        expected, seen = image, sighting.image
    elif deployment.target == "container" and not labels.items() <= sighting.labels.items():
        expected, seen = "the labels of this control plane", "other labels"
    elif recorded and sighting.identity != recorded:
        expected, seen = recorded, sighting.identity
    else:
        return []
    detail = f"another {deployment.target} runs in the place of that of {deployment.version} ({instance.key}): {seen}"
    return [_about("replaced", instance.key, expected, seen, detail)]


def _orphan(key: str, sighting: Sighting) -> Drift:
    about = f"{key}, {sighting.image[:19]}" if sighting.image else key
    return _about("orphan", key, "", sighting.identity, f"{about} runs, and nothing on record wants it")


def _leg(wanted: Wanted, leg: SeenLeg | None) -> list[Drift]:
    route, deployment = wanted.route, wanted.deployment
    name = f"{route.name}.stable"
    addresses = deployment.addresses if deployment else ()
    if not addresses:
        if leg is None or not leg.shares:
            return []
        seen = told(leg.shares)
        return [_about("leg_unwanted", name, "nowhere", seen, f"port {leg.port} leads to {seen}; nothing is to serve")]
    expected = ordered(route.shares or evenly(addresses))
    if leg is None or leg.port != route.stable_port:
        seen = f"port {leg.port}" if leg else "no leg"
        detail = f"the forwarder does not listen on port {route.stable_port} any more"
        return [_about("leg_gone", name, told(expected), seen, detail)]
    if ordered(leg.shares) == expected:
        return []
    seen = told(leg.shares)
    if not leg.shares:
        return [_about("leg_nowhere", name, told(expected), seen, f"port {route.stable_port} leads nowhere")]
    meant = {share.address for share in expected}
    kind: DriftKind = "leg_shares" if {share.address for share in leg.shares} <= meant else "leg_elsewhere"
    detail = f"port {route.stable_port} leads to {seen}, not to {told(expected)}"
    return [_about(kind, name, told(expected), seen, detail)]


def _artifacts(wanted: Wanted, gone: dict[str, str]) -> list[Drift]:
    about: list[tuple[DriftKind, Release | None, str]] = [
        ("release_gone", wanted.release, "what serves could not be started again"),
        ("fallback_gone", wanted.fallback, "there is no way back to"),
    ]
    return [
        _about(kind, release.release_id, "there", "gone", f"{said} {release.version}: {gone[release.release_id]}")
        for kind, release, said in about
        if release is not None and release.release_id in gone
    ]


def _about(kind: DriftKind, what: str, expected: str, seen: str, detail: str) -> Drift:
    return Drift(kind=kind, what=what, expected=expected, seen=seen, detail=detail)


def _bare(image: str) -> str:
    return image.removeprefix("sha256:")


def ordered(shares: Shares) -> Shares:
    """The shares in one order: it does not matter in which they are written."""
    return tuple(sorted(shares))


def told(shares: Shares) -> str:
    """Shares in words, such as ``50 % 20001, 50 % 20002``."""
    return ", ".join(f"{share.percent} % {share.address.short}" for share in ordered(shares)) or "nowhere"


# --- what becomes of what was seen ---


def confirmed(place: PlaceDrift, found: Sequence[Drift], before: Iterable[str], seen: Seen) -> tuple[Drift, ...]:
    """What counts as drift: seen twice in a row (``before`` are the marks of the last look), or known and still seen. What was
    known and cannot be observed at this moment stays known. What was accepted is none."""
    known = {drift.mark for drift in place.drifts}
    sure = {drift.mark: drift for drift in found if drift.mark in known or drift.mark in set(before)}
    for drift in place.drifts:
        hidden = (drift.kind in INSTANCES | {"orphan"} and seen.instances is None) or (drift.kind in LEGS and not seen.has_legs)
        if hidden:
            sure[drift.mark] = drift
    return tuple(drift for mark, drift in sure.items() if mark not in place.accepted)


def next_step(place: PlaceDrift, rule: Rule, now: datetime, *, can_heal: bool, is_judged: bool) -> Step:
    """What is to be done about the drift of a place. ``can_heal``: what serves was brought by a plan that says how.
    ``is_judged``: the watch or a run found something wrong with what serves, so that the matter is theirs."""
    open_ones = [drift for drift in place.drifts if drift.kind != "ended"]
    if not open_ones or is_judged or place.run_id:
        return "nothing"
    heals = can_heal and any(drift.kind in HEALABLE for drift in open_ones)
    if place.told_to_heal and heals:
        return "heal"
    if all(drift.mark in place.left for drift in open_ones):
        return "nothing"
    if rule == "ask" or not heals:
        return "ask"
    if place.has_given_up:
        return "nothing"
    recent = [from_text(at) for at in recent_attempts(place.attempts, now)]
    if len(recent) >= MAX_ATTEMPTS:
        return "give_up"
    return "wait" if recent and now < recent[-1] + BACKOFF * 2 ** (len(recent) - 1) else "heal"


def recent_attempts(attempts: Iterable[str], now: datetime) -> tuple[str, ...]:
    """The attempts that still count."""
    return tuple(at for at in attempts if from_text(at) > now - ATTEMPTS_WITHIN)


def answers_to(place: PlaceDrift, *, can_heal: bool) -> tuple[str, ...]:
    """What a person may say to the drift of a place."""
    heals = can_heal and any(drift.kind in HEALABLE for drift in place.drifts)
    accepts = all(drift.kind in ACCEPTABLE for drift in place.drifts)
    return (*(("heal",) if heals else ()), *(("accept",) if accepts else ()), "leave")


def in_words(drifts: Sequence[Drift]) -> str:
    """All differences in a sentence, at most three of them in full."""
    more = f"; and {len(drifts) - 3} more" if len(drifts) > 3 else ""
    return "; ".join(drift.detail for drift in drifts[:3]) + more
