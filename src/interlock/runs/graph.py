"""The task graph as data: what a plan proposes and a run executes."""

from collections.abc import Iterator
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from typing import Any

import msgspec

from interlock.core.errors import Invalid
from interlock.runs import conditions
from interlock.runs.parts import Condition, Each, part_fault, schemas_fault
from interlock.tools.model import Effect

MAX_TASKS = 100_000
LOWEST_PRIORITY, DEFAULT_PRIORITY, HIGHEST_PRIORITY = 1, 5, 10


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often a transient failure is tried again: waits are ``delay_s * factor**n``, at most ``max_delay_s``, plus jitter."""

    max_attempts: int = 1
    delay_s: float = 1.0
    factor: float = 2.0
    max_delay_s: float = 60.0
    jitter: float = 0.2
    """The share of a wait that is random, so that what failed together does not come back together."""


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A node: ``kind`` names the executor, ``inputs`` is its JSON input, in which ``{"$output": "task.field"}`` stands for a
    field of an earlier task's output. ``branch`` groups tasks that belong together, such as ``rollback:staging``.

    A task that changes the world says beside it how that is taken back: another task ``undoes`` it, or ``takes_back`` what it
    did, or it is ``one_way``. An undo has no needs; its turn comes when the run went wrong and everything that rests on what it
    takes back is back already. What ``takes_back`` has a place of its own in the graph, such as in a branch that waits for a
    failure.

    A ``condition`` decides once the needs have ended as ``when`` asks. Where it is false the task is left out by choice: it is
    skipped and nothing went wrong, so no failure is reacted to and nothing is undone. What needs it is left out with it, unless
    it is a join (``when="any"``), which runs if anything before it completed. What waits for a failure that did not come is
    left out by choice too. What is skipped because something failed is not, and no join runs over that.
    """

    id: str
    kind: str
    title: str
    effect: Effect
    inputs: dict[str, Any] = {}
    needs: tuple[str, ...] = ()
    when: Condition = "succeeded"
    branch: str = ""
    timeout_s: float = 1800.0
    retry: Retry = Retry()
    priority: int = DEFAULT_PRIORITY
    """Of tasks that could start at the same time and have to wait for each other, the one with the highest number is first."""
    undoes: str = ""
    """The task that this one takes back, whether that completed or broke off after it had begun."""
    takes_back: tuple[str, ...] = ()
    """The tasks whose effects are gone once this one has completed; several may name the same one."""
    settled_by: str = ""
    """Of an undo or a one-way task: once this task has completed, what was completed is accepted, and a later failure does not
    take it back."""
    one_way: str = ""
    """Why it cannot be taken back, in words for whoever approves it."""
    condition: str = ""
    """In CEL, over ``inputs`` as they are then and ``outputs`` of the needs that completed, by their ids."""
    each: Each | None = None
    """Makes it one task for each item of a list."""
    input_schema: dict[str, Any] = {}
    """The JSON Schema of its inputs; empty where it says nothing."""
    output_schema: dict[str, Any] = {}
    """The JSON Schema of its result, or of that of each instance; a result that violates it fails the task."""


class TaskGraph(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Tasks in the order in which a person reads them; the needs decide the order of execution."""

    tasks: tuple[TaskSpec, ...]

    def __iter__(self) -> Iterator[TaskSpec]:
        return iter(self.tasks)

    @cached_property
    def specs(self) -> dict[str, TaskSpec]:
        """The tasks by id."""
        return {task.id: task for task in self.tasks}

    def base(self, task_id: str) -> str:
        """The task of which ``task_id`` is an instance; a task itself is its own."""
        return task_id if task_id in self.specs else task_id.rpartition("[")[0]

    def spec(self, task_id: str) -> TaskSpec:
        """What is to be done by a task, or by an instance of one."""
        if (found := self.specs.get(task_id)) is not None:
            return found
        return msgspec.structs.replace(self.specs[self.base(task_id)], id=task_id)

    def cleans_up(self, task_id: str) -> bool:
        """Whether a task, or the one of which it is an instance, brings things back."""
        return self.base(task_id) in self.cleanup

    @cached_property
    def places(self) -> dict[str, int]:
        """At which place of the reading order each task stands."""
        return {task.id: place for place, task in enumerate(self.tasks)}

    @cached_property
    def successors(self) -> dict[str, list[str]]:
        """For each task those that need it."""
        found: dict[str, list[str]] = {task.id: [] for task in self.tasks}
        for task in self.tasks:
            for need in dict.fromkeys(task.needs):
                found[need].append(task.id)
        return found

    @cached_property
    def undos(self) -> dict[str, str]:
        """What undoes a task, by the task that it undoes."""
        return {task.undoes: task.id for task in self.tasks if task.undoes}

    @cached_property
    def takers(self) -> dict[str, tuple[str, ...]]:
        """What takes a task back without being its undo, by the task."""
        found: dict[str, tuple[str, ...]] = {}
        for task in self.tasks:
            for target in task.takes_back:
                found[target] = (*found.get(target, ()), task.id)
        return found

    @cached_property
    def reactions(self) -> frozenset[str]:
        """Tasks that react to a failure, and what follows from them."""
        found: set[str] = set()
        waiting = [task.id for task in self.tasks if task.when == "failed"]
        while waiting:
            task_id = waiting.pop()
            spec = self.specs[task_id]
            # What joins a reaction with the work that it reacts to is no reaction.
            is_join = spec.when == "any" and not found.issuperset(spec.needs)
            if task_id not in found and not is_join:
                found.add(task_id)
                waiting += self.successors[task_id]
        return frozenset(found)

    @cached_property
    def cleanup(self) -> frozenset[str]:
        """Reactions and undos: they bring things back, so a cancelled run walks them to their end."""
        return self.reactions.union(self.undos.values())

    @cached_property
    def undeclared(self) -> tuple[str, ...]:
        """Tasks with effects that declare neither an undo nor ``one_way``; clean-up tasks are exempt."""
        said = self.cleanup.union(self.undos, self.takers)
        changes = (task for task in self.tasks if task.effect is not Effect.READ and not task.one_way and not task.takes_back)
        return tuple(task.id for task in changes if task.id not in said)

    def branch(self, name: str) -> "TaskGraph":
        """The tasks of one branch as a graph of its own: needs outside it are met, and its conditions with them.

        So are those of an undo of what lies outside: it becomes a task like others, after the undos of what rested on that.
        """
        inside = {task.id for task in self.tasks if task.branch == name}
        after = self._undone_before(inside)
        return TaskGraph(tasks=tuple(_cut(task, inside, after.get(task.id, ())) for task in self.tasks if task.id in inside))

    def _undone_before(self, inside: set[str]) -> dict[str, tuple[str, ...]]:
        """For each undo in ``inside`` of a task outside, the undos in it that come right before."""
        found: dict[str, tuple[str, ...]] = {}
        nearest: dict[str, tuple[str, ...]] = {}
        order = TopologicalSorter({task.id: self.successors[task.id] for task in self.tasks}).static_order()
        for task_id in order if inside.intersection(self.undos.values()) else ():
            before = dict.fromkeys(undo for successor in self.successors[task_id] for undo in nearest[successor])
            undo = self.undos.get(task_id, "")
            nearest[task_id] = tuple(before)
            if undo in inside and task_id not in inside:
                found[undo], nearest[task_id] = tuple(before), (undo,)
        return found

    def check(self) -> None:
        """Raises Invalid ``task_graph`` with the place: a name used twice, an unknown need, a cycle, too many tasks, a priority
        out of bounds, an undo that has no turn, a condition, fan-out or schema that is none, results that do not go with what
        is asked for."""
        if len(self.tasks) > MAX_TASKS:
            raise _fault("", f"{len(self.tasks)} tasks are more than {MAX_TASKS}")
        ids: set[str] = set()
        for task in self.tasks:
            if task.id in ids:
                raise _fault(task.id, "the name is used twice")
            ids.add(task.id)
        for task in self.tasks:
            for need in task.needs:
                if need not in ids:
                    raise _fault(task.id, f"needs {need!r}, which is not in the graph")
        try:
            TopologicalSorter({task.id: task.needs for task in self.tasks}).prepare()
        except CycleError as error:
            raise _fault("", "tasks wait for each other: " + " -> ".join(error.args[1])) from None
        for task in self.tasks:
            if not LOWEST_PRIORITY <= task.priority <= HIGHEST_PRIORITY:
                raise _fault(task.id, f"has priority {task.priority}: it goes from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}")
            if fault := self._undo_fault(task) if task.undoes else self._task_fault(task):
                raise _fault(task.id, fault)
        self._check_parts()

    def _check_parts(self) -> None:
        # Schemas first: what rests on them can then be read.
        faults = ((task, schemas_fault(task)) for task in self.tasks if task.input_schema or task.output_schema)
        for task, found in chain(faults, ((task, part_fault(task, self.specs)) for task in self.tasks)):
            if found:
                raise Invalid("task_graph", found.what, where=f"task {task.id}, {found.place}", hint=found.hint)

    def _task_fault(self, task: TaskSpec) -> str:
        if undo := next((need for need in task.needs if self.specs[need].undoes), ""):
            return f"needs {undo!r}, which undoes: its turn comes when nothing else is left"
        settles = self.specs.get(task.settled_by)
        if task.settled_by and not task.one_way:
            return "says what settles it, and undoes nothing"
        if task.settled_by and (settles is None or settles.undoes):
            return f"is settled by {task.settled_by!r}, which is no task that could"
        if task.one_way and (undo := self.undos.get(task.id) or next(iter(self.takers.get(task.id, ())), "")):
            return f"is one-way, and {undo!r} undoes it"
        if task.one_way and task.takes_back:
            return "takes back, and is one-way"
        return next((fault for target in task.takes_back if (fault := self._taken_fault(task, target))), "")

    def _taken_fault(self, task: TaskSpec, target: str) -> str:
        if target not in self.specs:
            return f"takes back {target!r}, which is not in the graph"
        if target == task.id or target in self.cleanup or self.specs[target].takes_back:
            return f"takes back {target!r}, which brings things back itself"
        return ""

    def _undo_fault(self, task: TaskSpec) -> str:
        target, settles = self.specs.get(task.undoes), self.specs.get(task.settled_by)
        if target is None:
            return f"undoes {task.undoes!r}, which is not in the graph"
        if target.id in self.cleanup:
            return f"undoes {target.id!r}, which brings things back itself"
        if self.undos[target.id] != task.id:
            return f"undoes {target.id!r}, and so does {self.undos[target.id]!r}"
        if task.needs or task.when != "succeeded" or task.one_way or task.takes_back or task.condition or task.each:
            return "undoes: it has no needs, no condition, no list and no way of its own"
        if task.settled_by and (settles is None or settles.undoes):
            return f"is settled by {task.settled_by!r}, which is no task that could"
        return ""


def _cut(task: TaskSpec, inside: set[str], undone_before: tuple[str, ...]) -> TaskSpec:
    if task.undoes and task.undoes not in inside:
        return msgspec.structs.replace(task, needs=undone_before, undoes="", settled_by="")
    needs = tuple(need for need in task.needs if need in inside)
    taken = tuple(target for target in task.takes_back if target in inside)
    settled_by = task.settled_by if task.settled_by in inside else ""
    when = task.when if needs else "succeeded"
    cut = msgspec.structs.replace(task, needs=needs, when=when, takes_back=taken, settled_by=settled_by)
    if all(seen.task in inside for seen in conditions.looks_at(task.condition)):
        return cut
    return msgspec.structs.replace(cut, condition="")


def _fault(task_id: str, message: str) -> Invalid:
    return Invalid("task_graph", message, where=f"task {task_id}" if task_id else "graph")
