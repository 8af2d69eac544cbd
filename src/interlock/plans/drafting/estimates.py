"""How long a plan is likely to take: what the same steps took last time, else what such steps usually take."""

from interlock.core.clock import from_text
from interlock.runs.graph import TaskGraph
from interlock.runs.model import RunState, TaskStatus

USUAL_S = {
    "delivery.checkout": 1.0,
    "delivery.command": 15.0,
    "delivery.release": 1.0,
    "delivery.migrate": 5.0,
    "delivery.start": 1.0,
    "delivery.verify": 4.0,
    "delivery.switch": 0.5,
    "delivery.smoke": 1.0,
    "delivery.retire": 3.0,
}
"""Seconds, from deployments of small services on one host; used only until there is a history."""


def durations(run: RunState) -> dict[str, float]:
    """Seconds that each completed task of a run took."""
    return {
        task_id: max(0.0, (from_text(task.ended_at) - from_text(task.started_at)).total_seconds())
        for task_id, task in run.tasks.items()
        if task.status is TaskStatus.COMPLETED and task.started_at
    }


def estimates(graph: TaskGraph, history: dict[str, float], watch_s: float) -> dict[str, float]:
    """Seconds that each of the tasks is likely to take that run when nothing goes wrong."""
    found: dict[str, float] = {}
    for task in graph:
        if task.when == "failed" or task.branch or task.undoes:
            continue
        usual = history.get(task.id, USUAL_S.get(task.kind, 1.0))
        if task.kind in {"delivery.watch", "delivery.analyse"}:
            usual = float(task.inputs.get("bake_s", watch_s))
        found[task.id] = usual
    return found


def estimate_s(graph: TaskGraph, usual: dict[str, float]) -> float:
    """The length of the longest path over the tasks in ``usual``."""
    finish: dict[str, float] = {}
    for task in graph:
        if task.id in usual:
            finish[task.id] = usual[task.id] + max((finish.get(need, 0.0) for need in task.needs), default=0.0)
    return round(max(finish.values(), default=0.0), 1)
