"""Tools that make, send, fetch and remove images.

All are keyed: a build leaves a tag made of its key and a label with it, and a transfer moves content that its digest names.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from interlock.core.errors import Conflict
from interlock.tools.containers.ports import KEY_LABEL, BuildSpec, ContainerEngine, ImageStatus
from interlock.tools.model import Call, Done, Effect, Keying, NotDone, Probe, Tool

TAIL_CHARACTERS = 4000

BuildOutput = Callable[[Call, str], None]
"""Takes the output of a build while it goes on."""


def _nobody(_call: Call, _text: str) -> None:
    pass


class BuildInput(msgspec.Struct, frozen=True, kw_only=True):
    """``repository`` names the image, its tag is the call's key. ``dockerfile`` is a path below ``folder``; ``dockerfile_text``
    and ``ignore_text`` stand for files that do not lie there."""

    folder: str
    repository: str
    dockerfile: str = "Dockerfile"
    dockerfile_text: str = ""
    ignore_text: str | None = None
    bases: dict[str, str] = {}
    """Name -> id of the images that it begins with, as they were when it was approved."""
    arguments: dict[str, str] = {}
    labels: dict[str, str] = {}
    timeout_s: float = 1800.0


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    """``image`` is its id, ``reference`` its name; ``digest`` is empty until a registry has it."""

    image: str
    reference: str
    digest: str
    size_bytes: int
    tail: str = ""


class BuildImage:
    """``image.build``: raises Conflict ``build_failed`` with the end of the output, ``base_changed`` where a base image is not
    what was approved."""

    name = "image.build"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = BuildInput
    output = BuiltImage

    def __init__(self, engine: ContainerEngine, on_output: BuildOutput = _nobody) -> None:
        self._engine = engine
        self._on_output = on_output

    async def act(self, call: Call, arguments: BuildInput) -> BuiltImage:
        reference, tail = _built_reference(call, arguments), ""

        def take(text: str) -> None:
            nonlocal tail
            tail = (tail + text)[-TAIL_CHARACTERS:]
            self._on_output(call, text)

        spec = BuildSpec(
            folder=arguments.folder,
            tag=reference,
            dockerfile=arguments.dockerfile,
            dockerfile_text=arguments.dockerfile_text,
            ignore_text=arguments.ignore_text,
            arguments=arguments.arguments,
            labels=arguments.labels | {KEY_LABEL: call.key},
            timeout_s=arguments.timeout_s,
        )
        await self._check_bases(arguments.bases)
        image_id = await self._engine.build(spec, take)
        found = await self._engine.image(image_id)
        if found is None:
            raise Conflict("image_missing", f"{reference} was built and is gone", where=call.task_id)
        return _built(found, reference, tail)

    async def _check_bases(self, bases: dict[str, str]) -> None:
        for name, pinned in bases.items():
            found = await self._engine.image(name)
            if found is None or found.image_id != pinned:
                now = "is not on the engine any more" if found is None else f"is {found.image_id[:19]} by now"
                message = f"the base image {name} {now}; approved was {pinned[:19]}"
                raise Conflict("base_changed", message, where=name, hint="make a new plan")

    async def probe(self, call: Call, arguments: BuildInput) -> Probe:
        reference = _built_reference(call, arguments)
        found = await self._engine.image(reference)
        # The label, not the tag alone: anybody can give a tag.
        if found is None or found.labels.get(KEY_LABEL) != call.key:
            return NotDone()
        return Done(msgspec.to_builtins(_built(found, reference, "")))

    async def abort(self, call: Call, arguments: BuildInput) -> None:
        """A build ends with the one who waits for it."""


class PushInput(msgspec.Struct, frozen=True, kw_only=True):
    """``image`` (an id) is sent as ``repository:tag``; the repository begins with its registry."""

    image: str
    repository: str
    tag: str


class PushedImage(msgspec.Struct, frozen=True, kw_only=True):
    """``reference`` is ``repository@sha256:…``."""

    reference: str
    digest: str


class PushImage:
    """``image.push``: sending what the registry has changes nothing. Raises Unavailable ``registry_down``."""

    name = "image.push"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = PushInput
    output = PushedImage

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine

    async def act(self, call: Call, arguments: PushInput) -> PushedImage:
        reference = f"{arguments.repository}:{arguments.tag}"
        await self._engine.tag(arguments.image, reference)
        digest = await self._engine.push(reference)
        return PushedImage(reference=f"{arguments.repository}@{digest}", digest=digest)

    async def probe(self, call: Call, arguments: PushInput) -> Probe:
        # Whether all of it arrived is only known by sending it again, which sends nothing that is there.
        return NotDone()

    async def abort(self, call: Call, arguments: PushInput) -> None:
        """A transfer ends with the one who waits for it."""


class PullInput(msgspec.Struct, frozen=True, kw_only=True):
    """``reference`` is ``repository@sha256:…``."""

    reference: str


class PulledImage(msgspec.Struct, frozen=True, kw_only=True):
    """``image`` is its id here."""

    image: str


class PullImage:
    """``image.pull``: raises Conflict ``image_missing``, Unavailable ``registry_down``."""

    name = "image.pull"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = PullInput
    output = PulledImage

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine

    async def act(self, call: Call, arguments: PullInput) -> PulledImage:
        return PulledImage(image=await self._engine.pull(arguments.reference))

    async def probe(self, call: Call, arguments: PullInput) -> Probe:
        found = await self._engine.image(arguments.reference)
        return NotDone() if found is None else Done({"image": found.image_id})

    async def abort(self, call: Call, arguments: PullInput) -> None:
        """A transfer ends with the one who waits for it."""


class RemoveImageInput(msgspec.Struct, frozen=True, kw_only=True):
    """``image`` is an id, which goes with all its names, or a reference."""

    image: str


class RemovedImage(msgspec.Struct, frozen=True, kw_only=True):
    image: str


class RemoveImage:
    """``image.remove``: an image that is gone is a removed one. Raises Conflict ``image_in_use``; there is no force."""

    name = "image.remove"
    effect = Effect.WRITE
    keying: Keying = "keyed"
    input = RemoveImageInput
    output = RemovedImage

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine

    async def act(self, call: Call, arguments: RemoveImageInput) -> RemovedImage:
        await self._engine.remove_image(arguments.image)
        return RemovedImage(image=arguments.image)

    async def probe(self, call: Call, arguments: RemoveImageInput) -> Probe:
        return Done({"image": arguments.image}) if await self._engine.image(arguments.image) is None else NotDone()

    async def abort(self, call: Call, arguments: RemoveImageInput) -> None:
        """A removal that was begun is left to end."""


def image_tools(engine: ContainerEngine, on_output: BuildOutput = _nobody) -> list[Tool[Any, Any]]:
    """The tools of this module on ``engine``; ``on_output`` gets what builds print while they go on."""
    return [BuildImage(engine, on_output), PushImage(engine), PullImage(engine), RemoveImage(engine)]


def _built_reference(call: Call, arguments: BuildInput) -> str:
    return f"{arguments.repository}:{call.key}"


def _built(found: ImageStatus, reference: str, tail: str) -> BuiltImage:
    digests = dict(name.split("@", 1) for name in found.digests)
    digest = digests.get(reference.rpartition(":")[0], "")
    return BuiltImage(image=found.image_id, reference=reference, digest=digest, size_bytes=found.size_bytes, tail=tail)
