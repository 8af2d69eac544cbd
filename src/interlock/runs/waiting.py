"""Why a task does not run: what it waits for, followed to the cause, in words. Told from the state alone, for one moment."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec
from rapidfuzz import fuzz, process

from interlock.core.errors import NotFound
from interlock.runs import model as m
from interlock.runs.critical import Course, CriticalPath, Step, elapsed_s
from interlock.runs.fanning import instance_id
from interlock.runs.graph import TaskSpec
from interlock.runs.order import ReadyTasks

WaitsFor = Literal["nothing", "needs", "turn", "slot", "person", "timer", "pause", "run_slot"]
"""``nothing`` where it runs or has ended; ``turn`` is that of an undo, ``run_slot`` that of the whole run."""

_CAUSES = frozenset({"nothing", "person", "timer"})

SHOWN = 5
"""So many names are said of many."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """What a task waits for. ``text`` says it in words, as a sentence that begins with the task.

    ``tasks`` are what it waits for: needs that have not ended, what has the slots, or some of what an undo comes after.
    ``before`` are those that get a slot first, some of ``ahead`` many. ``since`` is when it came to wait, ``until`` when that
    is over, where it is known.
    """

    task: str
    status: str
    waits_for: WaitsFor
    text: str
    tasks: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    ahead: int = 0
    since: str = ""
    until: str = ""
    is_reserve: bool = False
    """It brings something back, and is only called for when something goes wrong."""


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one task: ``answer`` in words, ``chain`` from the task to the cause, and its place on the way, if it has
    one."""

    run_id: str
    task: str
    answer: str
    chain: tuple[Wait, ...]
    step: Step | None


class RunWhy(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for a run: ``causes`` are what is under way, asked or tried again later, ``waits`` all else that has not
    ended."""

    run_id: str
    status: str
    answer: str
    causes: tuple[Wait, ...]
    waits: tuple[Wait, ...]
    critical_path: CriticalPath


class Waiting:
    """Answers about one run at one moment. ``runs_with_slot`` is how many runs have a slot, for one that waits for its own."""

    def __init__(self, state: m.RunState, now: str, runs_with_slot: int = 0) -> None:
        self._state = state
        self._graph = state.run.graph
        self._now = now
        self._runs_with_slot = runs_with_slot
        self._course = Course(state, now)
        self._left = self._course.left()
        # A task for each item holds no slot: its instances do.
        running = (name for name, task in state.tasks.items() if task.status is m.TaskStatus.RUNNING and task.items is None)
        self._running = list(running)
        work = [spec.id for spec in self._graph if not spec.undoes and state.tasks[spec.id].status not in m.TASK_ENDED]
        self._work = self._longest_first(work)
        ready = [spec.id for spec in self._graph if self._is_ready(spec)]
        self._ready = ReadyTasks(self._graph, state.run.ranks).sorted(ready)
        self._places = {task_id: place for place, task_id in enumerate(self._ready)}

    def _is_ready(self, spec: TaskSpec) -> bool:
        return self._state.tasks[spec.id].status is m.TaskStatus.PENDING and not self._open_needs(spec)

    def _open_needs(self, spec: TaskSpec) -> list[str]:
        """What has to end before: its needs, or for an undo all work, then the undos of what rests on what it takes back."""
        if not spec.undoes:
            return [need for need in dict.fromkeys(spec.needs) if self._state.tasks[need].status not in m.TASK_ENDED]
        return self._work or list(self._undone_before(spec.undoes))

    def _undone_before(self, target: str) -> Iterator[str]:
        seen: set[str] = set()
        following = list(self._graph.successors[target])
        while following:
            task_id = following.pop()
            if task_id in seen:
                continue
            seen.add(task_id)
            undo = self._graph.undos.get(task_id)
            if undo and self._state.tasks[undo].status not in m.TASK_ENDED:
                yield undo
            else:
                following += self._graph.successors[task_id]

    # --- answers ---

    def why_run(self) -> RunWhy:
        """The answer for the whole run."""
        names = [spec.id for spec in self._graph if self._state.tasks[spec.id].status not in m.TASK_ENDED]
        # Of the items of a list those alone that ask somebody, or are tried again: the others are told of by their number.
        names += [
            name
            for name, task in self._state.tasks.items()
            if task.status is m.TaskStatus.WAITING and name not in self._graph.specs
        ]
        waits = [self.of(name) for name in names]
        causes = [wait for wait in waits if wait.waits_for in _CAUSES]
        path = self._course.critical_path()
        return RunWhy(
            run_id=self._state.run.run_id,
            status=str(self._state.status),
            answer=self._about_the_run(waits, causes),
            causes=tuple(causes),
            waits=tuple(wait for wait in waits if wait.waits_for not in _CAUSES),
            critical_path=path,
        )

    def why(self, task_id: str) -> Why:
        """The answer for one task. Raises NotFound ``task`` with the ``nearest`` names in its details."""
        if task_id not in self._state.tasks:
            raise unknown_task(self._state.run.run_id, task_id, list(self._state.tasks))
        chain = tuple(self._chain(task_id))
        path = self._course.critical_path()
        return Why(
            run_id=self._state.run.run_id,
            task=task_id,
            answer=self._sentence(chain),
            chain=chain,
            step=next((step for step in path.steps if step.task == task_id), None),
        )

    def _chain(self, task_id: str) -> Iterator[Wait]:
        """From the task over what it waits for longest to what waits for no other task."""
        following: str | None = task_id
        while following is not None:
            wait = self.of(following)
            yield wait
            follows = wait.tasks if wait.waits_for in {"needs", "turn"} else ()
            following = max(follows, key=self._left_of, default=None)

    def _left_of(self, task_id: str) -> tuple[float, int]:
        return self._left.get(task_id, (0.0, 0))

    def _sentence(self, chain: Sequence[Wait]) -> str:
        parts = [self._named(wait.text, wait.task) for wait in chain]
        said = ", which ".join([chain[0].text, *parts[1:]])
        holds_more = chain[0].status in {"pending", "waiting"} and chain[-1].waits_for not in {"pause", "run_slot"}
        return "; ".join([said, *([self._why_no_start()] if holds_more and self._why_no_start() else [])])

    @staticmethod
    def _named(text: str, task_id: str) -> str:
        return text.removeprefix(f"{task_id} ")

    def _about_the_run(self, waits: Sequence[Wait], causes: Sequence[Wait]) -> str:
        if self._state.status in m.RUN_ENDED:
            message = self._state.error.get("message", "")
            return f"the run has ended: {str(self._state.status).replace('_', ' ')}" + (f": {message}" if message else "")
        said = [self._why_no_start()] if self._why_no_start() else []
        said += [cause.text for cause in causes][:SHOWN]
        behind = sum(wait.waits_for not in _CAUSES and not wait.is_reserve for wait in waits)
        said += [f"{_count(behind, 'more task waits', 'more tasks wait')} behind that"] if behind else []
        return "; ".join(said) or "nothing is under way"

    # --- one task ---

    def of(self, task_id: str) -> Wait:
        """What this task itself waits for."""
        spec, task = self._graph.spec(task_id), self._state.tasks[task_id]
        if task.status in m.TASK_ENDED:
            return self._wait(spec, "nothing", _ended(task))
        if task.status is m.TaskStatus.RUNNING:
            return self._wait(spec, "nothing", self._runs(spec), since=task.since)
        if task.question:
            options = " | ".join(task.question["options"])
            asked = f"waits for a person since {self._span(task.since)}: {task.question['question']} ({options})"
            return self._wait(spec, "person", asked, since=task.since)
        if task.retry_at:
            failed = f", after: {task.error['message']}" if task.error.get("message") else ""
            due = f"is tried again in {_span(elapsed_s(self._now, task.retry_at))}{failed}"
            return self._wait(spec, "timer", due, since=task.since, until=task.retry_at)
        if needs := self._open_needs(spec):
            if spec.undoes:
                return self._wait(spec, "turn", self._turn(spec, needs), tasks=tuple(needs[:SHOWN]))
            return self._wait(spec, "needs", _needs(spec, self._longest_first(needs)), tasks=tuple(needs))
        return self._ready_wait(spec)

    def _ready_wait(self, spec: TaskSpec) -> Wait:
        since = self._state.tasks[spec.id].since
        if self._state.status is not m.RunStatus.RUNNING:
            kind = "pause" if self._state.status is m.RunStatus.PAUSED else "run_slot"
            return self._wait(spec, kind, f"is ready; {self._why_no_start()}", since=since)
        if spec.id not in self._graph.specs:
            return self._item_wait(spec)
        place = self._places[spec.id]
        slots = self._state.run.limits.max_concurrent_tasks
        before = self._ready[: min(place, SHOWN)]
        first = f"; before it: {_names(before, place)}" if before else ""
        text = f"is ready and waits for a slot: {len(self._running)} of {slots} are taken ({_names(self._running)}){first}"
        taken = tuple(self._running)
        return self._wait(spec, "slot", text, tasks=taken, before=tuple(before), ahead=place, since=since)

    def _item_wait(self, spec: TaskSpec) -> Wait:
        """An item of a list waits for a slot, or for others of its list, of which only so many run at once."""
        base = self._graph.base(spec.id)
        own = tuple(name for name in self._running if self._graph.base(name) == base)
        bound = f", {spec.each.max_concurrent} may" if spec.each is not None and spec.each.max_concurrent else ""
        text = f"is an item of {base} and waits for its turn: {len(own)} of {self._state.tasks[base].items} run now{bound}"
        return self._wait(spec, "slot", text, tasks=own[:SHOWN])

    def _wait(
        self,
        spec: TaskSpec,
        kind: WaitsFor,
        text: str,
        *,
        tasks: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
        ahead: int = 0,
        since: str = "",
        until: str = "",
    ) -> Wait:
        return Wait(
            task=spec.id,
            status=str(self._state.tasks[spec.id].status),
            waits_for=kind,
            text=f"{spec.id} {text}",
            tasks=tasks,
            before=before,
            ahead=ahead,
            since=since,
            until=until,
            is_reserve=self._graph.cleans_up(spec.id) and not self._state.tasks[spec.id].began,
        )

    # --- in words ---

    def _runs(self, spec: TaskSpec) -> str:
        task = self._state.tasks[spec.id]
        if self._state.cancel_requested and not self._graph.cleans_up(spec.id):
            return f"is being stopped: {self._state.cancel_requested}"
        estimate_s = self._state.run.estimates.get(spec.id, 0.0)
        usual = f", usually {_span(estimate_s)}" if estimate_s else ""
        attempt = f", attempt {task.attempt}" if task.attempt > 1 else ""
        note = f": {task.note}" if task.note else ""
        if task.items is not None:
            ended = self._state.tasks
            over = sum(ended[instance_id(spec.id, number)].status in m.TASK_ENDED for number in range(task.items))
            note = f": {over} of {task.items} items have ended"
        return f"runs since {self._span(task.since)}{usual}{attempt}{note}"

    def _turn(self, spec: TaskSpec, before: Sequence[str]) -> str:
        if self._work:
            return f"takes back {spec.undoes} if the run goes wrong, once all else has ended; it waits for {_first(before)}"
        return f"takes back {spec.undoes} after {_first(before)}"

    def _why_no_start(self) -> str:
        """Why no task of the run starts, whatever it needs; empty where they do."""
        if (pause := self._state.pause) is not None:
            reason = f" ({pause.reason})" if pause.reason else ""
            return f"the run is paused since {self._span(pause.at)} by {pause.by}{reason}"
        if self._state.status is m.RunStatus.PENDING:
            others = _count(self._runs_with_slot, "run has", "runs have")
            return f"the run waits for a slot: {others} one now"
        return ""

    def _longest_first(self, names: Iterable[str]) -> list[str]:
        return sorted(names, key=self._left_of, reverse=True)

    def _span(self, since: str) -> str:
        return _span(elapsed_s(since, self._now))


def unknown_task(run_id: str, name: str, known: Sequence[str]) -> NotFound:
    """The error about a task that the run does not have, with the names near it."""
    near = [found for found, _, _ in process.extract(name, known, scorer=fuzz.ratio, limit=3, score_cutoff=60)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"see: interlock why {run_id}"
    return NotFound("task", f"{run_id} has no task {name!r}", where=run_id, hint=hint, nearest=near)


def _needs(spec: TaskSpec, needs: Sequence[str]) -> str:
    if spec.when == "failed":
        return f"runs only if something goes wrong before it; it waits for {_first(needs)}"
    return f"waits for {_first(needs)}"


def _first(names: Sequence[str]) -> str:
    """The last word is the first name, so that a sentence can go on with it."""
    others = f"{_names(names[1:])} and, longest of all, " if len(names) > 1 else ""
    return f"{others}{names[0]}"


def _ended(task: m.TaskState) -> str:
    if task.status is m.TaskStatus.COMPLETED:
        return f"completed after {_span(elapsed_s(task.started_at, task.ended_at))}"
    reason = task.error.get("message", "") if task.status is m.TaskStatus.FAILED else task.reason
    verb = "failed" if task.status is m.TaskStatus.FAILED else f"was {task.status}"
    return f"{verb}: {reason}" if reason else verb


def _names(names: Sequence[str], total: int = 0) -> str:
    rest = max(len(names), total) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _span(seconds: float) -> str:
    """``0.4 s``, ``35 s``, ``2 min``, ``3 h``, ``4 d``."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size_s:
            return f"{int(seconds // size_s)} {unit}"
    return f"{int(seconds)} s"
