"""What a release consists of, and whether it is all there: files in a folder, and an image where it runs in containers."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from interlock.core.errors import Conflict, Unavailable
from interlock.delivery import bundles
from interlock.delivery.model import Release
from interlock.tools.containers.ports import ContainerEngine

RELEASE_LABEL = "interlock.release"
"""Which release an image or a container is of."""


class Artifacts(Protocol):
    """The artifacts of releases."""

    async def check(self, release: Release) -> None:
        """Raises Conflict ``bundle_missing``, ``bundle_changed`` or ``image_missing`` unless the release could be started."""
        ...

    async def missing(self, releases: Iterable[Release]) -> dict[str, str]:
        """Release -> what of it is not there any more, for those of which something is missing. Told at a glance, without a
        look into the files; what cannot be told is not missing."""
        ...

    async def remove(self, release: Release) -> bool:
        """Take them away; whether there was anything."""
        ...

    async def sweep(self, known: Collection[str], before: datetime) -> int:
        """Take away images that were built before then and belong to none of the ``known`` releases; how many."""
        ...


class StoredArtifacts:
    """Folders on this host, and images on a container engine."""

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine

    async def check(self, release: Release) -> None:
        """As the protocol says. An image that the engine has lost is had again from its registry, by digest."""
        await asyncio.to_thread(bundles.check, Path(release.folder), release.bundle)
        if not release.image or await self._engine.image(release.image) is not None:
            return
        if not release.reference:
            hint = "deploy it again to build it anew; with a registry (INTERLOCK_CONTAINER_REGISTRY) it could be had from there"
            raise Conflict("image_missing", f"the image of {release.version} is gone from the engine", hint=hint)
        pulled = await self._engine.pull(release.reference)
        if pulled != release.image:
            raise Conflict(
                "image_missing", f"the registry has {pulled} in the place of {release.image}", where=release.reference
            )

    async def missing(self, releases: Iterable[Release]) -> dict[str, str]:
        """As the protocol says."""
        wanted = list(releases)
        found = await asyncio.to_thread(_without_folder, wanted)
        if any(release.image for release in wanted):
            try:
                there = {image.image_id for image in await self._engine.images()}
            except Unavailable:
                return found
            for release in wanted:
                if release.image and release.image not in there:
                    again = f"; it can be had again from {release.reference}" if release.reference else ""
                    found[release.release_id] = f"its image is gone from the engine{again}"
        return found

    async def remove(self, release: Release) -> bool:
        """As the protocol says; an image that a container still uses stays until the next time."""
        removed = await asyncio.to_thread(bundles.remove, Path(release.folder))
        if release.image and await self._engine.image(release.image) is not None:
            return await self._remove_image(release.image) or removed
        return removed

    async def sweep(self, known: Collection[str], before: datetime) -> int:
        """As the protocol says: what is left of builds that failed, or whose tests did."""
        removed = 0
        for image in await self._engine.images():
            is_old = not image.created_at or datetime.fromisoformat(image.created_at) < before
            if is_old and image.labels.get(RELEASE_LABEL) not in known:
                removed += await self._remove_image(image.image_id)
        return removed

    async def _remove_image(self, image: str) -> bool:
        try:
            await self._engine.remove_image(image)
        except Conflict:
            return False
        return True


def _without_folder(releases: Sequence[Release]) -> dict[str, str]:
    return {item.release_id: f"{item.folder} is gone" for item in releases if not Path(item.folder).is_dir()}
