"""The way back of a run that went wrong: undos in the reverse order of the needs, each in its turn."""

from collections.abc import Iterator
from heapq import heappop, heappush

from interlock.runs import model as m
from interlock.runs.graph import TaskSpec

BROKEN_OFF = frozenset({m.TaskStatus.FAILED, m.TaskStatus.CANCELLED})


def went_wrong(task: m.TaskState) -> bool:
    """Whether it failed, or was cancelled when it had begun."""
    return task.status is m.TaskStatus.FAILED or (task.status is m.TaskStatus.CANCELLED and task.began)


def is_needless(state: m.RunState, undo: TaskSpec) -> bool:
    """Whether there is nothing to take back: it was never begun, or it was completed and is accepted by now."""
    target, settles = state.tasks[undo.undoes], state.tasks.get(undo.settled_by)
    is_settled = settles is not None and settles.status is m.TaskStatus.COMPLETED
    return not target.began or (is_settled and target.status is m.TaskStatus.COMPLETED)


class Unwinding:
    """Which undo is due, once every task that undoes nothing has ended. Derived from the state; the graph is walked once.

    A task is free when everything that needs it is released, and it is released when it is free and what undoes it has ended.
    So a turn comes when the undos of all that rests on a task are over, and those that do not rest on each other go together.
    """

    def __init__(self, state: m.RunState) -> None:
        self._state = state
        self._graph = graph = state.run.graph
        work = [spec for spec in graph if not spec.undoes]
        self._is_wanted = bool(state.cancel_requested) or any(went_wrong(state.tasks[spec.id]) for spec in work)
        self._unreleased = {spec.id: len(graph.successors[spec.id]) for spec in work}
        self._free = [spec.id for spec in reversed(work) if not self._unreleased[spec.id]]
        self._due: list[int] = []
        self._blockers: dict[str, str] = {}
        """For a task the undo that broke off, of one that rests on it."""

    def due(self) -> Iterator[TaskSpec]:
        """The undos whose turn has come and that have not ended, in reading order; also those that become due meanwhile."""
        while self._free or self._due:
            while self._free:
                self._take(self._free.pop())
            if self._due:
                yield self._graph.tasks[heappop(self._due)]

    def _take(self, task_id: str) -> None:
        blockers = (self._blocker(successor) for successor in self._graph.successors[task_id])
        if blocker := next((undo for undo in blockers if undo), ""):
            self._blockers[task_id] = blocker
        undo = self._graph.undos.get(task_id)
        if undo is None or self._state.tasks[undo].status in m.TASK_ENDED:
            self.release(task_id)
        else:
            # In reading order, so that the same state leads to the same events however much of the walk was done before.
            heappush(self._due, self._graph.places[undo])

    def _blocker(self, task_id: str) -> str:
        undo = self._graph.undos.get(task_id, "")
        return undo if undo and self._state.tasks[undo].status in BROKEN_OFF else self._blockers.get(task_id, "")

    def release(self, task_id: str) -> None:
        """What undoes this task has ended, or there is nothing that does."""
        for need in dict.fromkeys(self._graph.specs[task_id].needs):
            self._unreleased[need] -= 1
            if not self._unreleased[need]:
                self._free.append(need)

    def why_not(self, undo: TaskSpec) -> str:
        """Why an undo that is due is not to run; empty where it is."""
        if not self._is_wanted:
            return "nothing went wrong"
        if is_needless(self._state, undo):
            settled = f"{undo.undoes} is accepted: {undo.settled_by} completed"
            return settled if self._state.tasks[undo.undoes].began else f"{undo.undoes} never began"
        if blocker := self._blockers.get(undo.undoes):
            rests = self._graph.specs[blocker].undoes
            return f"{blocker} {self._state.tasks[blocker].status}, and {rests} rests on {undo.undoes}"
        return ""
