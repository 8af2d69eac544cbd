"""What is delivered where: services, environments, releases, deployments, incidents; and their rules."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from interlock.core.addresses import LOCAL, Address, is_host, local
from interlock.core.canonical import digest
from interlock.core.errors import Invalid
from interlock.sources.model import Recipe, Target, WatchPolicy

Health = Literal["healthy", "unhealthy", "unknown"]
FoundBy = Literal["run", "watch", "host"]
"""Who found what went wrong: the ``run`` that acts on it, or the ``watch`` after the run. ``host``: no release is to blame."""
IncidentState = Literal["open", "acknowledged", "resolved"]
DeploymentState = Literal["starting", "live", "good", "paused", "retired", "failed", "rolled_back", "drilling", "drilled"]
"""``starting``: its process was started. ``live``: traffic goes to it, the watch has not passed. ``good``: the watch passed.
``paused``: stopped so that another one can take its place. ``retired``: another one took over, or it was stopped. ``failed``:
it never got traffic. ``rolled_back``: traffic was taken from it because it was bad. ``drilling``: started to prove that it
could be, and never led traffic to; ``drilled``: that was proven, and it was stopped."""

_NEXT: dict[DeploymentState, frozenset[DeploymentState]] = {
    "starting": frozenset({"live", "failed"}),
    "live": frozenset({"good", "paused", "retired", "rolled_back"}),
    "good": frozenset({"paused", "retired", "rolled_back"}),
    "paused": frozenset({"live", "good", "retired", "rolled_back"}),
    "retired": frozenset(),
    "failed": frozenset(),
    "rolled_back": frozenset(),
    "drilling": frozenset({"drilled", "failed"}),
    "drilled": frozenset(),
}


def may_become(now: DeploymentState, then: DeploymentState) -> bool:
    """Whether a deployment may go from ``now`` to ``then``; staying is allowed, so that a repeated step is harmless."""
    return now == then or then in _NEXT[now]


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is delivered, from one repository. ``watch`` overrides the module's thresholds, field by field."""

    name: str
    repository: str
    created_at: str
    watch: WatchPolicy = WatchPolicy()


class Share(msgspec.Struct, frozen=True, kw_only=True, order=True, omit_defaults=True):
    """So many percent (1 to 100) of a leg's requests go to ``port`` of ``host``, an IPv4 address."""

    port: int
    percent: int
    host: str = LOCAL

    @property
    def address(self) -> Address:
        return Address(self.host, self.port)


Shares = tuple[Share, ...]
"""Where a leg leads: 100 percent in all, or nothing at all, which answers 503."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service is reached in an environment: fixed ports of the forwarder on 127.0.0.1."""

    service: str
    environment: str
    stable_port: int
    candidate_port: int
    deployment_id: str = ""
    """The deployment that serves, empty for none."""
    shares: Shares = ()
    """Where the stable leg was led last; between two steps of a roll-out other deployments have a share in it."""

    @property
    def name(self) -> str:
        return f"{self.service}.{self.environment}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.stable_port}"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable build of a service: ``folder`` holds the files whose list hashes to ``bundle``, and ``image`` is the id of
    what was built of them for containers (empty for processes). ``reference`` names the image in a registry, by digest, where
    one has it."""

    release_id: str
    service: str
    version: str
    commit: str
    content: str
    """What it was made of: see `content_of`. Two tags of the same content are the same content."""
    folder: str
    bundle: str
    built_at: str
    built_by: str
    recipe: Recipe
    image: str = ""
    reference: str = ""
    container_port: int | None = None
    """Where the service listens inside its container."""


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One process or container of a deployment: the key under which its target knows it, and where it is reached. ``host`` is
    another one than this where its engine is. ``identity`` is the id of the container that was started (empty for a process):
    another one can get under the same key."""

    key: str
    port: int | None = None
    host: str = LOCAL
    identity: str = ""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A release in an environment, as instances that share its traffic."""

    deployment_id: str
    service: str
    environment: str
    release_id: str
    version: str
    state: DeploymentState
    instances: tuple[Instance, ...]
    target: Target = "process"
    plan_id: str
    run_id: str
    watch: WatchPolicy
    started_at: str
    live_at: str = ""
    good_at: str = ""
    """When its watch passed, or that of the deployment whose place it took; empty for never. What never was good is nothing to
    go back to, whatever became of it."""
    stands_for: str = ""
    """The deployment as which this one came there first, where it was healed, restored, restarted or gone back to since: before
    that lies what a rollback goes back to. Empty for one that came with it."""
    ended_at: str = ""

    @property
    def settled(self) -> DeploymentState:
        """What it is once it serves again: what it was proven to be."""
        return "good" if self.good_at else "live"

    def takes_after(self, former: "Deployment") -> "Deployment":
        """The same in the place of ``former``, of which it is another start: a later rollback follows the plan that first
        brought that, and it counts for as much."""
        return msgspec.structs.replace(self, plan_id=former.plan_id, good_at=former.good_at, stands_for=former.came_as)

    @property
    def came_as(self) -> str:
        """The deployment as which it came there first."""
        return self.stands_for or self.deployment_id

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where its instances are reached."""
        return addresses_of(self.instances)

    @property
    def place(self) -> str:
        """What it is and where, for people."""
        return f"{self.service} {self.version} in {self.environment}"


class Quarantine(msgspec.Struct, frozen=True, kw_only=True):
    """Content that was rolled back and must not be deployed again until a person lifts it."""

    service: str
    content: str
    version: str
    incident_id: str
    reason: str
    at: str
    lifted_by: str = ""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Something went wrong with a deployment. ``evidence`` holds the observed numbers beside their thresholds.

    ``acknowledged``: somebody takes care of it; for the watch it is as open as before.
    """

    incident_id: str
    service: str
    environment: str
    deployment_id: str
    release_id: str
    version: str
    severity: Literal["warning", "critical"]
    title: str
    evidence: dict[str, Any]
    found_by: FoundBy
    opened_at: str
    state: IncidentState
    timeline: tuple[tuple[str, str], ...] = ()
    """(time, what happened), oldest first."""
    resolved_at: str = ""
    resolved_by: str = ""
    acknowledged_at: str = ""
    acknowledged_by: str = ""
    ways_back: tuple[tuple[str, str], ...] = ()
    """(what asked for it, role of the run): the ways back that were begun; the incident asks by itself, people by an item."""


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """A rollback that was tried out beside what served, ``behind``. ``reason`` says why it would not have worked."""

    drill_id: str
    service: str
    environment: str
    release_id: str
    version: str
    behind: str
    outcome: Literal["proven", "failed"]
    at: str
    reason: str = ""
    plan_id: str = ""
    run_id: str = ""


def gets_requests(deployment: Deployment, route: Route) -> bool:
    """Whether the stable leg is led to the deployment: to its instances, or to the candidate leg before it has switched."""
    led_to = {share.address for share in route.shares}
    is_candidate = route.deployment_id != deployment.deployment_id
    return bool(led_to & set(deployment.addresses)) or (is_candidate and local(route.candidate_port) in led_to)


def evenly(addresses: Sequence[Address], percent: int = 100) -> Shares:
    """``percent`` spread over ``addresses``, the first ones getting what is left over; those beyond the percents get none."""
    each, left = divmod(percent, len(addresses)) if addresses else (0, 0)
    shares = [
        Share(host=address.host, port=address.port, percent=each + (number < left)) for number, address in enumerate(addresses)
    ]
    return tuple(share for share in shares if share.percent)


def check_shares(shares: Sequence[Share]) -> None:
    """Raises Invalid ``shares`` unless they make 100 percent of different addresses; none at all are fine."""
    addresses = {share.address for share in shares}
    is_whole = sum(share.percent for share in shares) == 100 and all(share.percent > 0 for share in shares)
    can_be = all(0 < address.port < 65536 and is_host(address.host) for address in addresses)
    if shares and not (is_whole and len(addresses) == len(shares) and can_be):
        said = ", ".join(f"{share.percent} % to {share.address.short}" for share in shares)
        hint = "100 percent in all, each address once, a host as its IPv4 address"
        raise Invalid("shares", f"these are no shares of a leg: {said[:500]}", hint=hint)


def addresses_of(instances: Iterable[Instance]) -> tuple[Address, ...]:
    """Where these instances are reached, those left out that take no port."""
    return tuple(Address(instance.host, instance.port) for instance in instances if instance.port is not None)


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as it is observed now; recomputed each time, never stored as the truth."""

    health: Health
    process: str
    """What its instances are, as far as they are all the same, such as ``running``; else what the worst one is."""
    restarts: int
    routed: bool
    """Whether the forwarder leads the stable leg to it."""
    reason: str


def content_of(tree: str, recipe: Recipe) -> str:
    """The identity of what would be deployed: the git tree and the recipe, without names and versions given to them."""
    # The name is another's to give, and the version what a tag says: neither changes what is built.
    plain = {key: value for key, value in msgspec.to_builtins(recipe).items() if key not in {"version", "description"}}
    return digest({"tree": tree, "recipe": plain})


def judge_health(*, process: str, answers: bool | None, has_check: bool) -> tuple[Health, str]:
    """Healthy, unhealthy or unknown, and why. ``answers`` is the health check's result, None where it was not made."""
    if process == "unknown":
        return "unknown", "the process cannot be observed"
    if process != "running":
        return "unhealthy", f"the process is {process}"
    if has_check and answers is None:
        return "unknown", "the health check was not answered in time to tell"
    if has_check and not answers:
        return "unhealthy", "the health check fails"
    return "healthy", "the process runs" + (" and the health check passes" if has_check else "")
