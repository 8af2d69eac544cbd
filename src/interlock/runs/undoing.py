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
    target = state.tasks[undo.undoes]
    return not target.began or (is_settled(state, undo) and target.status is m.TaskStatus.COMPLETED)


def is_settled(state: m.RunState, spec: TaskSpec) -> bool:
    """Whether what settles ``spec`` has completed."""
    settles = state.tasks.get(spec.settled_by)
    return settles is not None and settles.status is m.TaskStatus.COMPLETED


def is_taken_back(state: m.RunState, task_id: str) -> bool:
    """Whether something that takes it back, beside an undo of its own, has completed."""
    takers = state.run.graph.takers.get(task_id, ())
    return any(state.tasks[taker].status is m.TaskStatus.COMPLETED for taker in takers)


def broke_on_the_way(state: m.RunState, task_id: str) -> str:
    """Of what takes this task back and was called for, the task that broke off and kept it from its end; empty where nothing
    was called for, or nothing broke off."""
    found = (_broken(state, taker) for taker in state.run.graph.takers.get(task_id, ()))
    return next((taker for taker in found if taker), "")


def _broken(state: m.RunState, task_id: str) -> str:
    status, spec = state.tasks[task_id].status, state.run.graph.specs[task_id]
    if status in BROKEN_OFF:
        return task_id
    # One that waits for a failure and was skipped was not called for; what follows from it was skipped for that alone.
    if status is not m.TaskStatus.SKIPPED or spec.when == "failed":
        return ""
    needs = (need for need in spec.needs if need in state.run.graph.reactions)
    return next((broken for need in needs if (broken := _broken(state, need))), "")


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
        self._blockers: dict[str, tuple[str, str]] = {}
        """For a task another that rests on it and is still there, and why that is: both in words."""

    def due(self) -> Iterator[TaskSpec]:
        """The undos whose turn has come and that have not ended, in reading order; also those that become due meanwhile."""
        while self._free or self._due:
            while self._free:
                self._take(self._free.pop())
            if self._due:
                yield self._graph.tasks[heappop(self._due)]

    def _take(self, task_id: str) -> None:
        blockers = (self._blocker(successor) for successor in self._graph.successors[task_id])
        if blocker := next((found for found in blockers if found), None):
            self._blockers[task_id] = blocker
        undo = self._graph.undos.get(task_id)
        if undo is None or self._state.tasks[undo].status in m.TASK_ENDED:
            self.release(task_id)
        else:
            # In reading order, so that the same state leads to the same events however much of the walk was done before.
            heappush(self._due, self._graph.places[undo])

    def _blocker(self, task_id: str) -> tuple[str, str] | None:
        undo = self._graph.undos.get(task_id, "")
        if undo and self._state.tasks[undo].status in BROKEN_OFF:
            return task_id, f"{undo} {self._state.tasks[undo].status}"
        if self._graph.takers.get(task_id) and self._state.tasks[task_id].began and not is_taken_back(self._state, task_id):
            broken = broke_on_the_way(self._state, task_id)
            return task_id, f"{broken} {self._state.tasks[broken].status}" if broken else f"{task_id} stands"
        return self._blockers.get(task_id)

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
            return f"{blocker[1]}, and {blocker[0]} rests on {undo.undoes}"
        return ""
