"""Where a promotion comes from and where it may go. Pure."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from interlock.core.errors import Conflict, Invalid
from interlock.delivery.model import Deployment, Release
from interlock.plans.facts import EnvironmentFacts, Origin
from interlock.plans.model import Pin
from interlock.plans.words.model import Understood


def source_of(wish: Understood, order: Sequence[str]) -> str:
    """The environment that was said, else the one before the first target in promotion order. Raises Invalid
    ``promotion_source``."""
    target = wish.environments[0]
    if wish.source is not None:
        return wish.source
    if order.index(target) == 0:
        message = f"{target} is the first environment: nothing comes before it"
        hint = f'say where from: interlock plan "promote {wish.service} from ENVIRONMENT to {target}"'
        raise Invalid("promotion_source", message, where=target, hint=hint)
    return order[order.index(target) - 1]


def check_is_meant(wish: Understood, serving: Deployment, release: Release) -> None:
    """Raises Conflict ``other_version`` where a version was said and another one serves at the source."""
    if wish.version is None:
        return
    said = wish.version.name
    if said.removeprefix("v") != serving.version.removeprefix("v") and not release.commit.startswith(said):
        message = f"{serving.version} serves in {serving.environment}, not {said}"
        hint = f'promote what serves there, or deploy that version: interlock plan "deploy {said} of {wish.service} to …"'
        raise Conflict("other_version", message, where=serving.environment, hint=hint)


def check_not_there(release: Release, environments: Iterable[EnvironmentFacts]) -> None:
    """Raises Conflict ``nothing_to_do`` where an environment has the very release already."""
    for environment in environments:
        if environment.serving is not None and environment.serving.release_id == release.release_id:
            message = f"{environment.name} has {release.version} already: release {release.release_id}"
            raise Conflict("nothing_to_do", message, where=environment.name)


def origin_of(serving: Deployment, release: Release, targets: Sequence[str], order: Sequence[str]) -> Origin:
    """What is said of the source on the plan."""
    places = [order.index(name) for name in (serving.environment, *targets)]
    passed = {order[place] for one, two in pairwise(places) for place in range(one + 1, two)}
    pin = Pin(
        environment=serving.environment,
        deployment_id=serving.deployment_id,
        release_id=release.release_id,
        version=serving.version,
        bundle=release.bundle,
    )
    return Origin(
        pin=pin,
        good_since=serving.live_at,
        skipped=tuple(name for name in order if name in passed),
        is_backwards=min(places[1:]) < places[0],
    )
