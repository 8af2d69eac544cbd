"""Whether a task can run now, later, or never: what became of its needs, and what its condition says."""

from interlock.core.errors import Invalid
from interlock.runs import conditions
from interlock.runs import model as m
from interlock.runs.fanning import inputs_of
from interlock.runs.graph import TaskSpec
from interlock.runs.undoing import went_wrong


def readiness(state: m.RunState, spec: TaskSpec) -> str:
    """``ready``, ``never`` or ``wait``."""
    needs = [state.tasks[need] for need in spec.needs]
    has_ended = all(need.status in m.TASK_ENDED for need in needs)
    if spec.when != "failed":
        if _blocker(state, spec):
            return "never"
        enough = any if spec.when == "any" else all
        is_met = enough(need.status is m.TaskStatus.COMPLETED for need in needs)
        return "wait" if not has_ended else "ready" if is_met else "never"
    if not has_ended:
        return "wait"
    return "ready" if any(went_wrong(need) for need in needs) else "never"


def _blocker(state: m.RunState, spec: TaskSpec) -> str:
    """The first need because of which a task cannot run, whatever becomes of the others; empty where there is none.

    One that was left out by choice is none yet: what follows from a choice must not hang on which need ended first. A reaction
    that was not called for is, unless this joins.
    """
    for name in spec.needs:
        need = state.tasks[name]
        is_open = need.left_out and (spec.when == "any" or name not in state.run.graph.reactions)
        if need.status in m.TASK_ENDED and need.status is not m.TaskStatus.COMPLETED and not is_open:
            return name
    return ""


def why_skipped(state: m.RunState, spec: TaskSpec) -> str:
    """Why a task that can never run cannot, in words."""
    if spec.when == "failed":
        return "nothing went wrong before it"
    if spec.when == "any" and not _blocker(state, spec):
        return "nothing before it completed"
    blocker = next(need for need in spec.needs if state.tasks[need].status in m.TASK_ENDED - {m.TaskStatus.COMPLETED})
    if spec.when == "any" or state.tasks[blocker].left_out:
        blocker = _blocker(state, spec) or blocker
    return f"{blocker} {state.tasks[blocker].status}"


def kept_out(state: m.RunState, spec: TaskSpec, at: str) -> m.TaskSkipped | m.TaskFailed | None:
    """The end of a task whose condition does not hold, or says nothing; None where it holds."""
    outputs = {need: state.tasks[need].output for need in spec.needs if state.tasks[need].status is m.TaskStatus.COMPLETED}
    try:
        if conditions.holds(spec.condition, {} if spec.each else inputs_of(state, spec.id), outputs):
            return None
    except Invalid as error:
        error.where = f"task {spec.id}, {error.where}"
        return m.TaskFailed(at=at, task=spec.id, error=error.as_dict())
    return m.TaskSkipped(at=at, task=spec.id, reason=f"condition {spec.condition} is false")
