"""Where instances of deployments run: one kind of `Workloads` for each kind of target."""

from collections.abc import Mapping

from interlock.core.errors import Unavailable
from interlock.delivery.model import Deployment, Instance
from interlock.sources.model import Target
from interlock.tools.ports import ProcessStatus, Workloads


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
        """What is observed of each instance now."""
        workloads = self.of(deployment.target)
        return {instance: await workloads.status(instance.key) for instance in deployment.instances}
