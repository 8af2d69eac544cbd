"""Tools that run containers: a job that ends, a service that stays, and its stop.

Keyed as the tools of processes are (`interlock.tools.process`), and with the same output: the engine takes one container a
name, and knows afterwards what became of it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from interlock.core.addresses import LOCAL
from interlock.core.errors import Conflict, Unavailable
from interlock.tools.containers.ports import ContainerEngine, ContainerLimits, ContainerSpec
from interlock.tools.endings import ending, job_failure, length_of, tail_of
from interlock.tools.model import Call, Done, Effect, Keying, NotDone, Probe, Tool, Unknown
from interlock.tools.ports import ProcessStatus
from interlock.tools.process import CommandOutput, StartOutput, StopInput, StopOutput, StopProcess
from interlock.tools.secrets import SecretSource, secret_values

PORT_PLACEHOLDER = "{port}"
RUN_LABEL = "interlock.run"
AWAY_S = 30.0
"""How long a probe puts up with an engine that does not answer."""
POLL_S = 0.2


KEPT_BYTES = 1024 * 1024
"""Of what a container printed that is removed: its end."""

KeepOutput = Callable[[str, str], None]
"""Takes the key of a container and what it printed."""


def _nobody(_key: str, _text: str) -> None:
    pass


class RunContainerInput(msgspec.Struct, frozen=True, kw_only=True):
    """``commands`` run one after the other, each in a new container of ``image`` (an id or a reference with a digest). An empty
    one is the image's own."""

    image: str
    commands: list[list[str]]
    environment: dict[str, str] = {}
    secrets: dict[str, str] = {}
    """Variable -> reference of a secret; the value joins the environment when the container starts."""
    joins: str = ""
    """The key of a container that runs, of which they share the network."""
    limits: ContainerLimits = ContainerLimits()
    writable: list[str] = []
    labels: dict[str, str] = {}
    timeout_s: float = 1800.0
    """For each command. After a death of the control plane it is counted anew."""


class RunContainer:
    """``container.run``: run commands in an image to their end. Raises Conflict ``command_failed`` with the output's end."""

    name = "container.run"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = RunContainerInput
    output = CommandOutput

    def __init__(self, engine: ContainerEngine, secrets: SecretSource) -> None:
        self._engine = engine
        self._secrets = secrets

    async def act(self, call: Call, arguments: RunContainerInput) -> CommandOutput:
        output_bytes, key = 0, call.key
        for number, command in enumerate(arguments.commands):
            key = _key(call, number)
            status = await self._run(call.run_id, key, command, arguments)
            tail = await tail_of(self._engine, key)
            if (status.state, status.reason) != ("exited", "completed"):
                raise job_failure(status, [command], arguments.timeout_s, tail)
            output_bytes += await length_of(self._engine, key)
        return CommandOutput(key=key, tail=await tail_of(self._engine, key), output_bytes=output_bytes, dropped_bytes=0)

    async def _run(self, run_id: str, key: str, command: list[str], arguments: RunContainerInput) -> ProcessStatus:
        spec = ContainerSpec(
            kind="job",
            image=arguments.image,
            command=tuple(command),
            environment=arguments.environment | secret_values(arguments.secrets, self._secrets),
            secret_variables=tuple(arguments.secrets),
            joins=arguments.joins,
            limits=arguments.limits,
            writable=tuple(arguments.writable),
            labels=arguments.labels | {RUN_LABEL: run_id},
        )
        try:
            await self._engine.start(key, spec)
        except Conflict as error:
            if error.code != "process_exists":
                raise
        status = await self._engine.wait(key, arguments.timeout_s)
        if status.state == "unknown":
            raise Unavailable("engine_down", f"the engine went away while {key} ran: {status.message}", where=key)
        if status.state in {"running", "starting"}:
            await self._engine.stop(key)
            return msgspec.structs.replace(status, state="exited", reason="timeout")
        return status

    async def probe(self, call: Call, arguments: RunContainerInput) -> Probe:
        key = _key(call, len(arguments.commands) - 1)
        status = await _known(self._engine, key)
        if status.state == "unknown":
            return Unknown(status.message, {"key": key, "tail": "", "output_bytes": 0, "dropped_bytes": 0})
        if (status.state, status.reason) != ("exited", "completed"):
            # Running or failed is for `act` to take up: no key can be used for a second container.
            return NotDone()
        lengths = [await length_of(self._engine, _key(call, number)) for number in range(len(arguments.commands))]
        sizes = {"output_bytes": sum(lengths), "dropped_bytes": 0}
        return Done({"key": key, "tail": await tail_of(self._engine, key), **sizes})

    async def abort(self, call: Call, arguments: RunContainerInput) -> None:
        for number in range(len(arguments.commands)):
            await self._engine.stop(_key(call, number), 1.0)


class StartContainerInput(msgspec.Struct, frozen=True, kw_only=True):
    """``port`` of ``host`` is where the service is reached, ``container_port`` where it listens inside (the same when not
    said): that one replaces ``{port}`` in the command and becomes ``PORT``. No ``command``: the image's own."""

    image: str
    command: list[str] = []
    environment: dict[str, str] = {}
    secrets: dict[str, str] = {}
    port: int | None = None
    host: str = LOCAL
    container_port: int | None = None
    limits: ContainerLimits = ContainerLimits()
    writable: list[str] = []
    labels: dict[str, str] = {}
    user: str = ""
    grace_s: float = 10.0
    max_restarts: int = 5


class StartContainer:
    """``container.start``: start a service. Raises Conflict ``port_taken`` (try another one) or ``not_started``."""

    name = "container.start"
    effect = Effect.DEPLOY
    keying: Keying = "keyed"
    input = StartContainerInput
    output = StartOutput

    def __init__(self, engine: ContainerEngine, secrets: SecretSource) -> None:
        self._engine = engine
        self._secrets = secrets

    async def act(self, call: Call, arguments: StartContainerInput) -> StartOutput:
        try:
            secrets = secret_values(arguments.secrets, self._secrets)
            status = await self._engine.start(call.key, _service(call, arguments, secrets))
        except Conflict as error:
            if error.code != "process_exists":
                raise
            status = await self._engine.status(call.key)
        if status.state == "unknown":
            raise Unavailable(
                "engine_down", f"the engine went away while {call.key} started: {status.message}", where=call.task_id
            )
        if status.state == "exited" and status.reason == "port_taken":
            raise Conflict("port_taken", status.message or f"port {arguments.port} is taken", where=call.task_id)
        if status.state in {"absent", "exited", "lost"}:
            raise Conflict("not_started", ending(status), where=call.task_id, tail=await tail_of(self._engine, call.key))
        return StartOutput(key=call.key, port=arguments.port, identity=status.identity)

    async def probe(self, call: Call, arguments: StartContainerInput) -> Probe:
        status = await _known(self._engine, call.key)
        if status.state == "absent":
            return NotDone()
        if status.state == "unknown":
            return Unknown(status.message, {"key": call.key, "port": arguments.port})
        if status.state == "exited" and status.reason == "port_taken":
            return NotDone()
        # It was started; whether it still lives and is healthy is for the checks that follow.
        return Done({"key": call.key, "port": arguments.port, "identity": status.identity})

    async def abort(self, call: Call, arguments: StartContainerInput) -> None:
        await self._engine.stop(call.key, 1.0)


class StopContainer(StopProcess):
    """``container.stop``: SIGTERM, and SIGKILL after the grace. A container that is gone is a stopped one."""

    name = "container.stop"
    input = StopInput
    output = StopOutput


class RemoveContainersInput(msgspec.Struct, frozen=True, kw_only=True):
    """``image`` is an id."""

    image: str


class RemovedContainers(msgspec.Struct, frozen=True, kw_only=True):
    image: str


class RemoveContainers:
    """``container.remove``: take away what `RunContainer` left of an image in its run, so that the image can go too. What they
    printed is kept elsewhere. Containers of services, of other runs and of other people are not touched."""

    name = "container.remove"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = RemoveContainersInput
    output = RemovedContainers

    def __init__(self, engine: ContainerEngine, keep: KeepOutput) -> None:
        self._engine = engine
        self._keep = keep

    async def act(self, call: Call, arguments: RemoveContainersInput) -> RemovedContainers:
        for key in await self._left(call, arguments):
            self._keep(key, (await self._engine.log(key, -KEPT_BYTES, KEPT_BYTES)).text)
            await self._engine.remove(key)
        return RemovedContainers(image=arguments.image)

    async def probe(self, call: Call, arguments: RemoveContainersInput) -> Probe:
        return NotDone() if await self._left(call, arguments) else Done({"image": arguments.image})

    async def abort(self, call: Call, arguments: RemoveContainersInput) -> None:
        """A removal that was begun is left to end."""

    async def _left(self, call: Call, arguments: RemoveContainersInput) -> Sequence[str]:
        return await self._engine.ended_jobs(arguments.image, {RUN_LABEL: call.run_id})


def container_tools(engine: ContainerEngine, secrets: SecretSource, keep: KeepOutput = _nobody) -> list[Tool[Any, Any]]:
    """The tools of this module on ``engine``; ``keep`` gets what containers printed before they are removed."""
    jobs = (RunContainer(engine, secrets), RemoveContainers(engine, keep))
    return [*jobs, StartContainer(engine, secrets), StopContainer(engine)]


async def _known(engine: ContainerEngine, key: str) -> ProcessStatus:
    """The status, once the engine tells it: one that is started anew is back soon, and nobody need be asked for that."""
    status = await engine.status(key)
    try:
        async with asyncio.timeout(AWAY_S):
            while status.state == "unknown":
                await asyncio.sleep(POLL_S)
                status = await engine.status(key)
    except TimeoutError:
        pass
    return status


def _service(call: Call, arguments: StartContainerInput, secrets: Mapping[str, str]) -> ContainerSpec:
    inside = arguments.container_port or arguments.port
    port = {} if inside is None else {"PORT": str(inside)}
    return ContainerSpec(
        kind="service",
        image=arguments.image,
        command=tuple(word if inside is None else word.replace(PORT_PLACEHOLDER, str(inside)) for word in arguments.command),
        environment={**arguments.environment, **port, **secrets},
        secret_variables=tuple(arguments.secrets),
        port=arguments.port,
        host=arguments.host,
        container_port=arguments.container_port,
        limits=arguments.limits,
        writable=tuple(arguments.writable),
        labels=arguments.labels | {RUN_LABEL: call.run_id},
        user=arguments.user,
        grace_s=arguments.grace_s,
        max_restarts=arguments.max_restarts,
    )


def _key(call: Call, number: int) -> str:
    """The first command has the call's own key."""
    return call.key if number == 0 else f"{call.key}-{number + 1}"
