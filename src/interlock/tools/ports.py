"""What tools need from the outside: processes on a host, and HTTP requests."""

from typing import Literal, Protocol

import msgspec

ProcessState = Literal["absent", "starting", "running", "exited", "lost", "unknown"]


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, as data.

    ``commands`` run one after the other, each an argument list without a shell, as by ``&&``; for a service the last one
    stays. ``environment`` is the whole environment: nothing is inherited.
    """

    kind: Literal["job", "service"]
    commands: tuple[tuple[str, ...], ...]
    folder: str
    environment: dict[str, str]
    secret_variables: tuple[str, ...] = ()
    """Variables whose values are masked wherever the process's output is read."""
    timeout_s: float | None = None
    """For a job, over all commands; then the whole process group and every descendant is killed."""
    grace_s: float = 10.0
    """Between SIGTERM and SIGKILL."""
    output_limit_bytes: int = 4 * 1024 * 1024
    """A job's output beyond this is counted, not kept; a service's log is rotated at this size and two old files kept."""
    port: int | None = None
    """Where the service will listen on 127.0.0.1. Refused as ``port_taken`` when something listens there already."""
    max_restarts: int = 5
    """A service that ends by itself is started again this often in a row, with a doubling delay; running stably starts anew."""
    restart_delay_s: float = 0.5


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What is observed of a supervised process, now.

    ``absent``: nothing was ever started under the key. ``starting``: its supervisor has not yet recorded a process, or waits
    before it restarts a service. ``exited``: it ended for good (``reason`` says how). ``lost``: its supervisor is gone without
    a word and nothing of it runs, or somebody outside stopped it, or froze it (then there is a ``pid``). ``unknown``: it cannot
    be told, or the supervisor is gone and something of it still runs, which `Host.stop` ends (``message`` says which).
    """

    state: ProcessState
    identity: str = ""
    """Which container it is: its full id, which no other one has, so that one that somebody else put under the same key can
    be told from the one that was started. Empty for a process, and for what is not there or cannot be observed."""
    pid: int | None = None
    started_at: str = ""
    restarts: int = 0
    exit_code: int | None = None
    """Negative for a signal, as in `subprocess`."""
    reason: Literal["", "completed", "failed", "timeout", "stopped", "port_taken", "not_executable", "gave_up"] = ""
    message: str = ""
    output_bytes: int = 0
    """Kept so far, what was rotated away since included: the offset at which the log ends."""
    dropped_bytes: int = 0
    """Never kept: beyond a job's limit, or written while the disk was full."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """Something that runs, or is about to be started again, at a glance.

    ``identity`` tells it from another one under the same key. ``image`` and ``labels`` are those of a container.
    """

    identity: str
    image: str = ""
    labels: dict[str, str] = {}
    is_paused: bool = False
    """Somebody froze it: it is there, and does nothing."""


class LogChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a process's output (stdout and stderr in one), the values of secrets masked.

    ``begin`` is the offset at which it really begins: greater than the one that was asked for where what stood there is not
    kept any more. ``next_offset`` is where to read on. Offsets count bytes as they were written; the text has others.
    """

    text: str
    begin: int
    next_offset: int


class Workloads(Protocol):
    """What runs under keys somewhere, whatever started it. It outlives the control plane."""

    async def status(self, key: str) -> ProcessStatus:
        """What is observed now; never raises for an unknown key (``absent``)."""
        ...

    async def wait(self, key: str, timeout_s: float | None = None) -> ProcessStatus:
        """Wait until it has ended (``exited``, ``lost``, ``absent``) or the time is over; returns the status then."""
        ...

    async def stop(self, key: str, grace_s: float | None = None) -> ProcessStatus:
        """SIGTERM, then SIGKILL after the grace, to the process and all its descendants. Idempotent."""
        ...

    async def log(self, key: str, offset: int = 0, limit_bytes: int = 65536) -> LogChunk:
        """Output from ``offset`` on; a negative offset counts from the end. Undecodable bytes are replaced.

        Pieces may be cut anywhere: a value of a secret is masked whole, see `interlock.tools.masking`.
        """
        ...

    async def list(self) -> dict[str, ProcessStatus]:
        """Every key known there, with its status."""
        ...

    async def survey(self) -> dict[str, Sighting]:
        """What runs now, by key, as cheaply as it can be told: what ended is left out, and is not looked at each time."""
        ...

    async def remove(self, key: str) -> None:
        """Forget what has ended, and its files. Raises Conflict ``process_running`` while it runs. Idempotent."""
        ...


class Host(Workloads, Protocol):
    """Supervised processes on one host."""

    async def start(self, key: str, spec: ProcessSpec) -> ProcessStatus:
        """Start under ``key``, exclusively. Returns once the first process runs or has ended.

        Raises Conflict ``process_exists`` when the key was used before (whatever became of it), Unavailable where the host
        cannot take it now (no space, no processes left).
        """
        ...


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an HTTP request got: ``status`` 0 means no answer, and ``error`` says why."""

    status: int
    elapsed_ms: float
    body: str = ""
    """At most 64 KiB of it."""
    error: str = ""


class HttpClient(Protocol):
    """Plain HTTP requests with a hard time limit; redirects are not followed."""

    async def get(self, url: str, *, timeout_s: float = 5.0) -> HttpAnswer:
        """Never raises for what the other side does."""
        ...
