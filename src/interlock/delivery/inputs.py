"""The inputs of delivery's tasks: what a plan fixes when it is made, and what earlier tasks add."""

from typing import Any

import msgspec

from interlock.sources.model import HealthCheck, Recipe, SmokeTest, WatchPolicy


class CommandTask(msgspec.Struct, frozen=True, kw_only=True):
    commands: list[list[str]]
    folder: str
    environment: dict[str, str]
    timeout_s: float


class ReleaseTask(msgspec.Struct, frozen=True, kw_only=True):
    release_id: str
    service: str
    version: str
    commit: str
    content: str
    folder: str
    recipe: Recipe


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


class ProcessPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a release is started."""

    commands: list[list[str]]
    folder: str
    environment: dict[str, str]
    secrets: dict[str, str]
    takes_port: bool


class StartTask(msgspec.Struct, frozen=True, kw_only=True):
    """``expects`` is the deployment that must serve now (empty for none): what the plan was made against."""

    place: Place
    release_id: str
    process: ProcessPlan
    watch: WatchPolicy
    expects: str


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What a start gives to the tasks behind it."""

    deployment_id: str
    process: str
    port: int | None


class VerifyTask(msgspec.Struct, frozen=True, kw_only=True):
    place: Place
    health: HealthCheck | None
    takes_port: bool
    deployment_id: str | None = None
    process: str | None = None
    port: int | None = None


class SwitchTask(msgspec.Struct, frozen=True, kw_only=True):
    """``fallback`` is the release that a rollback would need; it must be intact before traffic moves. ``expects`` is the
    deployment that serves until now, None where that does not matter. With ``stays`` the traffic is left where it is."""

    place: Place
    deployment_id: str | None = None
    port: int | None = None
    takes_port: bool = True
    fallback: str = ""
    expects: str | None = None
    stays: bool | None = None


class SmokeTask(msgspec.Struct, frozen=True, kw_only=True):
    """``port`` is where the service is asked: the stable leg's, or the one at which it listens if it can be told none."""

    place: Place
    port: int
    tests: list[SmokeTest]
    folder: str
    environment: dict[str, str]
    deployment_id: str | None = None


class WatchTask(msgspec.Struct, frozen=True, kw_only=True):
    place: Place
    health: HealthCheck | None
    takes_port: bool
    deployment_id: str
    process: str
    port: int | None = None


class StopTask(msgspec.Struct, frozen=True, kw_only=True):
    """Stop the process of a deployment that traffic has left. ``drain_s`` is the time for requests under way. Where the
    candidate of this run is meant, None stands for whatever it has started."""

    place: Place
    deployment_id: str | None = None
    state: str = "retired"
    reason: str = ""
    drain_s: float = 1.0
    takes_port: bool = True
    expects: str = ""


class RestoreTask(msgspec.Struct, frozen=True, kw_only=True):
    """Make sure that the last known good runs. ``release_id`` and ``deployment_id`` are empty when there is none: then nothing
    will serve. ``candidate`` is the deployment that went wrong."""

    place: Place
    release_id: str
    deployment_id: str
    candidate: str | None = None
    process: ProcessPlan | None = None
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


def read(kind: type[Any], inputs: dict[str, Any]) -> Any:
    """The typed inputs of a task. Raises msgspec.ValidationError where the graph and the executor disagree."""
    return msgspec.convert(inputs, kind)
