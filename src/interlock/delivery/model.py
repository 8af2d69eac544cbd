"""What is delivered where: services, environments, releases, deployments, incidents; and their rules."""

from typing import Any, Literal

import msgspec

from interlock.core.canonical import digest
from interlock.sources.model import Recipe, WatchPolicy

Health = Literal["healthy", "unhealthy", "unknown"]
FoundBy = Literal["run", "watch", "host"]
"""Who found what went wrong: the ``run`` that acts on it, or the ``watch`` after the run. ``host``: no release is to blame."""
IncidentState = Literal["open", "acknowledged", "resolved"]
DeploymentState = Literal["starting", "live", "good", "paused", "retired", "failed", "rolled_back"]
"""``starting``: its process was started. ``live``: traffic goes to it, the watch has not passed. ``good``: the watch passed; it
is what a rollback goes back to. ``paused``: stopped so that another one can take its place. ``retired``: another one took
over, or it was stopped. ``failed``: it never got traffic. ``rolled_back``: traffic was taken from it because it was bad."""

_NEXT: dict[DeploymentState, frozenset[DeploymentState]] = {
    "starting": frozenset({"live", "failed"}),
    "live": frozenset({"good", "paused", "retired", "rolled_back"}),
    "good": frozenset({"paused", "retired", "rolled_back"}),
    "paused": frozenset({"good", "retired", "rolled_back"}),
    "retired": frozenset(),
    "failed": frozenset(),
    "rolled_back": frozenset(),
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


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service is reached in an environment: fixed ports of the forwarder on 127.0.0.1."""

    service: str
    environment: str
    stable_port: int
    candidate_port: int
    deployment_id: str = ""
    """The deployment that serves, empty for none."""

    @property
    def name(self) -> str:
        return f"{self.service}.{self.environment}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.stable_port}"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable build of a service: ``folder`` holds the files whose list hashes to ``bundle``."""

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


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A release in an environment, as one supervised process."""

    deployment_id: str
    service: str
    environment: str
    release_id: str
    version: str
    state: DeploymentState
    process: str
    """The key of its process on the host; empty until it was started."""
    port: int | None
    plan_id: str
    run_id: str
    watch: WatchPolicy
    started_at: str
    live_at: str = ""
    ended_at: str = ""


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


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as it is observed now; recomputed each time, never stored as the truth."""

    health: Health
    process: str
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
