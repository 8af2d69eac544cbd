"""What a draft is made from: everything that had to be looked up, as values."""

import msgspec

from interlock.core.addresses import LOCAL
from interlock.core.errors import Invalid
from interlock.delivery.model import Deployment, Release
from interlock.delivery.steps.inputs import Place
from interlock.plans.model import Action, Pin
from interlock.sources.model import Analysis, Finding, WatchPolicy
from interlock.sources.ports import Ref

STRATEGIES = ("recreate", "rolling", "blue-green", "canary")


class EnvironmentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One environment as it is when the plan is made. ``fallback`` is the release to go back to, intact; None where nothing
    serves, or where what serves is to go and its files are damaged."""

    place: Place
    serving: Deployment | None
    fallback: Release | None

    @property
    def name(self) -> str:
        return self.place.environment

    def pin(self) -> Pin:
        if self.serving is None:
            return Pin(environment=self.name)
        pin = Pin(environment=self.name, deployment_id=self.serving.deployment_id, version=self.serving.version)
        if self.fallback is None:
            return pin
        return msgspec.structs.replace(pin, release_id=self.fallback.release_id, bundle=self.fallback.bundle)


class ImagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How the image of a release is built: from the Dockerfile at ``dockerfile`` in the repository, or from ``text``, which was
    generated. ``registry`` is the repository in a registry that it is sent to, empty for none."""

    repository: str
    registry: str
    dockerfile: str = "Dockerfile"
    text: str = ""
    ignore: str | None = None
    container_port: int | None = None
    bases: dict[str, str] = {}
    """Name -> id of the base images that the engine has."""
    findings: tuple[Finding, ...] = ()
    """What its builder will make of the Dockerfile, and which base images are not pinned."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a promoted release comes from: what serves there since ``good_since``. ``skipped`` are the environments in between,
    ``is_backwards`` says that it stands behind a target in promotion order."""

    pin: Pin
    good_since: str
    skipped: tuple[str, ...] = ()
    is_backwards: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The subject of a plan. ``release`` is an intact build of the same content, which is then not built again."""

    plan_id: str
    action: Action
    service: str
    repository: str
    mirror: str
    ref: Ref
    analysis: Analysis
    content: str
    release: Release | None
    release_id: str
    version: str
    folder: str
    """Where the release is or will be built."""
    environments: tuple[EnvironmentFacts, ...]
    watch: WatchPolicy
    """Every threshold said."""
    strategy: str
    wants_smoke: bool
    command_timeout_s: float
    """For one install, build or test command."""
    reason: str
    """Why somebody wants it, where they said so."""
    image: ImagePlan | None = None
    """For what runs in containers and is yet to be built."""
    container_host: str = LOCAL
    """The address at which containers are reached."""
    origin: Origin | None = None
    """Of a promotion."""
    stands_for: str = ""
    """Of a rollback or a restart: the deployment as which the release came there first."""
    pinned: Pin | None = None
    """Of a drill: what the way back of the plan that brought what serves would go to by itself, if there is one."""

    def port(self, environment: EnvironmentFacts) -> int:
        """Where the service is asked: at the forwarder, or where it listens if it can be told no port."""
        recipe = self.analysis.recipe
        return environment.place.stable_port if recipe.takes_port or recipe.port is None else recipe.port

    def url(self, environment: EnvironmentFacts, path: str) -> str:
        return f"http://127.0.0.1:{self.port(environment)}{path}"


def choose_strategy(said: str | None, analysis: Analysis) -> str:
    """Blue-green where the service can be told its port, else recreate. Raises Invalid ``strategy`` for one that cannot be."""
    wanted = said or analysis.recipe.strategy or ("blue-green" if analysis.recipe.takes_port else "recreate")
    if wanted not in STRATEGIES:
        raise Invalid("strategy", f"there is no strategy {wanted!r} here", hint=f"strategies: {', '.join(STRATEGIES)}")
    if wanted != "recreate" and not analysis.recipe.takes_port:
        raise Invalid(
            "strategy",
            f"{wanted} needs a service that can be told its port",
            hint="write {port} into the start command, or choose recreate",
        )
    return wanted
