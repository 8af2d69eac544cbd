"""From an approved plan, or a part of it, to its run."""

from typing import Any

import msgspec

from interlock.core.errors import Conflict
from interlock.core.scope import Scope
from interlock.plans.model import Plan, PlanContent
from interlock.runs.graph import TaskGraph
from interlock.runs.model import Limits, Run
from interlock.runs.parts import Each
from interlock.runs.references import resolve
from interlock.runs.service import Runs

MAIN = "main"
HEAL = "heal:"
"""How the roles of runs begin that bring back what was changed from outside: ``heal:staging``, then ``heal:staging:2``."""

ROLLBACK = "rollback:"
"""The same of runs that bring back what was there before."""


def numbered(branch: str, earlier: int) -> str:
    """The role of a run of ``branch`` that ``earlier`` ones of it went before."""
    return f"{branch}:{earlier + 1}" if earlier else branch


def environment_of(role: str) -> str:
    """The environment that a run in this role heals or brings back."""
    return role.split(":")[1]


class Launching:
    """Submits runs; ``limits`` bound each of them."""

    def __init__(self, runs: Runs, limits: Limits) -> None:
        self._runs = runs
        self._limits = limits

    async def submit(self, scope: Scope, plan: Plan, content: PlanContent, role: str, graph: TaskGraph) -> str:
        """Start the run of ``graph`` in this role of the plan; once it was started, doing it again changes nothing. Returns its
        id."""
        run = Run(
            run_id=_run_id(plan.plan_id, role),
            plan_id=plan.plan_id,
            role=role,
            title=plan.text if role == MAIN else f"{role} of: {plan.text}",
            requested_by=plan.approvals[-1].by if plan.approvals else plan.requested_by,
            correlation_id=scope.correlation_id,
            graph=graph,
            grants=content.grants,
            plan_hash=plan.content_hash,
            limits=self._long_enough(content),
            estimates={task_id: usual for task_id, usual in plan.estimates.items() if task_id in graph.specs},
        )
        try:
            await self._runs.submit(scope, run)
        except Conflict as error:
            # The event came twice, or the control plane died between the submission and the cursor.
            if error.code != "run_exists":
                raise
        return run.run_id

    def _long_enough(self, content: PlanContent) -> Limits:
        """The limits, beside the time for which the approved plan itself says that it watches."""
        watching_s = (content.watch.window_s or 0.0) * len(content.environments)
        watching_s += sum(float(task.inputs.get("bake_s", 0.0)) for task in content.graph)
        return msgspec.structs.replace(self._limits, timeout_s=self._limits.timeout_s + watching_s)


def bound(graph: TaskGraph, outputs: dict[str, dict[str, Any]]) -> TaskGraph:
    """The graph with references to tasks outside it replaced by what those gave when they ran."""
    inside = {task.id for task in graph}
    outside = {task_id: output for task_id, output in outputs.items() if task_id not in inside}

    def bind(value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"$output"}:  # pyright: ignore[reportUnknownArgumentType]
            owner = str(value["$output"]).rpartition(".")[0]  # pyright: ignore[reportUnknownArgumentType]
            return value if owner in inside else resolve(value, outside)  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, dict):
            return {key: bind(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
        return [bind(item) for item in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]

    def bind_list(each: Each | None) -> Each | None:
        return each and msgspec.structs.replace(each, items=bind(each.items))

    found = (msgspec.structs.replace(task, inputs=bind(task.inputs), each=bind_list(task.each)) for task in graph)
    return TaskGraph(tasks=tuple(found))


def _run_id(plan_id: str, role: str) -> str:
    """Derived from the plan: the same approval can only ever be the same run."""
    suffix = "" if role == MAIN else "_" + role.replace(":", "_").replace("rollback", "rb")
    return plan_id.replace("plan_", "run_") + suffix
