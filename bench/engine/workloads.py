"""The task graphs that every engine carries out, and the results that it has to come to.

A task does nothing but compute a number from its own number and the results of its needs, in their order. So a result that was
lost, mixed up with another one's or taken from another run changes the end result of the run, which is checked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

PRIME = 1_000_003
LAYERS = 20
NEEDS_IN_LAYER_BEFORE = 3
CHAIN_OF_MANY = 5


@dataclass(frozen=True)
class Workload:
    """``runs`` times the same graph: ``needs[n]`` are the tasks that task ``n`` needs, all of them smaller than ``n``."""

    name: str
    runs: int
    needs: tuple[tuple[int, ...], ...]
    first: int = 0
    """The number of the first run."""

    @property
    def numbers(self) -> range:
        """The numbers of the runs."""
        return range(self.first, self.first + self.runs)

    @property
    def tasks(self) -> int:
        """How many tasks there are, in all runs together."""
        return self.runs * len(self.needs)

    @cached_property
    def sinks(self) -> tuple[int, ...]:
        """The tasks that no other one needs: their results are the result of the run."""
        needed = {need for needs in self.needs for need in needs}
        return tuple(task for task in range(len(self.needs)) if task not in needed)

    @cached_property
    def level_of(self) -> tuple[int, ...]:
        """For each task the length of the longest way to it."""
        levels: list[int] = []
        for needs in self.needs:
            levels.append(1 + max((levels[need] for need in needs), default=-1))
        return tuple(levels)

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The tasks level by level. In each of these graphs a task needs tasks of the level before only, so an engine that
        carries out level after level loses nothing by it."""
        found: list[list[int]] = [[] for _ in range(1 + max(self.level_of))]
        for task, level in enumerate(self.level_of):
            found[level].append(task)
        return tuple(tuple(level) for level in found)

    def results(self, run: int) -> tuple[int, ...]:
        """What each task of a run has to come to."""
        found: list[int] = []
        for task, needs in enumerate(self.needs):
            found.append(result(run, task, [found[need] for need in needs]))
        return tuple(found)

    def end_results(self) -> list[tuple[int, ...]]:
        """For each run the results of its sinks."""
        return [tuple(results[sink] for sink in self.sinks) for results in map(self.results, self.numbers)]


def result(run: int, task: int, values: Sequence[int]) -> int:
    """What ``task`` makes of the results of its needs; their order matters."""
    found = (run * 7919 + task + 1) % PRIME
    for value in values:
        found = (found * 31 + value) % PRIME
    return found


def chain(scale: float) -> Workload:
    """500 tasks one after the other."""
    return Workload("chain", 1, _chain(_scaled(500, scale)))


def wide(scale: float) -> Workload:
    """One task, 1000 that need it, one that needs those."""
    width = _scaled(1000, scale)
    return Workload("wide", 1, ((), *((0,),) * width, tuple(range(1, width + 1))))


def layered(scale: float) -> Workload:
    """20 layers of 50 tasks; each needs three of the layer before."""
    width = max(NEEDS_IN_LAYER_BEFORE, _scaled(50, scale))
    layers = [_layer(layer, width) for layer in range(LAYERS)]
    return Workload("layered", 1, tuple(needs for layer in layers for needs in layer))


def many(scale: float) -> Workload:
    """200 runs at once, each of five tasks one after the other."""
    return Workload("many", _scaled(200, scale), _chain(CHAIN_OF_MANY))


def warm_up() -> Workload:
    """One short run, for whatever an engine does only once: what is measured is an engine that is under way."""
    return Workload("warm-up", 1, _chain(CHAIN_OF_MANY), first=1_000_000)


WORKLOADS: dict[str, Callable[[float], Workload]] = {"chain": chain, "wide": wide, "layered": layered, "many": many}


def _scaled(size: int, scale: float) -> int:
    return max(2, round(size * scale))


def _chain(length: int) -> tuple[tuple[int, ...], ...]:
    return tuple((task - 1,) if task else () for task in range(length))


def _layer(layer: int, width: int) -> list[tuple[int, ...]]:
    if layer == 0:
        return [()] * width
    first = (layer - 1) * width
    # Neighbours, and around the edge: every task of a layer is needed by the next one.
    return [tuple(first + (place + step) % width for step in range(NEEDS_IN_LAYER_BEFORE)) for place in range(width)]
