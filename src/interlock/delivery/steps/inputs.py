"""The inputs of delivery's tasks: what a plan fixes when it is made, and what earlier tasks add."""

from typing import Any

import msgspec

from interlock.core.addresses import LOCAL
from interlock.delivery.model import Instance
from interlock.sources.model import AnalysisPolicy, HealthCheck, Recipe, SmokeTest, Target, WatchPolicy


class CommandTask(msgspec.Struct, frozen=True, kw_only=True):
    commands: list[list[str]]
    folder: str
    environment: dict[str, str]
    timeout_s: float


class MigrateTask(CommandTask, frozen=True, kw_only=True):
    """A command that changes something beside the release, or takes that back. ``secrets``: variable -> reference."""

    secrets: dict[str, str] = {}


class ReleaseTask(msgspec.Struct, frozen=True, kw_only=True):
    release_id: str
    service: str
    version: str
    commit: str
    content: str
    folder: str
    recipe: Recipe
    image: str = ""
    reference: str | None = None
    container_port: int | None = None


class ImageTask(msgspec.Struct, frozen=True, kw_only=True):
    """Build the image of a release from ``folder``; a text stands for a file that does not lie there."""

    folder: str
    repository: str
    dockerfile: str
    dockerfile_text: str
    ignore_text: str | None
    bases: dict[str, str]
    labels: dict[str, str]
    timeout_s: float


class ContainerCommandTask(msgspec.Struct, frozen=True, kw_only=True):
    """Commands that are run in an image, one after the other."""

    image: str
    commands: list[list[str]]
    environment: dict[str, str]
    limits: dict[str, int | float]
    timeout_s: float
    secrets: dict[str, str] = {}
    writable: list[str] = []
    labels: dict[str, str] = {}


class PushTask(msgspec.Struct, frozen=True, kw_only=True):
    image: str
    repository: str
    tag: str


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A service in an environment, with the forwarder's ports."""

    service: str
    environment: str
    stable_port: int
    candidate_port: int

    @property
    def route(self) -> str:
        return f"{self.service}.{self.environment}"

    def url(self, kind: str, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.stable_port if kind == 'stable' else self.candidate_port}{path}"


class ProcessPlan(msgspec.Struct, frozen=True, kw_only=True, tag_field="target", tag="process"):
    """How an instance of a release is started as a process."""

    commands: list[list[str]]
    folder: str
    environment: dict[str, str]
    secrets: dict[str, str]
    takes_port: bool


class ContainerPlan(msgspec.Struct, frozen=True, kw_only=True, tag_field="target", tag="container", omit_defaults=True):
    """How an instance of a release is started as a container. No ``command``: the image's own. ``host`` is where it is
    published."""

    image: str
    environment: dict[str, str]
    secrets: dict[str, str]
    limits: dict[str, int | float]
    writable: list[str]
    labels: dict[str, str]
    takes_port: bool
    command: list[str] = []
    container_port: int | None = None
    host: str = LOCAL


InstancePlan = ProcessPlan | ContainerPlan


def target_of(plan: InstancePlan) -> Target:
    """The kind of target that the instance is for."""
    return "process" if isinstance(plan, ProcessPlan) else "container"


class StartTask(msgspec.Struct, frozen=True, kw_only=True):
    """Start ``count`` instances. ``expects`` is the deployment that must serve now (empty for none): what the plan was made
    against. With ``joins`` they come to those of that deployment, which an earlier task of the run began. ``stands_for`` is the
    deployment as which the release came there first, where this is a rollback or a restart."""

    place: Place
    release_id: str
    instance: InstancePlan
    watch: WatchPolicy
    expects: str
    count: int = 1
    joins: str | None = None
    stands_for: str = ""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What a start gives to the tasks behind it: the deployment, and those instances that it started itself."""

    deployment_id: str
    instances: tuple[Instance, ...]


class VerifyTask(msgspec.Struct, frozen=True, kw_only=True):
    place: Place
    health: HealthCheck | None
    takes_port: bool
    deployment_id: str | None = None
    instances: tuple[Instance, ...] | None = None


class SwitchTask(msgspec.Struct, frozen=True, kw_only=True):
    """``groups`` are the instances that serve then. ``fallback`` is the release that a rollback would need; it must be intact
    before traffic moves. ``expects`` is the deployment that serves until now, None where that does not matter. With ``stays``
    the traffic is left where it is."""

    place: Place
    deployment_id: str | None = None
    groups: tuple[tuple[Instance, ...] | None, ...] = ()
    takes_port: bool = True
    fallback: str = ""
    expects: str | None = None
    stays: bool | None = None


class ShiftTask(msgspec.Struct, frozen=True, kw_only=True):
    """Lead a part of the traffic to a candidate. With ``percent`` so much of it goes through the candidate leg, where it is
    measured, and the rest to ``remaining``; without, every instance of both gets the same, ``groups`` first."""

    place: Place
    expects: str
    fallback: str
    remaining: tuple[Instance, ...]
    groups: tuple[tuple[Instance, ...], ...] = ()
    percent: int | None = None


class ThinTask(msgspec.Struct, frozen=True, kw_only=True):
    """Stop some instances of a deployment, whose share others have taken over."""

    place: Place
    deployment_id: str
    instances: tuple[Instance, ...]
    drain_s: float


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """Where commands run that test a release in a container: in its image, in the network of the first of ``instances``, where
    it listens on ``port``."""

    image: str
    limits: dict[str, int | float]
    writable: list[str]
    labels: dict[str, str]
    instances: tuple[Instance, ...]
    port: int | None = None


class SmokeTask(msgspec.Struct, frozen=True, kw_only=True):
    """``port`` is where the service is asked: a leg's, or the one at which it listens if it can be told none."""

    place: Place
    port: int
    tests: list[SmokeTest]
    folder: str
    environment: dict[str, str]
    deployment_id: str | None = None
    inside: Inside | None = None
    """Of a release in a container; without it commands run in ``folder``, on the host."""


class WatchTask(msgspec.Struct, frozen=True, kw_only=True):
    place: Place
    health: HealthCheck | None
    takes_port: bool
    deployment_id: str


class AnalyseTask(msgspec.Struct, frozen=True, kw_only=True):
    """Judge a candidate that gets ``percent`` of the requests beside ``stable``, which gets the others, for ``bake_s``."""

    place: Place
    deployment_id: str
    stable_id: str
    percent: int
    bake_s: float
    policy: AnalysisPolicy
    health: HealthCheck | None = None


class StopTask(msgspec.Struct, frozen=True, kw_only=True):
    """Stop the instances of a deployment that traffic has left. ``drain_s`` is the longest wait for requests under way. Where
    the candidate of this run is meant, None stands for whatever it has started."""

    place: Place
    deployment_id: str | None = None
    state: str = "retired"
    reason: str = ""
    drain_s: float = 10.0
    takes_port: bool = True
    expects: str = ""


class RestoreTask(msgspec.Struct, frozen=True, kw_only=True):
    """Make sure that the last known good runs. ``release_id`` and ``deployment_id`` are empty when there
    is none: then nothing will serve. ``candidate`` is the deployment that went wrong."""

    place: Place
    release_id: str
    deployment_id: str
    candidate: str | None = None
    instance: InstancePlan | None = None
    former: tuple[Instance, ...] = ()
    """What served when the plan was made."""
    watch: WatchPolicy = WatchPolicy()


class QuarantineTask(msgspec.Struct, frozen=True, kw_only=True):
    """Take a bad deployment out: quarantine its content, stop its process, close its incident. None stands for whatever this
    run has started."""

    place: Place
    deployment_id: str | None = None
    reason: str = ""
    restored_version: str = ""
    restored_release: str = ""
    takes_port: bool = True
    drain_s: float = 10.0


class CheckDrillTask(msgspec.Struct, frozen=True, kw_only=True):
    """Check that a release could be started again, where the deployment ``expects`` serves."""

    place: Place
    release_id: str
    expects: str


class EndDrillTask(msgspec.Struct, frozen=True, kw_only=True):
    """Stop what a drill has started. ``is_proven``: it did all that it should; None for the deployment stands for whatever this
    run has started."""

    place: Place
    is_proven: bool
    deployment_id: str | None = None


class ConfirmTask(msgspec.Struct, frozen=True, kw_only=True):
    """The release that is promoted, and the environment where it must serve and be good."""

    service: str
    environment: str
    release_id: str


class MendTask(msgspec.Struct, frozen=True, kw_only=True):
    """Start again what is missing of ``deployment_id``, which serves. ``replaced`` are keys under which another one runs."""

    place: Place
    deployment_id: str
    release_id: str
    instance: InstancePlan
    takes_port: bool
    replaced: tuple[str, ...] = ()


class Mended(msgspec.Struct, frozen=True, kw_only=True):
    """What serves once it was mended: ``survivors`` and ``instances``, which were started again in the place of ``gone``.
    ``candidate`` is where the new ones are on record, None where there are none."""

    deployment_id: str
    candidate: str | None = None
    instances: tuple[Instance, ...] = ()
    survivors: tuple[Instance, ...] = ()
    gone: tuple[Instance, ...] = ()


class LeadTask(msgspec.Struct, frozen=True, kw_only=True):
    """Lead the traffic to ``deployment_id``, which takes the place of ``former`` where it is another one."""

    place: Place
    former: str
    deployment_id: str
    survivors: tuple[Instance, ...]
    takes_port: bool


class ClearTask(msgspec.Struct, frozen=True, kw_only=True):
    """Stop what is left of ``gone``, which belonged to ``former``, and ``orphans``: keys that nothing on record wants."""

    place: Place
    former: str
    gone: tuple[Instance, ...]
    orphans: tuple[str, ...]
    takes_port: bool


def read(kind: type[Any], inputs: dict[str, Any]) -> Any:
    """The typed inputs of a task. Raises msgspec.ValidationError where the graph and the executor disagree."""
    return msgspec.convert(inputs, kind)
