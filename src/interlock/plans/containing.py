"""What a plan has to know of a service that is to run in containers: its Dockerfile, its names, its port."""

import msgspec

from interlock.core.addresses import LOCAL
from interlock.core.scope import Scope
from interlock.plans.facts import ImagePlan
from interlock.sources.dockerfile import CONTAINER_PORT, BaseImages, generate_dockerfile
from interlock.sources.dockerfile_reading import unbuildable
from interlock.sources.model import Analysis, Recipe
from interlock.sources.ports import Ref
from interlock.sources.service import Sources

MANIFESTS = ("requirements.txt", "pyproject.toml", "package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc")
"""Files at the root that name dependencies: what is installed early in a generated Dockerfile."""


class Containing:
    """``registry`` is where images are sent, empty for nowhere; ``host`` the address at which containers are reached."""

    def __init__(self, sources: Sources, images: BaseImages, registry: str, host: str = LOCAL) -> None:
        self._sources = sources
        self._images = images
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
            findings = unbuildable(texts.get(recipe.dockerfile), recipe.dockerfile)
            return msgspec.structs.replace(image, dockerfile=recipe.dockerfile, findings=findings)
        manifests = await self._sources.texts(scope, url, ref, MANIFESTS)
        made = generate_dockerfile(recipe, self._images, manifests)
        return msgspec.structs.replace(image, text=made.text, ignore=made.ignore, container_port=made.container_port)


def contained(analysis: Analysis) -> Analysis:
    """The analysis of what runs in a container: wherever it listens inside, outside it can be given any port."""
    recipe = analysis.recipe
    if recipe.target != "container" or recipe.takes_port or recipe.port is None:
        return analysis
    return msgspec.structs.replace(analysis, recipe=msgspec.structs.replace(recipe, takes_port=True))


def _inner_port(recipe: Recipe) -> int | None:
    return (recipe.port or CONTAINER_PORT) if recipe.takes_port else recipe.port
