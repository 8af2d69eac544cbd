"""What a run that did not complete leaves behind, in words: environment by environment, then what nobody could take back."""

from collections.abc import Iterator
from typing import Any

from interlock.plans.model import Pin, PlanContent
from interlock.runs.model import RunState, TaskStatus
from interlock.runs.undoing import is_taken_back

MIGRATION = "delivery.migrate"


def what_is_now(content: PlanContent, version: str, run: RunState) -> str:
    """Such as ``staging has v1.3.0; production was brought back to v1.2.0``; empty for what changes no environment."""
    if run.summary is None:
        return ""
    places = (_environment(run, pin, version) for pin in content.pins if f"start-{pin.environment}" in run.tasks)
    return "; ".join([*places, *_migrations(run)])


def _environment(run: RunState, pin: Pin, version: str) -> str:
    name, before = pin.environment, pin.version
    completed = {task_id for task_id, task in run.tasks.items() if task.status is TaskStatus.COMPLETED}
    if _is_overtaken(run, name):
        return f"{name} was changed by somebody else meanwhile, and left so"
    if f"restore-{name}" in run.tasks and run.tasks[f"restore-{name}"].began:
        if f"return-{name}" not in completed:
            return f"{name} could not be brought back{f' to {before}' if before else ''}: a person has to look"
        return f"{name} was brought back to {before}" if before else f"{name} was taken out of traffic; nothing served before"
    if f"watch-{name}" in completed:
        return f"{name} has {version}"
    own = [spec for spec in run.run.graph if _is_in(spec.inputs, name) and spec.id not in run.run.graph.cleanup]
    begun = [spec.id for spec in own if run.tasks[spec.id].began]
    if not begun:
        return f"{name} was not touched, {before} serves there" if before else f"{name} was not touched, nothing serves there"
    start = f"start-{name}"
    if run.tasks[start].began and not is_taken_back(run, start):
        return f"what runs in {name} is not certain: a person has to look"
    return f"{name} still has {before}" if before else f"nothing serves in {name}, as before"


def _is_overtaken(run: RunState, environment: str) -> bool:
    """Whether something else serves than what the plan was made against, and than what it brought itself."""
    codes = {task.error.get("code") for task_id, task in run.tasks.items() if task_id.endswith(f"-{environment}")}
    restored = run.tasks.get(f"restore-{environment}")
    return "environment_changed" in codes or (restored is not None and bool(restored.output.get("stays")))


def _is_in(inputs: dict[str, Any], environment: str) -> bool:
    place: dict[str, Any] = inputs.get("place") or {}
    return place.get("environment") == environment


def _migrations(run: RunState) -> Iterator[str]:
    if run.summary is None:
        return
    kinds = {spec.id: spec.kind for spec in run.run.graph}
    if undone := [task_id for task_id in run.summary.undone if kinds[task_id] == MIGRATION]:
        yield f"undone: {', '.join(undone)}"
    yield from (f"not undone: {item.task} ({item.reason})" for item in run.summary.left)
