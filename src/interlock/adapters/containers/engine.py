"""Containers of a Docker or Podman engine. All state is the engine's: names and labels lead back to keys."""

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from interlock.adapters.containers.configuration import (
    KIND_LABEL,
    container_configuration,
    container_name,
    found_name,
    key_of,
    label_filter,
    name_filter,
    secret_values,
    stopping,
    user_of,
    whole_seconds,
)
from interlock.adapters.containers.connection import ANSWER_S, Connection, Data, Refusal
from interlock.adapters.containers.failures import translated
from interlock.adapters.containers.folders import folders_archive, holder_configuration, holder_name, owner
from interlock.adapters.containers.images import Images, Instance
from interlock.adapters.containers.logs import ContainerLogs
from interlock.adapters.containers.observation import (
    LIVE,
    NO_SPACE,
    events_query,
    is_live,
    is_marked,
    needs_events,
    never_ran,
    observe,
    told_by_events,
)
from interlock.adapters.containers.registries import RegistryLogin
from interlock.adapters.containers.shortfalls import Shortfalls
from interlock.core.canonical import canonical_json
from interlock.core.errors import Conflict, Unavailable
from interlock.tools.containers.ports import INSTANCE_LABEL, KEY_LABEL, ContainerSpec, EngineInfo
from interlock.tools.ports import LogChunk, ProcessStatus, Sighting

_ENDED = frozenset({"absent", "exited", "lost"})
_START_S = 60.0
_STOP_MARGIN_S = 20.0
_WAIT_S = 60.0
_AWAY_S = 30.0
"""How long `wait` puts up with an engine that does not answer."""
_POLL_S = 0.2
_LOOKS_AT_ONCE = 8
_NOT_LIVE = ("created", "exited", "dead")


class DockerEngine(Images):
    """The `ContainerEngine` port over the API that Docker and Podman share.

    ``url`` is ``unix://`` or ``tcp://``; empty takes the first of the usual sockets that is there at each call. ``instance``
    says which control plane this is. ``login`` is for the registry that asks for one. ``places`` is a folder in which offsets
    of logs are kept over a restart. With ``tls`` (`tls.client_context`) that alone is spoken. Every method raises Invalid
    ``process_key`` for what is not a key.
    """

    def __init__(
        self,
        url: str,
        instance: Instance,
        login: RegistryLogin | None = None,
        places: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(Connection(url, tls), instance, login)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._starting: set[str] = set()
        self._logs = ContainerLogs(self._connection, places)
        self._ends: dict[str, tuple[str, bool | None]] = {}
        """Container -> when it ended, and whether by hand."""
        self._lacks = Shortfalls()

    async def start(self, key: str, spec: ContainerSpec) -> ProcessStatus:
        name = container_name(self._instance, key)
        container_configuration(self._instance, key, spec, "")
        with translated(spec.image):
            user = user_of(spec, (await self._inspect_image(spec.image))["Config"].get("User") or "")
        async with self._turn(key):
            with translated(key):
                if spec.joins:
                    await self._check_runs(spec.joins)
                await self._create(name, key, spec, user)
                await self._start(name, key, spec, user)
            return await self.status(key)

    async def status(self, key: str) -> ProcessStatus:
        name = found_name(self._instance, key)
        try:
            found = await self._inspect(name)
            status = await self._observe(found) if found else ProcessStatus(state="absent")
        except (Unavailable, Refusal) as error:
            return ProcessStatus(state="unknown", message=str(error))
        is_starting = status.state == "absent" and key in self._starting
        return ProcessStatus(state="starting") if is_starting else status

    async def wait(self, key: str, timeout_s: float | None = None) -> ProcessStatus:
        name = found_name(self._instance, key)
        until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        seen = time.monotonic()
        while True:
            status = await self.status(key)
            now = time.monotonic()
            seen = seen if status.state == "unknown" else now
            if status.state in _ENDED or now >= until or now - seen > _AWAY_S:
                return status
            await self._until_it_ends(name, min(until - now, _WAIT_S))

    async def stop(self, key: str, grace_s: float | None = None) -> ProcessStatus:
        name = found_name(self._instance, key)
        with translated(key):
            found = await self._inspect(name)
            if found is None or not is_live(found):
                return await self.status(key)
            if name in found["Id"] and found["Config"]["Labels"].get(INSTANCE_LABEL) != self._instance:
                raise Conflict("not_ours", f"{key} belongs to somebody else", where=key)
            grace = whole_seconds(grace_s) if grace_s is not None else int(found["Config"].get("StopTimeout") or 10)
            await self._mark(name, found)
            try:
                if found["State"]["Status"] == "paused":
                    # Not every engine can stop what is frozen.
                    await self._ask("POST", f"containers/{name}/unpause")
                await self._ask("POST", f"containers/{name}/stop", params={"t": grace}, timeout_s=grace + _STOP_MARGIN_S)
            except Refusal as refusal:
                if refusal.status != 404:
                    raise
        return await self.wait(key, _STOP_MARGIN_S)

    async def log(self, key: str, offset: int = 0, limit_bytes: int = 65536) -> LogChunk:
        name = found_name(self._instance, key)
        with translated(key):
            found = await self._inspect(name)
            if found is None:
                await self._logs.forget(key)
                return LogChunk(text="", begin=0, next_offset=0)
            secrets = secret_values(found["Config"]["Labels"], found["Config"]["Env"] or [])
            return await self._logs.read(key, found, offset, limit_bytes, secrets)

    async def list(self) -> dict[str, ProcessStatus]:
        params = {"all": "true", "filters": canonical_json(label_filter(self._instance)).decode()}
        with translated("containers"):
            found: list[Data] = await self._ask("GET", "containers/json", params=params)
        keys = sorted(each["Labels"][KEY_LABEL] for each in found if KEY_LABEL in each["Labels"])
        few = asyncio.Semaphore(_LOOKS_AT_ONCE)

        async def look(key: str) -> ProcessStatus:
            async with few:
                return await self.status(key)

        statuses = await asyncio.gather(*(look(key) for key in keys))
        return {key: status for key, status in zip(keys, statuses, strict=True) if status.state != "absent"}

    async def survey(self) -> dict[str, Sighting]:
        """As the port says. One request for those that bear its names, one for those that bear its labels."""
        found: dict[str, Data] = {}
        with translated("containers"):
            for wanted in (label_filter(self._instance), name_filter(self._instance)):
                found |= {each["Id"]: each for each in await self._in_states(wanted, LIVE)}
        return {key_of(self._instance, each["Names"], each["Id"]): _sighting(each) for each in found.values()}

    async def ended_jobs(self, image: str, labels: Mapping[str, str]) -> Sequence[str]:
        wanted = {**labels, INSTANCE_LABEL: self._instance, KIND_LABEL: "job"}
        with translated("containers"):
            found = await self._in_states({"label": [f"{name}={value}" for name, value in wanted.items()]}, _NOT_LIVE)
        return sorted(key_of(self._instance, each["Names"], each["Id"]) for each in found if each["ImageID"] == image)

    async def remove(self, key: str) -> None:
        name = container_name(self._instance, key)
        async with self._turn(key):
            with translated(key):
                found = await self._inspect(name)
                if found is not None and is_live(found):
                    raise Conflict("process_running", "the container still runs", where=key, hint="stop it first")
                await self._delete(name)
                await self._delete(holder_name(name))
            if found is not None:
                self._ends.pop(found["Id"], None)
            await self._logs.forget(key)

    async def ping(self) -> EngineInfo:
        with translated("engine"):
            found: Data = await self._ask("GET", "version")
        parts: list[Data] = found.get("Components") or [{}]
        name = found.get("Platform", {}).get("Name") or parts[0].get("Name") or "engine"
        return EngineInfo(name=name, version=found["Version"])

    async def _in_states(self, wanted: Data, states: Sequence[str]) -> Sequence[Data]:
        filters = wanted | {"status": self._lacks.known(states)}
        try:
            return await self._ask(
                "GET", "containers/json", params={"all": "true", "filters": canonical_json(filters).decode()}
            )
        except Refusal as refusal:
            if self._lacks.shows(refusal):
                return await self._in_states(wanted, states)
            raise

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncGenerator[None]:
        async with self._turns[key]:
            self._starting.add(key)
            try:
                yield
            finally:
                self._starting.discard(key)
        if not self._turns[key].locked():
            self._turns.pop(key, None)

    async def _inspect(self, name: str) -> Data | None:
        try:
            return self._lacks.completed(name, await self._ask("GET", f"containers/{name}/json"))
        except Refusal as refusal:
            if refusal.status == 404:
                return None
            raise

    async def _observe(self, found: Data) -> ProcessStatus:
        """What became of it; told from the engine's events where they are needed. Those are soon forgotten, so kept in mind."""
        if not needs_events(found):
            return observe(found)
        container_id, ended_at = found["Id"], found["State"]["FinishedAt"]
        known_end, is_by_hand = self._ends.get(container_id, ("", None))
        if known_end != ended_at:
            is_by_hand = told_by_events(await self._connection.read("events", events_query(found)))
            self._ends[container_id] = (ended_at, is_by_hand)
        return observe(found, is_by_hand)

    async def _check_runs(self, key: str) -> None:
        found = await self._inspect(container_name(self._instance, key))
        if found is None or observe(found).state != "running":
            raise Conflict("not_running", f"{key} does not run, and nothing can join it", where=key)

    async def _create(self, name: str, key: str, spec: ContainerSpec, user: str) -> None:
        """The engine takes one container a name. One that never ran is what a death between making and starting left behind."""
        found = await self._inspect(name)
        if found is not None and not never_ran(found):
            raise _exists(key)
        if found is not None:
            await self._delete(name)
        async with self._folders(name, spec, user):
            try:
                await self._make(name, key, spec, user)
            except Refusal as refusal:
                if refusal.status == 409:
                    raise _exists(key) from refusal
                raise

    async def _make(self, name: str, key: str, spec: ContainerSpec, user: str) -> None:
        """What this engine turns out not to have is done without from then on."""
        lacks = self._lacks
        body = container_configuration(self._instance, key, spec, user, has_init=lacks.has_init, owns_tmp=lacks.owns_tmp)
        try:
            await self._ask("POST", "containers/create", params={"name": name}, body=body, timeout_s=_START_S)
        except Refusal as refusal:
            # Podman looks for its small init here already, Docker when the container starts.
            if not self._lacks.shows(refusal):
                raise
            await self._make(name, key, spec, user)

    @asynccontextmanager
    async def _folders(self, name: str, spec: ContainerSpec, user: str) -> AsyncGenerator[None]:
        """The volumes for the container that is made meanwhile, and gone again if none is."""
        numbers = owner(user)
        if not spec.writable or numbers is None:
            yield
            return
        holder, labels = holder_name(name), {INSTANCE_LABEL: self._instance}
        await self._delete(holder)
        body = holder_configuration(spec.image, spec.writable, labels)
        await self._ask("POST", "containers/create", params={"name": holder}, body=body, timeout_s=_START_S)
        archive = folders_archive(spec.writable, *numbers)
        await self._ask("PUT", f"containers/{holder}/archive", params={"path": "/"}, body=archive)
        is_taken_over = False
        try:
            yield
            is_taken_over = True
        finally:
            await self._delete(holder, with_volumes=not is_taken_over)

    async def _start(self, name: str, key: str, spec: ContainerSpec, user: str) -> None:
        try:
            answer = await self._ask("POST", f"containers/{name}/start", timeout_s=_START_S)
        except Refusal as refusal:
            if refusal.status == 404 and await self._inspect(name) is None:
                raise _exists(key) from refusal
            if NO_SPACE.search(refusal.message):
                raise
            if self._lacks.shows(refusal):
                # An engine without its small init: the image's own first process has to do.
                await self._delete(name)
                await self._create(name, key, spec, user)
                await self._start(name, key, spec, user)
                return
            found = await self._inspect(name)
            if found is None or (not found["State"].get("Error") and not self._lacks.did_not_start(name, refusal)):
                raise
            # The engine has it on record why it did not start; the status says it.
        else:
            if answer == 304:
                raise _exists(key)

    async def _mark(self, name: str, found: Data) -> None:
        if is_marked(found):
            return
        has_restarts = found["HostConfig"]["RestartPolicy"].get("Name") not in {"", "no"}
        try:
            await self._ask("POST", f"containers/{name}/update", body=stopping(has_restarts))
        except Refusal:
            # An engine that cannot take marks stops it all the same.
            self._lacks.is_stopped(name)

    async def _delete(self, name: str, *, with_volumes: bool = True) -> None:
        try:
            await self._ask("DELETE", f"containers/{name}", params={"v": str(with_volumes).lower()})
        except Refusal as refusal:
            if refusal.status == 409 and "running" in refusal.message:
                raise Conflict("process_running", "the container still runs", where=name, hint="stop it first") from refusal
            if refusal.status not in {404, 409}:
                raise
        self._lacks.forget(name)

    async def _until_it_ends(self, name: str, timeout_s: float) -> None:
        """Until the container ends or waits to be started again, or the time is over, or the engine is gone."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ask("POST", f"containers/{name}/wait", timeout_s=timeout_s + ANSWER_S)
                await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return
        except (Refusal, Unavailable):
            await asyncio.sleep(min(_POLL_S, timeout_s))


def _sighting(found: Data) -> Sighting:
    is_paused = found["State"] == "paused"
    identity = f"container {found['Id'][:12]}"
    return Sighting(identity=identity, image=found["ImageID"], labels=found["Labels"] or {}, is_paused=is_paused)


def _exists(key: str) -> Conflict:
    return Conflict("process_exists", "a container was started under this key before", where=key)
