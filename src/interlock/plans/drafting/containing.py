"""What a plan has to know of a service that is to run in containers: its Dockerfile, its names, its port."""

import msgspec

from interlock.core.addresses import LOCAL
from interlock.core.errors import InterlockError, Unavailable
from interlock.core.scope import Scope
from interlock.plans.facts import ImagePlan
from interlock.sources.dockerfile import CONTAINER_PORT, BaseImages, generate_dockerfile
from interlock.sources.dockerfile_reading import base_images, has_digest, is_reference, unbuildable
from interlock.sources.model import Analysis, Finding, Recipe
from interlock.sources.ports import Ref
from interlock.sources.service import Sources
from interlock.tools.containers.ports import ContainerEngine

MANIFESTS = ("requirements.txt", "pyproject.toml", "package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc")
"""Files at the root that name dependencies: what is installed early in a generated Dockerfile."""

_NOT_ASKED = "the engine could not be asked"
_PIN_HINT = "bring it to the engine and make the plan again, or name it with its digest"


class Containing:
    """``engine`` is asked for base images; ``registry`` is where images are sent, empty for nowhere; ``host`` the address at
    which containers are reached."""

    def __init__(self, sources: Sources, images: BaseImages, engine: ContainerEngine, registry: str, host: str = LOCAL) -> None:
        self._sources = sources
        self._images = images
        self._engine = engine
        self._registry = registry
        self.host = host

    async def plan(self, scope: Scope, service: str, url: str, ref: Ref, analysis: Analysis) -> ImagePlan | None:
        """How the image of a commit is built; None for what runs as processes. Raises Invalid where none can be generated."""
        recipe = analysis.recipe
        if recipe.target != "container":
            return None
        repository = f"interlock/{service}"
        image = ImagePlan(
            repository=repository,
            registry=f"{self._registry}/{repository}" if self._registry else "",
            container_port=_inner_port(recipe),
        )
        if recipe.dockerfile:
            texts = await self._sources.texts(scope, url, ref, (recipe.dockerfile,))
            text = texts.get(recipe.dockerfile)
            image = msgspec.structs.replace(image, dockerfile=recipe.dockerfile)
            return await self._pinned(image, text or "", unbuildable(text, recipe.dockerfile))
        manifests = await self._sources.texts(scope, url, ref, MANIFESTS)
        made = generate_dockerfile(recipe, self._images, manifests)
        image = msgspec.structs.replace(image, text=made.text, ignore=made.ignore, container_port=made.container_port)
        return await self._pinned(image, made.text, ())

    async def _pinned(self, image: ImagePlan, text: str, findings: tuple[Finding, ...]) -> ImagePlan:
        """With the images that it begins with as the engine has them, and a finding for each that cannot be told now."""
        bases: dict[str, str] = {}
        where, away = "" if image.text else image.dockerfile, ""
        for name in base_images(text):
            base_id, why = ("", away) if away else await self._look_up(name)
            if why.startswith(_NOT_ASKED):
                # Whoever waits for a plan waits for one answer that does not come, not for all of them.
                away = why
            if base_id:
                bases[name] = base_id
            elif not has_digest(name):
                message = f"the base image {name} is not pinned: {why}"
                finding = Finding(severity="warning", code="base_unpinned", message=message, where=where, hint=_PIN_HINT)
                findings = (*findings, finding)
        return msgspec.structs.replace(image, bases=bases, findings=findings)

    async def _look_up(self, name: str) -> tuple[str, str]:
        """The id of an image; where there is none, why not."""
        if not is_reference(name):
            return "", "which one it is is decided while it is built"
        try:
            found = await self._engine.image(name)
        except Unavailable as error:
            return "", f"{_NOT_ASKED}: {error.message}"
        except InterlockError as error:
            return "", f"the engine refused to look: {error.message}"
        return (found.image_id, "") if found else ("", "the engine does not have it yet, and takes what its registry has then")


def contained(analysis: Analysis) -> Analysis:
    """The analysis of what runs in a container: wherever it listens inside, outside it can be given any port."""
    recipe = analysis.recipe
    if recipe.target != "container" or recipe.takes_port or recipe.port is None:
        return analysis
    return msgspec.structs.replace(analysis, recipe=msgspec.structs.replace(recipe, takes_port=True))


def _inner_port(recipe: Recipe) -> int | None:
    return (recipe.port or CONTAINER_PORT) if recipe.takes_port else recipe.port
