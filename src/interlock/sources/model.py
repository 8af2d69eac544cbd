"""What a repository says about itself: commands, the recipe to build and run a service, and the evidence for it."""

from typing import Literal

import msgspec

ModuleType = Literal["web_app", "api", "ml_model", "data_pipeline", "infrastructure"]
Strategy = Literal["recreate", "rolling", "blue-green", "canary"]
Target = Literal["process", "container"]
Signal = Literal["error_rate", "p95_ms", "promql", "metric", "log_pattern"]
RollbackPolicy = Literal["automatic", "propose"]
Severity = Literal["info", "warning", "error"]

MODULE_TYPES: tuple[ModuleType, ...] = ("web_app", "api", "ml_model", "data_pipeline", "infrastructure")
SERVICE_TYPES: tuple[ModuleType, ...] = ("web_app", "api")
"""The types that listen on a port, and so cannot be deployed without a start command."""

MODULE_FILES = ("ai-module.yaml", "ai-module.yml")
"""Where a repository says how it is built and run, at its root; the first one that is there decides."""

MAX_MODULE_BYTES = 256 * 1024

PORT_PLACEHOLDER = "{port}"
"""Stands in an argument for the port on which the service has to listen."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Plain commands that run one after the other, each only if the one before succeeded; no shell is involved.

    ``text`` is the command as written, ``argv`` one argument list for each command. ``file`` and ``line`` (1-based, 0 for
    unknown) say where it was written.
    """

    text: str
    argv: tuple[tuple[str, ...], ...]
    file: str = ""
    line: int = 0

    @property
    def takes_port(self) -> bool:
        """Whether an argument holds the placeholder ``{port}``."""
        return any(PORT_PLACEHOLDER in argument for arguments in self.argv for argument in arguments)

    def on_port(self, port: int) -> tuple[tuple[str, ...], ...]:
        """The argument lists with ``port`` in the place of ``{port}``."""
        return tuple(tuple(argument.replace(PORT_PLACEHOLDER, str(port)) for argument in arguments) for arguments in self.argv)


class SmokeTest(msgspec.Struct, frozen=True, kw_only=True):
    """A check of the running service: either an HTTP GET of ``path``, or ``command``; exactly one of them is given."""

    name: str
    path: str | None = None
    expect_status: int = 200
    expect_text: str | None = None
    """Must occur in the answer's body, or in the command's output."""
    command: Command | None = None


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP GET that answers 2xx while the service is well."""

    path: str
    interval_s: float = 1.0
    timeout_s: float = 2.0
    healthy_after: int = 2
    """Good answers in a row."""
    start_timeout_s: float = 60.0


class WatchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds of the watch after a deployment. Every field is optional: None means that the module does not say, and the
    planner asks the service's and the environment's settings."""

    window_s: float | None = None
    interval_s: float | None = None
    min_requests: int | None = None
    error_rate: float | None = None
    """As a share, 0 to 1."""
    p95_ms: float | None = None
    health_failures: int | None = None
    """In a row."""
    restarts: int | None = None


class CanaryStep(msgspec.Struct, frozen=True, kw_only=True):
    """So many percent of the requests (1 to 99) go to the candidate for ``bake_s`` seconds; then it is judged."""

    percent: int
    bake_s: float


CANARY_STEPS = (CanaryStep(percent=10, bake_s=30.0), CanaryStep(percent=50, bake_s=30.0))
"""The steps of a canary where nobody says others."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of the analysis: a signal of the candidate, by itself (``max``, ``min``) or beside what serves.

    ``query`` is PromQL for ``promql`` (``{service}``, ``{environment}``, ``{release}`` and ``{deployment}`` are replaced), the
    name of a sample of the service's own ``/metrics`` for ``metric``, a regular expression for ``log_pattern`` (its number is
    lines a minute), and empty for the forwarder's ``error_rate`` (a share, 0 to 1) and ``p95_ms``.
    """

    name: str
    signal: Signal
    query: str = ""
    max: float | None = None
    min: float | None = None
    max_increase: float | None = None
    """How much more than the stable one's number is still well."""
    max_ratio: float | None = None
    """How many times the stable one's number is still well."""


class AnalysisPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a candidate is judged while it bakes. With fewer than ``min_requests`` requests to it, and to what serves where both
    are compared, the forwarder's signals are inconclusive. No ``checks``: error rate and 95th percentile are compared."""

    min_requests: int | None = None
    checks: tuple[Check, ...] = ()


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """A command that changes something outside the release before it gets traffic, such as a database. Exactly one of ``undo``
    and ``one_way`` (why it cannot be undone, in words) is said."""

    command: Command
    undo: Command | None = None
    one_way: str = ""


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Upper bounds for one replica; None means not said. Containers are held to them."""

    cpu: float | None = None
    """Cores."""
    memory_mb: int | None = None
    pids: int | None = None


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How to install, build, test and run a service, said by its ``ai-module.yaml`` (tier 1) or found in its files (tier 2)."""

    name: str
    version: str = ""
    description: str = ""
    module_type: ModuleType
    runtime: str = ""
    install: tuple[Command, ...] = ()
    build: tuple[Command, ...] = ()
    test: tuple[Command, ...] = ()
    start: Command | None = None
    port: int | None = None
    """Where the service listens when nobody tells it a port."""
    takes_port: bool = False
    """Whether the service can be told its port, by ``{port}`` in the start command or by the variable PORT."""
    health: HealthCheck | None = None
    smoke: tuple[SmokeTest, ...] = ()
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    """Name of the variable to the name of a secret; never a value."""
    resources: Resources = Resources()
    replicas: int = 1
    """Instances that share the traffic."""
    dependencies: tuple[str, ...] = ()
    """Names of other services."""
    strategy: Strategy | None = None
    target: Target = "process"
    dockerfile: str = ""
    """For containers: the Dockerfile below the repository's root; empty where one is generated."""
    writable: tuple[str, ...] = ()
    """For containers: absolute folders that the service may write to; everything else is read-only, but for ``/tmp``."""
    steps: tuple[CanaryStep, ...] = CANARY_STEPS
    """What a canary goes through before it gets everything, whether the module or a person's words ask for one."""
    drain_s: float = 10.0
    """The longest wait for requests under way before a process that traffic has left is stopped."""
    all_or_nothing: bool = False
    """Of several environments: whether a failure in a later one takes the earlier ones back too."""
    analysis: AnalysisPolicy = AnalysisPolicy()
    migrate: tuple[Migration, ...] = ()
    watch: WatchPolicy = WatchPolicy()
    rollback: RollbackPolicy = "automatic"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Why a claim is made: ``text`` is line ``line`` (1-based, 0 for the whole file) of ``file``; ``confidence`` is 0 to 1."""

    claim: str
    value: str
    file: str
    line: int = 0
    text: str = ""
    confidence: float = 1.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should know before approving."""

    severity: Severity
    code: str
    message: str
    where: str = ""
    hint: str = ""


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a repository at one commit. Tier 1: its module file decides. Tier 2: derived from its files."""

    tier: Literal[1, 2]
    commit: str
    tree: str
    recipe: Recipe
    evidence: tuple[Evidence, ...] = ()
    findings: tuple[Finding, ...] = ()
    places: dict[str, str] = {}
    """Tier 1: where each field of the module file stands, as ``FILE:LINE``."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong in a module file. ``line`` and ``column`` are 1-based; ``path`` is the field, such as ``health.path``."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        advice = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{advice}"
