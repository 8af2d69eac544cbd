"""Which tasks decide when a run ends: the longest path through its graph, and how late each other task may be.

The critical path method (Kelley and Walker, 1959) over what the run has measured: a task that has ended counts as long as it
took, one that is under way as long as it was estimated or has taken by now, and one that is still to come as it is estimated.
Slots and pauses are left out: it is what the needs alone would allow.
"""

from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Literal

import msgspec

from interlock.core.clock import from_text
from interlock.runs import model as m

Basis = Literal["measured", "estimated", "unknown"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A task on its way: when it ends at the earliest after the start of the run, and by how much later it could end without
    the run ending later (``slack_s``); in seconds. ``basis`` says where ``duration_s`` is from."""

    task: str
    status: str
    duration_s: float
    basis: Basis
    ends_s: float
    slack_s: float
    is_critical: bool


class CriticalPath(msgspec.Struct, frozen=True, kw_only=True):
    """``tasks`` one after the other take ``length_s``; ``left_s`` is the longest that is still to come, on any path."""

    tasks: tuple[str, ...]
    length_s: float
    left_s: float
    steps: tuple[Step, ...]


class Course:
    """The tasks of a run that are to run, or have: what waits for a failure is left out until one begins."""

    def __init__(self, state: m.RunState, now: str) -> None:
        self._state = state
        self._now = now
        graph = state.run.graph
        self._tasks = {spec.id for spec in graph if spec.id not in graph.cleanup or state.tasks[spec.id].began}
        everything = TopologicalSorter({spec.id: spec.needs for spec in graph}).static_order()
        self._order = [task_id for task_id in everything if task_id in self._tasks]
        self._durations = {task_id: self._duration(task_id) for task_id in self._order}

    def _duration(self, task_id: str) -> tuple[float, Basis]:
        task, estimate_s = self._state.tasks[task_id], self._state.run.estimates.get(task_id, 0.0)
        if task.status in m.TASK_ENDED:
            return elapsed_s(task.started_at, task.ended_at), "measured"
        so_far_s = elapsed_s(task.started_at, self._now)
        if estimate_s > so_far_s:
            return estimate_s, "estimated"
        return so_far_s, "measured" if so_far_s else "unknown"

    def _needs(self, task_id: str) -> Iterator[str]:
        return (need for need in self._state.run.graph.specs[task_id].needs if need in self._tasks)

    def left(self) -> dict[str, tuple[float, int]]:
        """For each task how long it takes from now until it has ended, and how many have to end for that, itself counted."""
        left: dict[str, tuple[float, int]] = {}
        for task_id in self._order:
            task = self._state.tasks[task_id]
            if task.status in m.TASK_ENDED:
                left[task_id] = (0.0, 0)
                continue
            own_s = max(0.0, self._durations[task_id][0] - elapsed_s(task.started_at, self._now))
            before_s, before = max((left[need] for need in self._needs(task_id)), default=(0.0, 0))
            left[task_id] = (before_s + own_s, before + 1)
        return left

    def critical_path(self) -> CriticalPath:
        """The path that takes longest; of paths that take the same, the one with the most tasks."""
        ends: dict[str, tuple[float, int]] = {}
        for task_id in self._order:
            start_s, before = max((ends[need] for need in self._needs(task_id)), default=(0.0, 0))
            ends[task_id] = (start_s + self._durations[task_id][0], before + 1)
        length_s = max((end_s for end_s, _ in ends.values()), default=0.0)
        path = self._back_from_the_last(ends)
        latest = self._latest_ends(length_s)
        critical = set(path)
        steps = (self._step(spec.id, ends, latest, critical) for spec in self._state.run.graph if spec.id in self._tasks)
        left_s = max((left_s for left_s, _ in self.left().values()), default=0.0)
        return CriticalPath(tasks=tuple(path), length_s=round(length_s, 3), left_s=round(left_s, 3), steps=tuple(steps))

    def _back_from_the_last(self, ends: dict[str, tuple[float, int]]) -> list[str]:
        path: list[str] = []
        following = max(self._order, key=lambda task_id: ends[task_id], default=None)
        while following is not None:
            path.append(following)
            following = max(self._needs(following), key=lambda need: ends[need], default=None)
        return path[::-1]

    def _latest_ends(self, length_s: float) -> dict[str, float]:
        latest = dict.fromkeys(self._order, length_s)
        for task_id in reversed(self._order):
            begins_s = latest[task_id] - self._durations[task_id][0]
            for need in self._needs(task_id):
                latest[need] = min(latest[need], begins_s)
        return latest

    def _step(self, task_id: str, ends: dict[str, tuple[float, int]], latest: dict[str, float], critical: set[str]) -> Step:
        duration_s, basis = self._durations[task_id]
        end_s = ends[task_id][0]
        return Step(
            task=task_id,
            status=str(self._state.tasks[task_id].status),
            duration_s=round(duration_s, 3),
            basis=basis,
            ends_s=round(end_s, 3),
            slack_s=0.0 if task_id in critical else round(max(0.0, latest[task_id] - end_s), 3),
            is_critical=task_id in critical,
        )


def elapsed_s(start: str, end: str) -> float:
    """Seconds between two times; 0 where one is missing, or a clock was set back."""
    return max(0.0, (from_text(end) - from_text(start)).total_seconds()) if start and end else 0.0
