"""Tools that run processes on a host: a job that ends, a service that stays, and its stop.

All are keyed: the host takes one process a key, in an exclusive folder, and knows afterwards what became of it. A job
survives the control plane; whoever comes back to it waits for its end instead of running it again.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from interlock.core.errors import Conflict, Unavailable
from interlock.tools.endings import ending, job_failure, tail_of
from interlock.tools.model import Call, Done, Effect, Keying, NotDone, Probe, Tool, Unknown
from interlock.tools.ports import Host, ProcessSpec, ProcessStatus, Workloads
from interlock.tools.secrets import SecretSource, secret_values

PORT_PLACEHOLDER = "{port}"


class CommandInput(msgspec.Struct, frozen=True, kw_only=True):
    """``commands`` run one after the other in ``folder``, each an argument list; ``environment`` joins the host's base."""

    commands: list[list[str]]
    folder: str
    environment: dict[str, str]
    secrets: dict[str, str] = {}
    """Variable -> reference of a secret; the value joins the environment when the process starts."""
    timeout_s: float = 1800.0


class CommandOutput(msgspec.Struct, frozen=True, kw_only=True):
    """``tail`` is the end of what it printed."""

    key: str
    tail: str
    output_bytes: int
    dropped_bytes: int


class RunCommand:
    """``command.run``: run commands to their end. Raises Conflict ``command_failed`` with the end of the output."""

    name = "command.run"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = CommandInput
    output = CommandOutput

    def __init__(self, host: Host, base: Mapping[str, str], secrets: SecretSource) -> None:
        self._host = host
        self._base = base
        self._secrets = secrets

    async def act(self, call: Call, arguments: CommandInput) -> CommandOutput:
        spec = ProcessSpec(
            kind="job",
            commands=tuple(tuple(command) for command in arguments.commands),
            folder=arguments.folder,
            environment={**self._base, **arguments.environment} | secret_values(arguments.secrets, self._secrets),
            secret_variables=tuple(arguments.secrets),
            timeout_s=arguments.timeout_s,
        )
        try:
            await self._host.start(call.key, spec)
        except Conflict as error:
            if error.code != "process_exists":
                raise
        status = await self._host.wait(call.key)
        tail = await tail_of(self._host, call.key)
        if status.state == "exited" and status.reason == "completed":
            sizes = {"output_bytes": status.output_bytes, "dropped_bytes": status.dropped_bytes}
            return CommandOutput(key=call.key, tail=tail, **sizes)
        raise job_failure(status, arguments.commands, arguments.timeout_s, tail)

    async def probe(self, call: Call, arguments: CommandInput) -> Probe:
        status = await self._host.status(call.key)
        if status.state == "unknown":
            sizes = {"output_bytes": status.output_bytes, "dropped_bytes": status.dropped_bytes}
            return Unknown(status.message, {"key": call.key, "tail": "", **sizes})
        if status.state == "exited" and status.reason == "completed":
            sizes = {"output_bytes": status.output_bytes, "dropped_bytes": status.dropped_bytes}
            return Done({"key": call.key, "tail": await tail_of(self._host, call.key), **sizes})
        # Running or failed is for `act` to take up: the key cannot be used for a second process.
        return NotDone()

    async def abort(self, call: Call, arguments: CommandInput) -> None:
        await self._host.stop(call.key, 1.0)


class StartInput(msgspec.Struct, frozen=True, kw_only=True):
    """As `CommandInput`; the last command stays. ``port`` replaces ``{port}`` in the commands and becomes ``PORT``."""

    commands: list[list[str]]
    folder: str
    environment: dict[str, str]
    secrets: dict[str, str] = {}
    port: int | None = None
    grace_s: float = 10.0
    max_restarts: int = 5


class StartOutput(msgspec.Struct, frozen=True, kw_only=True):
    """``key`` names the process on its host from now on, and ``identity`` tells which container it was (`ProcessStatus`)."""

    key: str
    port: int | None
    identity: str = ""


class StartProcess:
    """``process.start``: start a service. Raises Conflict ``port_taken`` (try another one) or ``not_started``."""

    name = "process.start"
    effect = Effect.DEPLOY
    keying: Keying = "keyed"
    input = StartInput
    output = StartOutput

    def __init__(self, host: Host, base: Mapping[str, str], secrets: SecretSource) -> None:
        self._host = host
        self._base = base
        self._secrets = secrets

    async def act(self, call: Call, arguments: StartInput) -> StartOutput:
        port = {} if arguments.port is None else {"PORT": str(arguments.port)}
        spec = ProcessSpec(
            kind="service",
            commands=tuple(_with_port(command, arguments.port) for command in arguments.commands),
            folder=arguments.folder,
            environment={**self._base, **arguments.environment, **port} | secret_values(arguments.secrets, self._secrets),
            secret_variables=tuple(arguments.secrets),
            grace_s=arguments.grace_s,
            max_restarts=arguments.max_restarts,
            port=arguments.port,
        )
        try:
            status = await self._host.start(call.key, spec)
        except Conflict as error:
            if error.code != "process_exists":
                raise
            status = await self._host.status(call.key)
        if status.state == "exited" and status.reason == "port_taken":
            raise Conflict("port_taken", status.message or f"port {arguments.port} is taken", where=call.task_id)
        if status.state in {"absent", "exited", "lost"}:
            raise Conflict("not_started", ending(status), where=call.task_id, tail=await tail_of(self._host, call.key))
        return StartOutput(key=call.key, port=arguments.port)

    async def probe(self, call: Call, arguments: StartInput) -> Probe:
        status = await self._host.status(call.key)
        if status.state == "absent":
            return NotDone()
        if status.state == "unknown":
            return Unknown(status.message, {"key": call.key, "port": arguments.port})
        if status.state == "exited" and status.reason == "port_taken":
            return NotDone()
        # It was started; whether it still lives and is healthy is for the checks that follow.
        return Done({"key": call.key, "port": arguments.port})

    async def abort(self, call: Call, arguments: StartInput) -> None:
        await self._host.stop(call.key, 1.0)


class StopInput(msgspec.Struct, frozen=True, kw_only=True):
    """``key`` is what `StartOutput` gave."""

    key: str
    grace_s: float = 10.0


class StopOutput(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended."""

    exit_code: int | None
    reason: str


class StopProcess:
    """``process.stop``: SIGTERM, and SIGKILL after the grace. A process that is gone is a stopped one."""

    name = "process.stop"
    effect = Effect.DEPLOY
    keying: Keying = "keyed"
    input = StopInput
    output = StopOutput

    def __init__(self, host: Workloads) -> None:
        self._host = host

    async def act(self, call: Call, arguments: StopInput) -> StopOutput:
        status = await self._host.stop(arguments.key, arguments.grace_s)
        if _may_run(status):
            raise Unavailable("not_stopped", f"{arguments.key} is still {status.state}", where=call.task_id)
        return StopOutput(exit_code=status.exit_code, reason=status.reason)

    async def probe(self, call: Call, arguments: StopInput) -> Probe:
        status = await self._host.status(arguments.key)
        if _may_run(status):
            return NotDone()
        return Done({"exit_code": status.exit_code, "reason": status.reason})

    async def abort(self, call: Call, arguments: StopInput) -> None:
        """A stop that was begun is brought to its end: nobody may take a process that was told to go for one that stays."""
        await self._host.stop(arguments.key, arguments.grace_s)


def process_tools(host: Host, base: Mapping[str, str], secrets: SecretSource) -> list[Tool[Any, Any]]:
    """The tools of this module on ``host``. ``base`` is the environment that every process gets beneath its own."""
    return [RunCommand(host, base, secrets), StartProcess(host, base, secrets), StopProcess(host)]


def _may_run(status: ProcessStatus) -> bool:
    """Also where it was frozen from outside, and counts as lost."""
    return status.state in {"running", "starting", "unknown"} or status.pid is not None


def _with_port(command: list[str], port: int | None) -> tuple[str, ...]:
    return tuple(command) if port is None else tuple(word.replace(PORT_PLACEHOLDER, str(port)) for word in command)
