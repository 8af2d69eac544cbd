"""Executors that turn a commit into a release: check out, run the module's commands or build an image, seal what came out."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Unavailable
from interlock.delivery import bundles
from interlock.delivery.model import Release
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import (
    CommandTask,
    ContainerCommandTask,
    ImageTask,
    MigrateTask,
    PushTask,
    ReleaseTask,
    read,
)
from interlock.runs.ports import TaskContext


class Building:
    """``delivery.checkout``, ``.command``, ``.image`` and what follows from it, ``.release`` and ``.migrate``."""

    def __init__(self, delivery: Delivery, clock: Clock) -> None:
        self._delivery = delivery
        self._clock = clock

    async def checkout(self, context: TaskContext) -> dict[str, Any]:
        """A work tree of the pinned commit, in the release's own folder."""
        return await context.call("git.checkout", context.inputs)

    async def discard(self, context: TaskContext) -> dict[str, Any]:
        """Take a half-built folder away, and the image that was built of it with the containers in which it was tested."""
        image = context.inputs.pop("image", None)
        # First, so that it goes even where somebody else uses the image by now.
        removed = await context.call("git.remove_checkout", context.inputs)
        if image:
            await context.call("container.remove", {"image": image})
            await context.call("image.remove", {"image": image})
        return removed

    async def command(self, context: TaskContext) -> dict[str, Any]:
        """One of the module's commands: install, build or test."""
        return await self._run(context, read(CommandTask, context.inputs), {})

    async def migrate(self, context: TaskContext) -> dict[str, Any]:
        """A migration, or its undo: a command that gets the service's secrets, as an instance of it would."""
        if "image" in context.inputs:
            return await self.container_command(context)
        task: MigrateTask = read(MigrateTask, context.inputs)
        return await self._run(context, task, {"secrets": task.secrets})

    async def _run(self, context: TaskContext, task: CommandTask, more: dict[str, Any]) -> dict[str, Any]:
        arguments = {
            "commands": task.commands,
            "folder": task.folder,
            "environment": task.environment,
            "timeout_s": task.timeout_s,
        }
        output = await context.call("command.run", arguments | more)
        dropped = f", {output['dropped_bytes']} bytes dropped" if output["dropped_bytes"] else ""
        await context.report(f"{output['output_bytes']} bytes of output{dropped}", key=output["key"])
        return output

    async def image(self, context: TaskContext) -> dict[str, Any]:
        """Build the image of the work tree."""
        task: ImageTask = read(ImageTask, context.inputs)
        output = await context.call("image.build", msgspec.to_builtins(task))
        await context.report(f"image {output['image'][:19]} of {output['size_bytes'] / 1e6:.0f} MB", tail=output["tail"])
        return {"image": output["image"]}

    async def container_command(self, context: TaskContext) -> dict[str, Any]:
        """One of the module's commands, in the image."""
        task: ContainerCommandTask = read(ContainerCommandTask, context.inputs)
        said = {name: value for name, value in msgspec.to_builtins(task).items() if name in context.inputs}
        output = await context.call("container.run", said)
        await context.report(f"{output['output_bytes']} bytes of output", key=output["key"])
        return output

    async def push(self, context: TaskContext) -> dict[str, Any]:
        """Send the image to the registry, from which it can be had again when the engine has lost it."""
        task: PushTask = read(PushTask, context.inputs)
        output = await context.call("image.push", msgspec.to_builtins(task))
        await context.report(f"the registry has it as {output['reference']}")
        return {"reference": output["reference"]}

    async def release(self, context: TaskContext) -> dict[str, Any]:
        """Seal the folder and make the release known."""
        task: ReleaseTask = read(ReleaseTask, context.inputs)
        try:
            bundle = await asyncio.to_thread(bundles.seal, Path(task.folder))
        except OSError as error:
            raise Unavailable("storage", f"the release cannot be sealed: {error}", where=task.folder) from error
        release = Release(
            release_id=task.release_id,
            service=task.service,
            version=task.version,
            commit=task.commit,
            content=task.content,
            folder=task.folder,
            bundle=bundle,
            built_at=to_text(self._clock.now()),
            built_by=context.run.run_id,
            recipe=task.recipe,
            image=task.image,
            reference=task.reference or "",
            container_port=task.container_port,
        )
        await self._delivery.record_release(context.scope, release)
        await context.report(f"release {release.release_id} is sealed", bundle=bundle)
        return {"release_id": release.release_id, "bundle": bundle, "image": release.image}
