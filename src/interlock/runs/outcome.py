"""How a run ended: its status, the error that decided it, and what became of what it had begun."""

from collections.abc import Iterator

from interlock.runs import model as m
from interlock.runs.graph import TaskSpec
from interlock.runs.undoing import broke_on_the_way, is_needless, is_settled, is_taken_back
from interlock.tools.model import Effect

ROLLBACK = "rollback"
"""Branches whose name begins so bring things back; a failed run in which one ran to its end has been rolled back."""


def finished(state: m.RunState, at: str) -> m.RunFinished:
    """The end of a run all of whose tasks have ended."""
    failed = [spec for spec in state.run.graph if state.tasks[spec.id].status is m.TaskStatus.FAILED]
    # What went wrong first decides; an undo that failed on top of it is told by the summary.
    failed.sort(key=lambda spec: bool(spec.undoes))
    error = dict(state.tasks[failed[0].id].error, task=failed[0].id) if failed else {}
    return end(state, m.RunFinished(at=at, status=_status(state, failed), error=error))


def end(state: m.RunState, event: m.RunFinished) -> m.RunFinished:
    """``event`` with the summary, where the run did not complete and its graph says what undoes what."""
    graph = state.run.graph
    says_something = graph.undos or graph.takers or any(spec.one_way for spec in graph)
    if event.status is m.RunStatus.COMPLETED or not says_something:
        return event
    return m.RunFinished(at=event.at, status=event.status, error=event.error, summary=_summary(state))


def _status(state: m.RunState, failed: list[TaskSpec]) -> m.RunStatus:
    if state.cancel_requested:
        return m.RunStatus.CANCELLED
    if not failed:
        return m.RunStatus.COMPLETED
    is_broken = any(spec.undoes or spec.branch.startswith(ROLLBACK) for spec in failed)
    return m.RunStatus.ROLLED_BACK if _walked_back(state) and not is_broken else m.RunStatus.FAILED


def _walked_back(state: m.RunState) -> set[str]:
    """The branches that bring things back and ran to their end: every task completed, or was left out by its condition, or is
    an undo without anything to do."""
    whole: dict[str, bool] = {}
    begun: set[str] = set()
    for spec in state.run.graph:
        if spec.branch.startswith(ROLLBACK):
            is_completed = state.tasks[spec.id].status is m.TaskStatus.COMPLETED
            is_left_out = bool(spec.condition) and state.tasks[spec.id].left_out
            is_over = is_completed or is_left_out or (bool(spec.undoes) and is_needless(state, spec))
            whole[spec.branch] = whole.get(spec.branch, True) and is_over
            if is_completed:
                begun.add(spec.branch)
    return {branch for branch in begun if whole[branch]}


def _summary(state: m.RunState) -> m.RunSummary:
    graph = state.run.graph
    brought_back = set(_brought_back(state))
    stands: list[str] = []
    undone: list[str] = []
    left: list[m.Left] = []
    never_begun: list[str] = []
    for spec in graph:
        changes = spec.effect is not Effect.READ or spec.one_way or spec.id in graph.undos
        if spec.id in graph.cleanup or spec.takes_back or not changes:
            continue
        if not state.tasks[spec.id].began:
            never_begun.append(spec.id)
        elif spec.id in brought_back:
            undone.append(spec.id)
        elif reason := _why_left(state, spec):
            left.append(m.Left(task=spec.id, reason=reason))
        else:
            stands.append(spec.id)
    return m.RunSummary(stands=tuple(stands), undone=tuple(undone), left=tuple(left), never_begun=tuple(never_begun))


def _brought_back(state: m.RunState) -> Iterator[str]:
    """What was undone by its own undo, or taken back by something else; where nothing says what a branch takes back, by one to
    its end that reacts to it."""
    graph = state.run.graph
    walked = _walked_back(state)
    for spec in graph:
        if spec.undoes and state.tasks[spec.id].status is m.TaskStatus.COMPLETED:
            yield spec.undoes
        elif is_taken_back(state, spec.id):
            yield spec.id
        elif spec.when == "failed" and spec.branch in walked and not graph.takers:
            yield from (need for need in spec.needs if need not in graph.reactions and not graph.specs[need].one_way)


def _why_left(state: m.RunState, spec: TaskSpec) -> str:
    """Why what a task began is still there against the run's will; empty where it is meant to stay."""
    task = state.tasks[spec.id]
    is_completed = task.status is m.TaskStatus.COMPLETED
    if spec.one_way:
        return "" if is_completed and is_settled(state, spec) else f"cannot be undone: {spec.one_way}"
    undo_id = state.run.graph.undos.get(spec.id)
    if undo_id is None:
        if broken := broke_on_the_way(state, spec.id):
            return _why_not_undone(state, broken)
        return "" if is_completed else f"{task.status} half-way, and nothing undoes it"
    if is_needless(state, state.run.graph.specs[undo_id]):
        return ""
    return _why_not_undone(state, undo_id)


def _why_not_undone(state: m.RunState, undo_id: str) -> str:
    undo = state.tasks[undo_id]
    return f"{undo_id} {undo.status}: {undo.error.get('message', '') or undo.reason}"
