"""Container engines for tests: one that lives in memory. Its behaviour suite is in `interlock.testing.container_suite`."""

import asyncio
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from interlock.core.addresses import Address, is_host
from interlock.core.canonical import canonical_json
from interlock.core.clock import Clock, SystemClock, to_text
from interlock.core.errors import Conflict, Invalid, Unavailable
from interlock.testing.hosts import Script
from interlock.tools.containers.ports import (
    INSTANCE_LABEL,
    BuildSpec,
    ContainerSpec,
    EngineInfo,
    ImageStatus,
    OnOutput,
)
from interlock.tools.masking import patterns_of, read_masked
from interlock.tools.ports import LogChunk, ProcessStatus, Sighting

_KEY_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_STOPS = ("running", "starting")


@dataclass(slots=True)
class _Container:
    spec: ContainerSpec
    image_id: str
    status: ProcessStatus
    script: Script
    output: bytes = b""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = field(default_factory=itertools.count(1).__next__)


class FakeRegistry:
    """What a registry has: digests by ``repository@sha256:…``. ``is_down`` takes it away."""

    def __init__(self) -> None:
        self.is_down = False
        self.images: dict[str, ImageStatus] = {}


class FakeEngine:
    """Containers and images that are only said to be there. Everything that takes no waiting has happened when a call returns.

    ``scripts`` says what commands do, also as ``RUN`` in a build; other commands of a job end at once with 0, those of a
    service stay. ``taken_ports`` are those on which something else listens. Restarts have no delay. While `is_down` nothing
    answers.
    """

    def __init__(
        self, scripts: Mapping[tuple[str, ...], Script] | None = None, clock: Clock | None = None, instance: str = "fake"
    ) -> None:
        self.is_down = False
        self.is_full = False
        self.taken_ports: set[int] = set()
        self.registry = FakeRegistry()
        self.started: list[tuple[str, ContainerSpec]] = []
        self.built: list[BuildSpec] = []
        self._scripts = scripts or {}
        self._clock = clock or SystemClock()
        self._instance = instance
        self._containers: dict[str, _Container] = {}
        self._images: dict[str, ImageStatus] = {}
        self._next_pid = 1000
        self._made = 0

    def add_image(self, reference: str, *, user: str = "") -> str:
        """An image that somebody else made; returns its id."""
        return self._keep(reference, {"made": reference}, {}, user)

    async def start(self, key: str, spec: ContainerSpec) -> ProcessStatus:
        _check(key)
        self._answer()
        is_open = (spec.container_port is not None and spec.port is None) or (spec.joins and spec.port is not None)
        if not spec.image or is_open or not is_host(spec.host):
            raise Invalid("container_spec", "there is no image, or a port that cannot be published")
        image = self._find(spec.image)
        if image is None:
            raise Conflict("image_missing", f"no such image: {spec.image}", where=spec.image)
        if key in self._containers:
            raise Conflict("process_exists", "a container was started under this key before", where=key)
        if spec.joins and (spec.joins not in self._containers or self._containers[spec.joins].status.state != "running"):
            raise Conflict("not_running", f"{spec.joins} does not run, and nothing can join it", where=spec.joins)
        self._make_room()
        script = self._scripts.get(spec.command, Script(exit_code=0 if spec.kind == "job" else None))
        self._made += 1
        identity = hashlib.sha256(f"{self._instance} {key} {self._made}".encode()).hexdigest()
        status = ProcessStatus(state="running", identity=identity, started_at=to_text(self._clock.now()))
        container = self._containers[key] = _Container(spec, image.image_id, status, script)
        self.started.append((key, spec))
        self._run(key, container)
        return container.status

    async def status(self, key: str) -> ProcessStatus:
        _check(key)
        if self.is_down:
            return ProcessStatus(state="unknown", message="the container engine cannot be used now")
        container = self._containers.get(key)
        return container.status if container else ProcessStatus(state="absent")

    async def wait(self, key: str, timeout_s: float | None = None) -> ProcessStatus:
        _check(key)
        container = self._containers.get(key)
        if container is not None and not self.is_down:
            try:
                async with asyncio.timeout(timeout_s):
                    await container.ended.wait()
            except TimeoutError:
                return container.status
        return await self.status(key)

    async def stop(self, key: str, grace_s: float | None = None) -> ProcessStatus:
        _check(key)
        self._answer()
        container = self._containers.get(key)
        if container is not None and container.status.state in _STOPS:
            if container.script.ignores_sigterm:
                await asyncio.sleep(container.spec.grace_s if grace_s is None else grace_s)
            self._finish(container, "stopped", -9 if container.script.ignores_sigterm else -15)
        return await self.status(key)

    async def log(self, key: str, offset: int = 0, limit_bytes: int = 65536) -> LogChunk:
        _check(key)
        self._answer()
        container = self._containers.get(key)
        if container is None:
            return LogChunk(text="", begin=0, next_offset=0)
        output, spec = container.output, container.spec

        def read(at: int, limit: int) -> tuple[int, bytes]:
            begin = min(max(len(output) + at if at < 0 else at, 0), len(output))
            return begin, output[begin:][:limit]

        patterns = patterns_of(spec.environment[name] for name in spec.secret_variables)
        return read_masked(read, patterns, offset, limit_bytes, container.ended.is_set)

    async def list(self) -> dict[str, ProcessStatus]:
        self._answer()
        return {key: self._containers[key].status for key in sorted(self._containers)}

    async def survey(self) -> dict[str, Sighting]:
        self._answer()
        live = {key: container for key, container in self._containers.items() if container.status.state in _STOPS}
        return {
            key: Sighting(identity=f"container {container.number}", image=container.image_id, labels=container.spec.labels)
            for key, container in sorted(live.items())
        }

    async def remove(self, key: str) -> None:
        _check(key)
        self._answer()
        container = self._containers.get(key)
        if container is not None and container.status.state in _STOPS:
            raise Conflict("process_running", "the container still runs", where=key, hint="stop it first")
        self._containers.pop(key, None)

    async def ended_jobs(self, image: str, labels: Mapping[str, str]) -> Sequence[str]:
        self._answer()
        return [
            key
            for key, each in sorted(self._containers.items())
            if each.spec.kind == "job"
            and each.image_id == image
            and each.status.state not in _STOPS
            and labels.items() <= each.spec.labels.items()
        ]

    async def build(self, spec: BuildSpec, on_output: OnOutput) -> str:
        self._answer()
        self._make_room()
        self.built.append(spec)
        tail = ""
        for line in spec.dockerfile_text.splitlines():
            on_output(f"Step : {line}\n")
            tail += f"Step : {line}\n"
            if line.startswith("RUN "):
                tail += self._run_step(spec, line, tail, on_output)
        return self._keep(spec.tag, {"dockerfile": spec.dockerfile_text}, spec.labels | {INSTANCE_LABEL: self._instance}, "")

    async def image(self, reference: str) -> ImageStatus | None:
        self._answer()
        return self._find(reference)

    async def images(self) -> Sequence[ImageStatus]:
        self._answer()
        return [image for image in self._images.values() if image.labels.get(INSTANCE_LABEL) == self._instance]

    async def tag(self, image: str, reference: str) -> None:
        self._answer()
        self._name(self._need(image), reference)

    async def push(self, reference: str) -> str:
        self._answer()
        repository, _, tag = reference.rpartition(":")
        if not repository or "/" in tag:
            raise Invalid("image_reference", f"not a repository with a tag: {reference!r}")
        image = self._need(reference)
        self._reach_registry(reference)
        digest = "sha256:" + hashlib.sha256(image.image_id.encode()).hexdigest()
        name = f"{repository}@{digest}"
        if name not in image.digests:
            image = self._images[image.image_id] = msgspec.structs.replace(image, digests=(*image.digests, name))
        self.registry.images[name] = msgspec.structs.replace(image, references=())
        return digest

    async def pull(self, reference: str) -> str:
        self._answer()
        if "@sha256:" not in reference:
            raise Invalid("image_reference", f"not a reference with a digest: {reference!r}")
        self._reach_registry(reference)
        image = self.registry.images.get(reference)
        if image is None:
            raise Conflict("image_missing", f"{reference} cannot be had from its registry", where=reference)
        self._images.setdefault(image.image_id, image)
        return image.image_id

    async def remove_image(self, reference: str) -> None:
        self._answer()
        image = self._find(reference)
        if image is None:
            return
        is_whole = reference == image.image_id
        rest = () if is_whole else tuple(name for name in image.references if name != reference)
        if not rest and any(container.image_id == image.image_id for container in self._containers.values()):
            raise Conflict("image_in_use", f"{reference} is in use", where=reference)
        if rest:
            self._images[image.image_id] = msgspec.structs.replace(image, references=rest)
        else:
            del self._images[image.image_id]

    async def ping(self) -> EngineInfo:
        self._answer()
        return EngineInfo(name="fake", version="1")

    def end(self, key: str, exit_code: int) -> ProcessStatus:
        """The running container ends by itself: a job for good, a service that fails when it has used up its restarts."""
        container = self._containers[key]
        spec, status = container.spec, container.status
        if exit_code == 0:
            self._finish(container, "completed", 0)
        elif spec.kind == "job":
            self._finish(container, "failed", exit_code)
        elif status.restarts < spec.max_restarts:
            self._observe(container, restarts=status.restarts + 1, pid=self._new_pid())
        else:
            self._finish(container, "gave_up", exit_code)
        return container.status

    def lose(self, key: str) -> None:
        """The container is killed together with its engine."""
        container = self._containers[key]
        self._observe(container, state="lost", pid=None, ended_at=to_text(self._clock.now()))
        container.ended.set()

    def print(self, key: str, text: str) -> None:
        """The container writes something."""
        self._containers[key].output += text.encode()

    def _run(self, key: str, container: _Container) -> None:
        spec, script = container.spec, container.script
        if spec.port is not None and self._is_taken(Address(spec.host, spec.port), container):
            self._finish(container, "port_taken", None)
            return
        if not script.is_executable:
            message = f"the program {spec.command[0]!r} was not found"
            self._observe(container, restarts=0 if spec.kind == "job" else spec.max_restarts)
            self._finish(container, "not_executable", 127, message)
            return
        self._observe(container, pid=self._new_pid())
        self.print(key, script.output)
        while script.exit_code is not None and self.end(key, script.exit_code).state == "running":
            self.print(key, script.output)

    def _run_step(self, spec: BuildSpec, line: str, tail: str, on_output: OnOutput) -> str:
        script = self._scripts.get(tuple(msgspec.json.decode(line.removeprefix("RUN "), type=list[str])), Script())
        on_output(script.output)
        if script.exit_code:
            message = f"the image was not built: {line} ended with {script.exit_code}"
            raise Conflict("build_failed", message, where=spec.tag, tail=tail + script.output)
        return script.output

    def _keep(self, reference: str, content: dict[str, Any], labels: dict[str, str], user: str) -> str:
        image_id = "sha256:" + hashlib.sha256(canonical_json(content | {"labels": labels})).hexdigest()
        made = ImageStatus(image_id=image_id, labels=labels, user=user, created_at=to_text(self._clock.now()), size_bytes=1)
        self._name(self._images.setdefault(image_id, made), reference)
        return image_id

    def _name(self, image: ImageStatus, reference: str) -> None:
        for other in list(self._images.values()):
            rest = tuple(name for name in other.references if name != reference)
            self._images[other.image_id] = msgspec.structs.replace(other, references=rest)
        image = self._images[image.image_id]
        self._images[image.image_id] = msgspec.structs.replace(image, references=(*image.references, reference))

    def _find(self, reference: str) -> ImageStatus | None:
        names = {reference, f"{reference}:latest"}
        images = self._images.values()
        return next((each for each in images if names & {each.image_id, *each.references, *each.digests}), None)

    def _need(self, reference: str) -> ImageStatus:
        image = self._find(reference)
        if image is None:
            raise Conflict("image_missing", f"no such image: {reference}", where=reference)
        return image

    def _answer(self) -> None:
        if self.is_down:
            raise Unavailable("engine_down", "the container engine cannot be used now")

    def _make_room(self) -> None:
        if self.is_full:
            raise Unavailable("storage", "the engine has no space left")

    def _reach_registry(self, reference: str) -> None:
        if self.registry.is_down:
            raise Unavailable("registry_down", "the registry cannot be used now", where=reference)

    def _is_taken(self, address: Address, but: _Container) -> bool:
        others = (each for each in self._containers.values() if each is not but and each.status.state in _STOPS)
        return address.port in self.taken_ports or address in {Address(each.spec.host, each.spec.port or 0) for each in others}

    def _finish(self, container: _Container, reason: str, exit_code: int | None, message: str = "") -> None:
        if container.status.state in _STOPS:
            ended = {"state": "exited", "pid": None, "ended_at": to_text(self._clock.now())}
            self._observe(container, reason=reason, exit_code=exit_code, message=message, **ended)
            container.ended.set()

    def _observe(self, container: _Container, **changes: Any) -> None:
        container.status = msgspec.structs.replace(container.status, **changes)

    def _new_pid(self) -> int:
        self._next_pid += 1
        return self._next_pid


def _check(key: str) -> None:
    if not key or not set(key) <= _KEY_LETTERS or key.startswith("-") or len(key) > 101:
        raise Invalid("process_key", f"not a key: {key[:120]!r}")
