"""Images of an engine: built, named, sent to a registry and fetched from it, taken away."""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from interlock.adapters.containers.configuration import label_filter
from interlock.adapters.containers.connection import Connection, Data, Refusal, down
from interlock.adapters.containers.context import pack_context
from interlock.adapters.containers.failures import as_error, as_transfer_error, no_registry, translated
from interlock.adapters.containers.observation import NO_SPACE
from interlock.adapters.containers.registries import RegistryLogin, build_headers, transfer_headers
from interlock.core.canonical import canonical_json
from interlock.core.clock import to_text
from interlock.core.errors import Conflict, InterlockError, Invalid, Unavailable
from interlock.tools.containers.ports import INSTANCE_LABEL, BuildSpec, ImageStatus, OnOutput

Instance = Callable[[], str]
"""Which control plane this is (``[a-z0-9-]``, up to 41); asked at each call."""

_INSTANCE = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_TAIL_CHARACTERS = 4000
_TRANSFER_S = 1800.0
_IDLE_S = 120.0
_UNNAMED = "<none>:<none>"
_STEP_FAILED = "returned a non-zero code"
_TOLD_DIGEST = re.compile(r"\bdigest: (sha256:[0-9a-f]{64})\b")


class Images:
    """The half of the `ContainerEngine` port that is about images."""

    def __init__(self, connection: Connection, instance: Instance, login: RegistryLogin | None = None) -> None:
        self._connection = connection
        self._give_instance = instance
        self._login = login
        self._ask = connection.ask

    @property
    def _instance(self) -> str:
        """Raises Invalid ``engine_instance`` for what cannot be a part of a container's name."""
        instance = self._give_instance()
        if not _INSTANCE.fullmatch(instance):
            raise Invalid("engine_instance", f"not a name for a control plane: {instance!r}")
        return instance

    async def build(self, spec: BuildSpec, on_output: OnOutput) -> str:
        tail = ""

        def take(text: str) -> None:
            nonlocal tail
            tail = (tail + text)[-_TAIL_CHARACTERS:]
            on_output(text)

        try:
            async with asyncio.timeout(spec.timeout_s):
                image_id = await self._build(spec, take)
        except Refusal as refusal:
            raise _build_failure(refusal, spec, tail) from refusal
        except TimeoutError as error:
            message = f"the build was ended after {spec.timeout_s:g} s"
            raise Conflict("build_timeout", message, where=spec.tag, hint="see the end of its output", tail=tail) from error
        if not image_id:
            raise down("its answer broke off in the middle of the build", spec.tag)
        return image_id

    async def image(self, reference: str) -> ImageStatus | None:
        with translated(reference):
            try:
                return _status(await self._inspect_image(reference))
            except Refusal as refusal:
                if refusal.status == 404:
                    return None
                raise

    async def images(self) -> Sequence[ImageStatus]:
        params = {"filters": canonical_json(label_filter(self._instance)).decode()}
        with translated("images"):
            found: list[Data] = await self._ask("GET", "images/json", params=params)
        return [_listed(each) for each in found]

    async def tag(self, image: str, reference: str) -> None:
        repository, tag = split_reference(reference)
        with translated(image):
            await self._ask("POST", f"images/{image}/tag", params={"repo": repository, "tag": tag})

    async def push(self, reference: str) -> str:
        repository, tag = split_reference(reference)
        refused = Conflict("push_refused", f"{reference} was not taken by its registry", where=reference)
        digest = ""
        try:
            async with asyncio.timeout(_TRANSFER_S):
                headers = transfer_headers(self._login, repository)
                path = f"images/{repository}/push"
                async for step in self._connection.follow(path, params={"tag": tag}, headers=headers, idle_s=_IDLE_S):
                    digest = _digest(step) or digest
        except Refusal as refusal:
            refused.message += f": {refusal.message[:500]}"
            raise as_transfer_error(refusal, reference, refused) from refusal
        except TimeoutError as error:
            raise Unavailable("registry_down", f"{reference} was not sent in time", where=reference) from error
        if not digest:
            raise down("its answer broke off in the middle of the push", reference)
        return digest

    async def pull(self, reference: str) -> str:
        if "@sha256:" not in reference:
            hint = "write repository@sha256:…: what a tag stands for can change"
            raise Invalid("image_reference", f"not a reference with a digest: {reference[:200]!r}", hint=hint)
        refused = Conflict("image_missing", f"{reference} cannot be had from its registry", where=reference)
        try:
            async with asyncio.timeout(_TRANSFER_S):
                headers = transfer_headers(self._login, reference)
                async for _ in self._connection.follow(
                    "images/create", params={"fromImage": reference}, headers=headers, idle_s=_IDLE_S
                ):
                    pass
        except Refusal as refusal:
            refused.message += f": {refusal.message[:500]}"
            raise as_transfer_error(refusal, reference, refused) from refusal
        except TimeoutError as error:
            raise Unavailable("registry_down", f"{reference} did not come in time", where=reference) from error
        with translated(reference):
            return (await self._inspect_image(reference))["Id"]

    async def remove_image(self, reference: str) -> None:
        with translated(reference):
            try:
                found = await self._inspect_image(reference)
            except Refusal as refusal:
                if refusal.status == 404:
                    return
                raise
            is_whole = reference in {found["Id"], found["Id"].removeprefix("sha256:")}
            if is_whole:
                await self._check_unused(found["Id"])
            # An engine refuses an id that has several names; one after the other needs no force.
            for name in _names(found) if is_whole else [reference]:
                await self._remove_name(name)

    async def _inspect_image(self, reference: str) -> Data:
        return await self._ask("GET", f"images/{reference}/json")

    async def _build(self, spec: BuildSpec, take: OnOutput) -> str:
        image_id = ""
        context, dockerfile = await asyncio.to_thread(pack_context, spec)
        with context:
            params = {
                "t": spec.tag,
                "dockerfile": dockerfile,
                "rm": "true",
                "forcerm": "true",
                "labels": json.dumps(spec.labels | {INSTANCE_LABEL: self._instance}),
                "buildargs": json.dumps(spec.arguments),
            }
            headers = {"Content-Type": "application/x-tar"} | build_headers(self._login)
            async for step in self._connection.follow("build", params=params, body=context, headers=headers):
                if text := step.get("stream", ""):
                    take(text)
                image_id = _aux(step).get("ID", image_id)
        return image_id

    async def _check_unused(self, image_id: str) -> None:
        params = {"all": "true", "filters": json.dumps({"ancestor": [image_id]})}
        users: list[Data] = await self._ask("GET", "containers/json", params=params)
        if any(user.get("ImageID", image_id) == image_id for user in users):
            raise _in_use(image_id, "a container was made of it")

    async def _remove_name(self, name: str) -> None:
        try:
            await self._ask("DELETE", f"images/{name}", params={"force": "false"})
        except Refusal as refusal:
            if refusal.status == 409:
                raise _in_use(name, refusal.message) from refusal
            if refusal.status != 404:
                raise


def split_reference(reference: str) -> tuple[str, str]:
    """``repository:tag`` in its two parts. Raises Invalid ``image_reference``."""
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag or not repository or not tag or "@" in reference:
        raise Invalid("image_reference", f"not a repository with a tag: {reference[:200]!r}")
    return repository, tag


def _aux(step: Data) -> Data:
    """What came of it, which engines tell beside the progress."""
    return step.get("aux") or {}


def _names(found: Data) -> list[str]:
    names: list[str] = [*(found.get("RepoTags") or ()), *(found.get("RepoDigests") or ()), found["Id"]]
    return names


def _in_use(name: str, why: str) -> Conflict:
    return Conflict(
        "image_in_use", f"{name} is in use: {why}", where=name, hint="remove the containers that were made of it first"
    )


def _build_failure(refusal: Refusal, spec: BuildSpec, tail: str) -> InterlockError:
    has_step_failed = _STEP_FAILED in refusal.message
    if NO_SPACE.search(refusal.message) or (has_step_failed and NO_SPACE.search(tail)):
        return as_error(
            Refusal(0, refusal.message if NO_SPACE.search(refusal.message) else "no space left on device"), spec.tag
        )
    if not has_step_failed and (away := no_registry(refusal, spec.tag)):
        return away
    message = f"the image was not built: {refusal.message.strip()[:500]}"
    return Conflict("build_failed", message, where=spec.tag, hint="see the end of its output", tail=tail)


def _digest(step: Data) -> str:
    """Under which digest the registry took an image; Podman tells it in words alone."""
    told = _TOLD_DIGEST.search(step.get("status") or "")
    return _aux(step).get("Digest") or (told[1] if told else "")


def _familiar(name: str) -> str:
    """As it was given: Podman writes the registry that is meant where none is said."""
    return name.removeprefix("docker.io/").removeprefix("library/")


def _status(found: Data) -> ImageStatus:
    config: Data = found.get("Config") or {}
    ports: dict[str, Any] = config.get("ExposedPorts") or {}
    return ImageStatus(
        image_id=found["Id"],
        references=tuple(_familiar(name) for name in found.get("RepoTags") or ()),
        digests=tuple(found.get("RepoDigests") or ()),
        size_bytes=found.get("Size", 0),
        labels=config.get("Labels") or {},
        ports=tuple(sorted(int(port.partition("/")[0]) for port in ports if port.endswith("/tcp"))),
        user=config.get("User") or "",
        created_at=_created(found.get("Created")),
    )


def _listed(found: Data) -> ImageStatus:
    """As far as a list says it, which spares asking for each."""
    created = datetime.fromtimestamp(found.get("Created") or 0, UTC)
    return ImageStatus(
        image_id=found["Id"],
        references=tuple(name for name in found.get("RepoTags") or () if name != _UNNAMED),
        digests=tuple(name for name in found.get("RepoDigests") or () if not name.startswith("<none>")),
        size_bytes=found.get("Size", 0),
        labels=found.get("Labels") or {},
        created_at=to_text(created) if found.get("Created") else "",
    )


def _created(text: str | None) -> str:
    """In Interlock's form; engines add nanoseconds and zones."""
    try:
        return to_text(datetime.fromisoformat((text or "").partition(".")[0].rstrip("Z")).replace(tzinfo=UTC))
    except ValueError:
        return ""
