"""What the container tools need from the outside: an engine that builds images and runs containers under keys."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from interlock.core.addresses import LOCAL
from interlock.tools.ports import ProcessStatus, Workloads

KEY_LABEL = "interlock.key"
"""The key of the call that made a container or an image."""
INSTANCE_LABEL = "interlock.instance"
"""Which control plane made it. Others on the same engine neither see nor touch it."""

OnOutput = Callable[[str], None]
"""Takes each piece of a build's output as it comes."""


class ContainerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Upper bounds, held by the kernel; None where there is none."""

    cpus: float | None = None
    """Cores."""
    memory_mb: int | None = None
    """Memory and swap together. A container that needs more is killed."""
    pids: int | None = 512
    """Processes and threads."""


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, as data.

    Whatever is not said here is closed: no capabilities, no new privileges, a read-only root with a small ``/tmp`` in memory, a
    port on the loopback interface alone, unless ``host`` says another one. ``environment`` joins the image's own.
    """

    kind: Literal["job", "service"] = "service"
    """A job is never started again; a service that fails is, ``max_restarts`` times."""
    image: str
    """An image id or a reference with a digest: what a tag stands for can change."""
    command: tuple[str, ...] = ()
    """An argument list in the place of the image's entry point and command; empty for the image's own."""
    environment: dict[str, str] = {}
    secret_variables: tuple[str, ...] = ()
    """Variables whose values are masked wherever the container's output is read. Whoever may ask the engine can see them."""
    port: int | None = None
    """Published on ``host``. ``port_taken`` where something listens there already."""
    host: str = LOCAL
    """An IPv4 address of the engine's host."""
    container_port: int | None = None
    """Where the service listens inside, on all interfaces; the same number as ``port`` when not said."""
    joins: str = ""
    """The key of a container that runs. This one shares its network: what listens there is on its own loopback interface, and
    nothing else of the machine is. It publishes no port."""
    limits: ContainerLimits = ContainerLimits()
    writable: tuple[str, ...] = ()
    """Absolute folders that the container may write to. They last as long as it does."""
    user: str = ""
    """As ``uid`` or ``uid:gid``. Empty: the image's own, or a fixed number where the image would run as root."""
    max_restarts: int = 5
    """A service that fails is started again this often in a row, with a doubling delay; ten stable seconds start anew. One that
    ends with 0 has completed."""
    grace_s: float = 10.0
    """Between SIGTERM and SIGKILL; rounded up to whole seconds, which is what engines count in."""
    log_limit_bytes: int = 4 * 1024 * 1024
    """The log is rotated at this size and two old files kept."""
    labels: dict[str, str] = {}


class BuildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An image to build. ``folder`` is sent without what its ``.dockerignore`` names; no secret is sent."""

    folder: str
    tag: str
    """The name it gets, as ``repository:tag``."""
    dockerfile: str = "Dockerfile"
    """Its path below ``folder``."""
    dockerfile_text: str = ""
    """The Dockerfile itself, where none lies in the folder."""
    ignore_text: str | None = None
    """In the place of the folder's ``.dockerignore``."""
    arguments: dict[str, str] = {}
    """Values for ``ARG``; they can be read in the image's history."""
    labels: dict[str, str] = {}
    timeout_s: float = 1800.0


class ImageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine knows of an image that it has."""

    image_id: str
    references: tuple[str, ...] = ()
    """Names with a tag."""
    digests: tuple[str, ...] = ()
    """Names with the digest under which a registry has it, as ``repository@sha256:…``."""
    size_bytes: int = 0
    labels: dict[str, str] = {}
    ports: tuple[int, ...] = ()
    """TCP ports that it says it listens on."""
    user: str = ""
    created_at: str = ""


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers: ``name`` such as ``Docker Engine`` or ``Podman Engine``."""

    name: str
    version: str


class ContainerEngine(Workloads, Protocol):
    """Images and containers of one engine.

    Containers are observed as processes are (`Workloads`), with these differences. `status` is ``unknown`` while the engine
    cannot be reached, and `wait` gives up with ``unknown`` when it stays away; every other method raises Unavailable
    ``engine_down`` then. ``lost`` is what was killed together with its engine. ``output_bytes`` of a status is 0, since engines
    do not count; the ``next_offset`` at the end of `log` is that number. Offsets stay true over rotation; where everything that
    was known of a log is gone, it goes on at an offset that nobody was given, so that whoever reads on sees that some is lost.

    Every method may raise Unavailable ``engine_down``, and ``storage`` where there is no space left.
    """

    async def start(self, key: str, spec: ContainerSpec) -> ProcessStatus:
        """Start under ``key``, exclusively: the engine itself refuses a second container of the name that is made of the key.

        Raises Conflict ``process_exists`` when the key was used before, ``image_missing``, ``not_running`` where what it joins
        does not run; Invalid ``container_spec``.
        """
        ...

    async def ended_jobs(self, image: str, labels: Mapping[str, str]) -> Sequence[str]:
        """The keys of jobs of the image with this id that bear these labels and do not run: they ended, or never began."""
        ...

    async def build(self, spec: BuildSpec, on_output: OnOutput) -> str:
        """Build an image and return its id. Ends with its caller: cancelling this ends the build.

        Raises Conflict ``build_failed`` with the end of the output (``tail``), Conflict ``build_timeout``, Invalid
        ``build_context``, Unavailable ``registry_down`` where a base image cannot be had.
        """
        ...

    async def image(self, reference: str) -> ImageStatus | None:
        """The image by id, tag or digest; None where the engine does not have it."""
        ...

    async def images(self) -> Sequence[ImageStatus]:
        """Every image that this control plane has built here, in one look: without ``ports`` and ``user``."""
        ...

    async def tag(self, image: str, reference: str) -> None:
        """Give an image another name. Raises Conflict ``image_missing``."""
        ...

    async def push(self, reference: str) -> str:
        """Send ``repository:tag`` to its registry; returns the digest. Raises Conflict ``image_missing`` and ``push_refused``,
        Unavailable ``registry_down``."""
        ...

    async def pull(self, reference: str) -> str:
        """Bring ``repository@sha256:…`` here; returns the image's id. Raises Conflict ``image_missing`` where the registry does
        not have it, Unavailable ``registry_down``."""
        ...

    async def remove_image(self, reference: str) -> None:
        """Remove a name or, by id, an image with all its names. Idempotent; never by force: Conflict ``image_in_use``."""
        ...

    async def ping(self) -> EngineInfo:
        """Who answers. Raises Unavailable ``engine_down``."""
        ...
