"""A task that is done for each item of a list: its instances, when they may start, and what comes of them together."""

from heapq import heappop, heappush
from typing import Any, cast

from interlock.core.errors import Conflict, Invalid
from interlock.runs import model as m
from interlock.runs.graph import TaskSpec
from interlock.runs.parts import MAX_ITEMS
from interlock.runs.references import places, references, resolve

_SHOWN = 20
_KINDS = {"dict": "an object", "str": "a text", "bool": "a truth value", "NoneType": "null"}


def instance_id(task_id: str, number: int) -> str:
    """The name of the instance for item ``number``, counted from 0."""
    return f"{task_id}[{number}]"


def inputs_of(state: m.RunState, task_id: str) -> dict[str, Any]:
    """The inputs of a task, or of an instance of one, with what earlier tasks gave and with its item."""
    spec = state.run.graph.spec(task_id)
    named = {reference.rpartition(".")[0] for reference in references(spec.inputs)}
    outputs = {name: state.tasks[name].output for name in named if name in state.tasks}
    item = None
    if spec.each is not None and (base := state.run.graph.base(task_id)) != task_id:
        item = _items(state, spec)[int(task_id[len(base) + 1 : -1])]
    return resolve(spec.inputs, outputs, item)


def expansion(state: m.RunState, spec: TaskSpec, at: str) -> m.TaskExpanded | m.TaskFailed:
    """What becomes of a task for each item once its needs have ended: its instances, or a failure that says why not."""
    items = _items(state, spec)
    if fault := _fault(spec, items):
        error = Invalid("fan_out", fault, where=f"task {spec.id}, each.items")
        return m.TaskFailed(at=at, task=spec.id, error=error.as_dict())
    return m.TaskExpanded(at=at, task=spec.id, items=len(items))


def _items(state: m.RunState, spec: TaskSpec) -> Any:
    source: Any = spec.each.items if spec.each is not None else ()
    if not isinstance(source, dict):
        return source
    task_id, _, name = next(references(source)).rpartition(".")
    return state.tasks[task_id].output.get(name)


def _fault(spec: TaskSpec, items: Any) -> str:
    if not isinstance(items, list | tuple):
        named = next(references(spec.each.items if spec.each is not None else None), "")
        return f"{named} is {_KINDS.get(type(cast('object', items)).__name__, 'a number')}, not a list"
    known = cast("list[Any]", items)
    if len(known) > MAX_ITEMS:
        return f"{len(known)} items are more than {MAX_ITEMS}"
    for field in {name for _, kind, name in places(spec.inputs) if kind == "$item" and name}:
        for number, item in enumerate(known):
            if not isinstance(item, dict) or field not in item:
                return f"item {number} has no {field!r}, which the inputs refer to"
    return ""


def gathered(state: m.RunState, task_id: str) -> dict[str, Any]:
    """The output of a task whose instances are known: theirs in order, null where one did not complete; and which failed."""
    count = state.tasks[task_id].items or 0
    tasks = [state.tasks[instance_id(task_id, number)] for number in range(count)]
    items = [task.output if task.status is m.TaskStatus.COMPLETED else None for task in tasks]
    failures = [{"item": n, "error": task.error} for n, task in enumerate(tasks) if task.status is m.TaskStatus.FAILED]
    return {"items": items} | ({"failures": failures} if failures else {})


def tally(state: m.RunState, task_id: str) -> dict[str, int]:
    """How many instances of a task are in each status."""
    found: dict[str, int] = {}
    for number in range(state.tasks[task_id].items or 0):
        status = str(state.tasks[instance_id(task_id, number)].status)
        found[status] = found.get(status, 0) + 1
    return found


class FanOut:
    """The instances of one task while they are under way. Derived from the state; `follow` keeps it so."""

    def __init__(self, state: m.RunState, spec: TaskSpec) -> None:
        self.spec = spec
        self.is_queued = False
        """Whether its place stands in the scheduler's heap."""
        self.is_stopping = False
        """Whether what has not begun is being skipped, or was."""
        self._state = state
        self._count = state.tasks[spec.id].items or 0
        self._running = self._ended = self._failed = self._cancelled = 0
        self._ready: list[int] = []
        for number in range(self._count):
            status = state.tasks[instance_id(spec.id, number)].status
            if status is m.TaskStatus.PENDING:
                self._ready.append(number)
            else:
                self.follow(instance_id(spec.id, number), m.TaskStatus.PENDING, status)

    def follow(self, task_id: str, before: m.TaskStatus, after: m.TaskStatus) -> None:
        """An instance went from one status to another."""
        self._running += (after is m.TaskStatus.RUNNING) - (before is m.TaskStatus.RUNNING)
        if after in m.TASK_ENDED:
            self._ended += 1
            self._failed += after is m.TaskStatus.FAILED
            self._cancelled += after is m.TaskStatus.CANCELLED
        elif after is m.TaskStatus.PENDING:
            heappush(self._ready, int(task_id[len(self.spec.id) + 1 : -1]))

    @property
    def is_over(self) -> bool:
        """Whether every instance has ended."""
        return self._ended == self._count

    @property
    def is_broken(self) -> bool:
        """Whether more have failed than may."""
        return self.spec.each is not None and self._failed > self.spec.each.allowed(self._count)

    @property
    def has_room(self) -> bool:
        """Whether another instance may run beside those that do."""
        bound = self.spec.each.max_concurrent if self.spec.each is not None else 0
        return bool(self._ready) and (not bound or self._running < bound)

    def take(self) -> str:
        """The next instance to start, in the order of the list; empty where none may."""
        self.is_queued = False
        while self.has_room:
            task_id = instance_id(self.spec.id, heappop(self._ready))
            # What was skipped or cancelled meanwhile is still in there.
            if self._state.tasks[task_id].status is m.TaskStatus.PENDING:
                return task_id
        return ""

    def not_begun(self) -> list[str]:
        """The instances that have not begun."""
        names = (instance_id(self.spec.id, number) for number in sorted(self._ready))
        tasks = self._state.tasks
        return [name for name in names if tasks[name].status is m.TaskStatus.PENDING and not tasks[name].began]

    def end(self, at: str) -> m.TaskCompleted | m.TaskFailed | m.TaskCancelled:
        """The end of the task, once all its instances have ended. What it gives is not written again: `gathered` finds it."""
        if self.is_broken:
            return m.TaskFailed(at=at, task=self.spec.id, error=self._error())
        if self._cancelled:
            return m.TaskCancelled(at=at, task=self.spec.id, reason=self._state.cancel_requested or "an item was cancelled")
        return m.TaskCompleted(at=at, task=self.spec.id, output={})

    def _error(self) -> m.ErrorData:
        names = [instance_id(self.spec.id, number) for number in range(self._count)]
        failed = [n for n, name in enumerate(names) if self._state.tasks[name].status is m.TaskStatus.FAILED]
        first = self._state.tasks[names[failed[0]]].error.get("message", "")
        allowed = self.spec.each.allowed(self._count) if self.spec.each is not None else 0
        counts = tally(self._state, self.spec.id)
        completed = counts.get("completed", 0)
        message = (
            f"{len(failed)} of {self._count} items failed, {allowed} may; {completed} completed. Item {failed[0]}: {first}"
        )
        details: dict[str, Any] = {"items": self._count, "completed": completed, "skipped": counts.get("skipped", 0)}
        error = Conflict("fan_out_failed", message, where=self.spec.id, **details, failed=failed[:_SHOWN])
        return error.as_dict()
