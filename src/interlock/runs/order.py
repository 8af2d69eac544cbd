"""In which order ready tasks start: by priority, then by how long the work behind them is, then as a person reads them.

What has the longest path behind it starts first, as in HEFT (Topcuoglu, Hariri and Wu, IEEE TPDS 13(3), 2002): the upward
rank of a task is what it is likely to take, and the longest path over those that need it. Where nothing is estimated all ranks
are 0, and the reading order decides.
"""

from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from heapq import heappop, heappush

from interlock.runs.graph import TaskGraph, TaskSpec

Turn = tuple[int, float, int]
"""Sorts ready tasks: the smallest starts first. The last part is the place in the reading order."""


def upward_ranks(graph: TaskGraph, estimates: Mapping[str, float]) -> dict[str, float]:
    """Seconds from the start of each task to the end of the longest path behind it; empty where nothing is estimated.

    Linear in tasks and needs, without recursion.
    """
    if not any(estimates.values()):
        return {}
    ranks: dict[str, float] = {}
    for task_id in TopologicalSorter(graph.successors).static_order():
        behind = max((ranks[successor] for successor in graph.successors[task_id]), default=0.0)
        ranks[task_id] = estimates.get(task_id, 0.0) + behind
    return ranks


class ReadyTasks:
    """Tasks that could start, the one whose turn it is first. One may stand in it twice."""

    def __init__(self, graph: TaskGraph, ranks: Mapping[str, float]) -> None:
        self._graph = graph
        self._ranks = ranks
        self._heap: list[Turn] = []

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, task_id: str) -> None:
        heappush(self._heap, self.turn(self._graph.specs[task_id]))

    def pop(self) -> TaskSpec:
        return self._graph.tasks[heappop(self._heap)[-1]]

    def turn(self, spec: TaskSpec) -> Turn:
        """What ``spec`` is sorted by."""
        return (-spec.priority, -self._ranks.get(spec.id, 0.0), self._graph.places[spec.id])

    def sorted(self, task_ids: Iterable[str]) -> list[str]:
        """These tasks in the order in which they would start."""
        return sorted(task_ids, key=lambda task_id: self.turn(self._graph.specs[task_id]))
