"""What a release consists of, and whether it is all there: files in a folder, and an image where it runs in containers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from interlock.core.errors import Conflict, Unavailable
from interlock.delivery import bundles
from interlock.delivery.model import Release
from interlock.tools.containers.ports import ContainerEngine

log = structlog.get_logger(__name__)

RELEASE_LABEL = "interlock.release"
"""Which release an image or a container is of."""

Known = Callable[[Collection[str]], Awaitable[set[str]]]
"""Those of the given releases that are on record."""


class Artifacts(Protocol):
    """The artifacts of releases."""

    async def check(self, release: Release) -> None:
        """Raises Conflict ``bundle_missing``, ``bundle_changed`` or ``image_missing`` unless the release could be started."""
        ...

    async def missing(self, releases: Iterable[Release]) -> dict[str, str]:
        """Release -> what is missing, for incomplete releases only. Checks existence, not content; images count as present
        while the engine is unreachable."""
        ...

    async def remove(self, releases: Iterable[Release]) -> list[str]:
        """Take them away; of which releases there was anything. What cannot be had now stays until the next time."""
        ...

    async def sweep(self, known: Known, before: datetime) -> int:
        """Take away images that were built before then and belong to no ``known`` release; how many. Raises Unavailable."""
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

    async def remove(self, releases: Iterable[Release]) -> list[str]:
        """As the protocol says; an image that a container still uses stays as well."""
        wanted = list(releases)
        removed = await asyncio.to_thread(_remove_folders, wanted)
        there = await self._there(wanted)
        for release in wanted:
            if release.image in there and await self._try_to_remove(release.image):
                removed.add(release.release_id)
        return [release.release_id for release in wanted if release.release_id in removed]

    async def _there(self, releases: Iterable[Release]) -> set[str]:
        """The images that the engine has, asked once and only where some release has one."""
        if not any(release.image for release in releases):
            return set()
        try:
            return {image.image_id for image in await self._engine.images()}
        except Unavailable as error:
            log.warning("artifacts.engine_away", error=str(error))
            return set()

    async def _try_to_remove(self, image: str) -> bool:
        try:
            return await self._remove_image(image)
        except Unavailable as error:
            log.warning("artifacts.engine_away", image=image, error=str(error))
            return False

    async def sweep(self, known: Known, before: datetime) -> int:
        """As the protocol says: what is left of builds that failed, or whose tests did."""
        images = await self._engine.images()
        old = [image for image in images if not image.created_at or datetime.fromisoformat(image.created_at) < before]
        of_releases = await known({image.labels.get(RELEASE_LABEL, "") for image in old})
        left = [image for image in old if image.labels.get(RELEASE_LABEL) not in of_releases]
        return sum([await self._remove_image(image.image_id) for image in left])

    async def _remove_image(self, image: str) -> bool:
        try:
            await self._engine.remove_image(image)
        except Conflict:
            return False
        return True


def _remove_folders(releases: Sequence[Release]) -> set[str]:
    removed: set[str] = set()
    for release in releases:
        try:
            if bundles.remove(Path(release.folder)):
                removed.add(release.release_id)
        except OSError as error:
            log.warning("artifacts.not_removed", folder=release.folder, error=str(error))
    return removed


def _without_folder(releases: Sequence[Release]) -> dict[str, str]:
    return {item.release_id: f"{item.folder} is gone" for item in releases if not Path(item.folder).is_dir()}
