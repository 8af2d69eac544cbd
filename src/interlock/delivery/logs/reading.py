"""Logs: the output of what serves, or of one deployment, a window at a time or as it is written."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from interlock.core.clock import Clock
from interlock.core.errors import Invalid, NotFound, Unavailable
from interlock.core.scope import Scope
from interlock.delivery.logs.coalescing import Coalescing
from interlock.delivery.logs.places import (
    NUMBER,
    Away,
    Ended,
    Instance,
    LogEvent,
    LogQuery,
    LogWindow,
    Offsets,
    Piece,
    Place,
    cursor_of,
    instances_of,
    last_lines,
    offsets_in,
    piece_of,
)
from interlock.delivery.model import Deployment
from interlock.delivery.service import Delivery
from interlock.delivery.targets import Targets
from interlock.tools.endings import length_of
from interlock.tools.ports import LogChunk, Workloads

MAX_BYTES = 1024 * 1024
MAX_LINES = 10_000
CHUNK_BYTES = 65536
LOOK_EVERY_S = 0.25
AWAY_EVERY_S = 1.0
"""Between two looks at an engine that is away."""


class Logs:
    """The use cases of logs. What many followers want to know at the same time is looked up once."""

    def __init__(self, delivery: Delivery, targets: Targets, clock: Clock) -> None:
        self._delivery = delivery
        self._targets = targets
        self._chunks = Coalescing[tuple[str, int, int], LogChunk](clock, keep_s=LOOK_EVERY_S, keep=64, at_once=4)
        self._successors = Coalescing[tuple[str, str, str], Deployment | None](clock, keep_s=LOOK_EVERY_S, keep=1000, at_once=4)
        self.followers = 0
        """How many follow a log now."""

    @property
    def readings(self) -> int:
        """How often output was really read for followers."""
        return self._chunks.asked

    async def window(self, scope: Scope, query: LogQuery, limit_bytes: int = CHUNK_BYTES) -> LogWindow:
        """At most ``limit_bytes`` of each instance.

        Raises NotFound ``service``, ``environment``, ``deployment``, ``never_deployed`` or ``log_removed``, Invalid ``cursor``,
        Unavailable such as ``engine_down`` where the output cannot be read now.
        """
        deployment, offsets = await self._find(scope, query)
        pieces = await self._first(deployment, offsets, query.tail, min(limit_bytes, MAX_BYTES))
        serving = await self._delivery.serving(scope, deployment.service, deployment.environment)
        return LogWindow(
            service=deployment.service,
            environment=deployment.environment,
            deployment_id=deployment.deployment_id,
            version=deployment.version,
            state=deployment.state,
            is_serving=serving is not None and serving.deployment_id == deployment.deployment_id,
            pieces=tuple(pieces),
            next=cursor_of({piece.key: piece.next_offset for piece in pieces}),
        )

    async def check(self, scope: Scope, query: LogQuery) -> None:
        """Raises what `window` would raise."""
        await self._find(scope, query)

    async def follow(self, scope: Scope, query: LogQuery) -> AsyncGenerator[LogEvent]:
        """The log as it is written, over every switch, until whoever asked leaves.

        Where one deployment was asked for, it ends with its process. Nothing is read ahead of whoever reads this. An engine
        that goes away meanwhile is waited for, and that is told. Raises what `window` raises.
        """
        self.followers += 1
        try:
            deployment, offsets = await self._find(scope, query)
            pieces = await self._first(deployment, offsets, query.tail, CHUNK_BYTES)
            place = Place(deployment, {piece.key: piece.offset for piece in pieces})
            yield place.turned()
            for event in (event for piece in pieces for event in place.take(piece)):
                yield event
            async for event in self._follow(scope, query, place):
                yield event
        finally:
            self.followers -= 1

    async def _follow(self, scope: Scope, query: LogQuery, place: Place) -> AsyncGenerator[LogEvent]:
        is_away = False
        while True:
            is_silent, successor, message = True, None, ""
            try:
                async for event in self._round(place):
                    is_silent = False
                    yield event
                if not query.deployment_id:
                    successor = await self._successor(scope, query, place.deployment)
                elif is_silent:
                    message = await self._end_of(place)
                if successor or message:
                    async for event in self._rest(place):
                        yield event
            except Unavailable as error:
                if not is_away:
                    yield Away(cursor=place.cursor, message=error.message)
                is_away = True
                await asyncio.sleep(AWAY_EVERY_S)
                continue
            is_away = False
            if message:
                yield Ended(cursor=place.cursor, deployment_id=place.deployment.deployment_id, message=message)
                return
            if successor:
                previous, place = place.deployment.deployment_id, Place(successor, {})
                yield place.turned(previous)
            elif is_silent:
                await asyncio.sleep(LOOK_EVERY_S)

    # --- reading ---

    async def _first(self, deployment: Deployment, offsets: Offsets | int | None, tail: int, limit_bytes: int) -> list[Piece]:
        """The first piece of each instance: from its offset on, or its last lines where there is none."""
        pieces: list[Piece] = []
        for instance in instances_of(deployment):
            if offsets is None:
                pieces.append(await self._tail(instance, tail, limit_bytes))
            else:
                offset = offsets if isinstance(offsets, int) else offsets.get(instance.key, 0)
                chunk = await self._workloads(instance).log(instance.key, offset, limit_bytes)
                pieces.append(piece_of(instance, offset, chunk))
        return pieces

    async def _tail(self, instance: Instance, lines: int, limit_bytes: int) -> Piece:
        size_bytes = min(limit_bytes, CHUNK_BYTES)
        while True:
            chunk = await self._workloads(instance).log(instance.key, -size_bytes, size_bytes)
            text = last_lines(chunk.text, lines, is_whole=chunk.begin == 0)
            if size_bytes >= limit_bytes or chunk.begin == 0 or text.count("\n") >= lines:
                return msgspec.structs.replace(piece_of(instance, -size_bytes, chunk), text=text)
            size_bytes = min(4 * size_bytes, limit_bytes)

    async def _round(self, place: Place) -> AsyncGenerator[LogEvent]:
        """What each instance has written since, at most one piece of each."""
        for instance in place.instances:
            question = (instance.key, place.offsets[instance.key], CHUNK_BYTES)
            read = self._workloads(instance).log
            chunk = await self._chunks.get(question, lambda question=question, read=read: read(*question))
            for event in place.take(piece_of(instance, question[1], chunk)):
                yield event

    async def _rest(self, place: Place) -> AsyncGenerator[LogEvent]:
        """What is there by now, and no more: it may go on writing for ever."""
        for instance in place.instances:
            end = await length_of(self._workloads(instance), instance.key)
            while (offset := place.offsets[instance.key]) < end:
                chunk = await self._workloads(instance).log(instance.key, offset, CHUNK_BYTES)
                if chunk.next_offset <= offset:
                    break
                for event in place.take(piece_of(instance, offset, chunk)):
                    yield event

    def _workloads(self, instance: Instance) -> Workloads:
        return self._targets.of(instance.target)

    # --- whose log it is ---

    async def _find(self, scope: Scope, query: LogQuery) -> tuple[Deployment, Offsets | int | None]:
        """The deployment, and where to begin: offsets by key, one offset for all, or None for the last lines."""
        await self._delivery.check_known(scope, query.service, query.environment)
        if not query.start or NUMBER.fullmatch(query.start):
            deployment = await self._wanted(scope, query)
            offsets = int(query.start) if query.start else None
        else:
            offsets = offsets_in(query.start)
            deployment = await self._owner(scope, query, offsets)
        instances = instances_of(deployment)
        states = [(await self._workloads(instance).status(instance.key)).state for instance in instances]
        if set(states) <= {"absent"}:
            message = (
                f"the output of {deployment.deployment_id} ({deployment.version}, {deployment.state}) is not kept any more"
            )
            hint = "INTERLOCK_KEEP_PROCESSES_DAYS says how long the output of ended processes is kept"
            raise NotFound("log_removed", message, hint=hint)
        if set(states) <= {"absent", "unknown"}:
            # Where even the output cannot be had, whoever asks is told why, and not an empty log.
            await self._workloads(instances[0]).log(instances[0].key, 0, 1)
        return deployment, offsets

    async def _wanted(self, scope: Scope, query: LogQuery) -> Deployment:
        recent = await self._delivery.deployments(scope, query.service, query.environment, limit=1000)
        if not recent:
            message = f"{query.service} was never deployed to {query.environment}"
            hint = f'interlock plan "deploy latest of {query.service} to {query.environment}"'
            raise NotFound("never_deployed", message, hint=hint)
        if not query.deployment_id:
            return await self._delivery.serving(scope, query.service, query.environment) or recent[0]
        found = next((item for item in recent if item.deployment_id == query.deployment_id), None)
        if found is None:
            latest = ", ".join(f"{item.deployment_id} ({item.version})" for item in recent[:3])
            message = f"{query.service} has no deployment {query.deployment_id!r} in {query.environment}"
            raise NotFound("deployment", message, hint=f"the latest: {latest}")
        return found

    async def _owner(self, scope: Scope, query: LogQuery, offsets: Offsets) -> Deployment:
        """Whose instances the cursor names: it must not lead to any other process."""
        for item in await self._delivery.deployments(scope, query.service, query.environment, limit=1000):
            if offsets.keys() <= {instance.key for instance in instances_of(item)}:
                if query.deployment_id in {"", item.deployment_id}:
                    return item
                break
        message = f"the cursor is of no such deployment of {query.service} in {query.environment}"
        raise Invalid("cursor", message, hint="begin without one")

    async def _successor(self, scope: Scope, query: LogQuery, current: Deployment) -> Deployment | None:
        """Who took over from ``current``, or is being started while nothing serves."""

        async def look() -> Deployment | None:
            serving = await self._delivery.serving(scope, query.service, query.environment)
            if serving is not None:
                return serving
            recent = await self._delivery.deployments(scope, query.service, query.environment, limit=1)
            return next((item for item in recent if item.state == "starting"), None)

        found = await self._successors.get((scope.tenant, query.service, query.environment), look)
        return found if found is not None and found.deployment_id != current.deployment_id else None

    async def _end_of(self, place: Place) -> str:
        """How the deployment's processes ended; empty while one of them may still write."""
        told: list[str] = []
        for instance in place.instances:
            status = await self._workloads(instance).status(instance.key)
            if status.state not in {"exited", "lost", "absent"}:
                return ""
            told.append(status.message or f"it is {status.state}" + (f": {status.reason}" if status.reason else ""))
        return "; ".join(told) or "it has no process"
