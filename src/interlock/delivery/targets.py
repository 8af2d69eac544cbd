"""Where instances of deployments run: one kind of `Workloads` for each kind of target."""

import asyncio
from collections.abc import Mapping

from interlock.core.errors import Unavailable
from interlock.delivery.model import Deployment, Instance
from interlock.sources.model import Target
from interlock.tools.ports import ProcessStatus, Workloads

LOOK_S = 3.0
"""The longest look at an instance: a target that hangs must not keep anybody from seeing the others."""


class Targets:
    """The targets of this control plane, by kind."""

    def __init__(self, workloads: Mapping[Target, Workloads]) -> None:
        self._workloads = dict(workloads)

    def of(self, target: Target) -> Workloads:
        """Raises Unavailable ``no_target`` for a kind that this control plane was not given."""
        if target not in self._workloads:
            raise Unavailable(
                "no_target", f"this control plane runs no {target}s", hint="see docs/settings.md, INTERLOCK_CONTAINER_ENGINE"
            )
        return self._workloads[target]

    async def statuses(self, deployment: Deployment) -> dict[Instance, ProcessStatus]:
        """What is observed of each instance now; ``unknown`` where that takes too long."""
        workloads = self.of(deployment.target)
        found = await asyncio.gather(*[_look(workloads, instance.key) for instance in deployment.instances])
        return dict(zip(deployment.instances, found, strict=True))


async def _look(workloads: Workloads, key: str) -> ProcessStatus:
    try:
        async with asyncio.timeout(LOOK_S):
            return await workloads.status(key)
    except TimeoutError:
        return ProcessStatus(state="unknown", message=f"it could not be looked at within {LOOK_S:g} s")


def is_itself(instance: Instance, status: ProcessStatus) -> bool:
    """Whether what is seen under the key of an instance is that one, as far as this can be told."""
    return not instance.identity or not status.identity or instance.identity == status.identity
