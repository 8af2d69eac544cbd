"""Runs: the list of them, and the tasks of one as they stand."""

from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from interlock.faces.cli.text import Doc, duration, parsed, since
from interlock.faces.cli.views.events import what_became, what_happened, with_error
from interlock.faces.cli.views.parts import DIM, STRONG, listing, next_step, state, title


def runs(page: Doc, now: datetime) -> RenderableType:
    """Runs, newest first."""
    rows = [
        (item["run_id"], state(item["status"]), since(item["submitted_at"], now), item["title"] or item["role"])
        for item in page["items"]
    ]
    return listing(("run", "state", "age", "what"), rows, "No run yet.", wrapped=("what",))


def run_cancelled(run: Doc) -> RenderableType:
    """A run whose end was asked for."""
    about = "is being cancelled" if run["status"] not in {"cancelled", "rolled_back"} else run["status"].replace("_", " ")
    return Group(title(run["run_id"], about), next_step(f"interlock watch {run['run_id']}", "follow it"))


GOES_WRONG = "what goes wrong meanwhile is brought back once the run is resumed or cancelled"


def run_paused(run: Doc) -> RenderableType:
    """A run of which no further task starts, and what of it is still under way."""
    under_way = [task["id"] for task in run["tasks"] if task["status"] == "running"]
    rest = [Text("nothing is under way")]
    if under_way:
        rest = [Text(f"under way, and goes on to its end: {', '.join(under_way)}"), Text(GOES_WRONG, style=DIM)]
    return Group(title(run["run_id"], _paused(run)), *rest, next_step(f"interlock resume {run['run_id']}", "go on"))


def _paused(run: Doc) -> str:
    pause = run["paused"]
    if pause is None:
        return f"is {run['status'].replace('_', ' ')}"
    return f"is paused by {pause['by']}" + (f": {pause['reason']}" if pause["reason"] else "")


def run_resumed(run: Doc) -> RenderableType:
    """A run that goes on, or waits for its slot."""
    waits = run["status"] == "pending"
    about = "goes on as soon as there is a slot for it" if waits else f"is {run['status'].replace('_', ' ')}"
    return Group(title(run["run_id"], about), next_step(f"interlock watch {run['run_id']}", "follow it"))


@dataclass(slots=True)
class Task:
    """A task as its events made it."""

    task_id: str
    title: str
    is_reserve: bool
    status: str = "pending"
    attempt: int = 0
    note: str = ""
    began: datetime | None = None
    ended: datetime | None = None
    items: int = 0
    over: int = 0
    """Of a task for each item of a list: how many there are, and how many have ended."""

    def took(self, now: datetime) -> str:
        """How long it has taken up to now, or took."""
        return duration(max(0.0, ((self.ended or now) - self.began).total_seconds())) if self.began else ""


_AFTER = {
    "TaskStarted": "running",
    "TaskExpanded": "running",
    "TaskCompleted": "completed",
    "TaskRetryScheduled": "waiting",
    "TaskReady": "pending",
    "TaskFailed": "failed",
    "TaskSkipped": "skipped",
    "TaskCancelled": "cancelled",
    "TaskParked": "waiting",
    "TaskAnswered": "pending",
}
_SPOKEN = {"TaskReported", "TaskRetryScheduled", "TaskFailed", "TaskParked", "TaskSkipped", "TaskCancelled"}
_OVER = {"completed", "failed", "skipped", "cancelled"}


@dataclass(slots=True)
class Progress:
    """A run as the events so far made it; give every event to `apply`, in order."""

    run_id: str = ""
    about: str = ""
    status: str = "pending"
    error: str = ""
    became: list[str] = field(default_factory=list[str])
    began: datetime | None = None
    ended: datetime | None = None
    tasks: dict[str, Task] = field(default_factory=dict[str, Task])

    def apply(self, event: Doc) -> None:
        """Take one event into account."""
        at = parsed(event["at"])
        match event["type"]:
            case "RunSubmitted":
                self._begin(event["run"], at)
            case "RunStarted" | "RunContinued":
                self.status = "running"
            case "RunPaused":
                self.status = "paused"
            case "RunResumed":
                self.status = "pending"
            case "RunFinished":
                self.status, self.ended = event["status"], at
                self.error = with_error("", event["error"]).removeprefix(": ")
                self.became = what_became(event.get("summary"))
            case _ if event.get("task") in self.tasks:
                self._apply_to(self.tasks[event["task"]], event, at)
            case kind if _AFTER.get(kind) in _OVER and (task := self.tasks.get(event["task"].rpartition("[")[0])):
                task.over += 1
                task.note = f"{task.over} of {task.items} items"
            case _:
                pass

    def _begin(self, run: Doc, at: datetime | None) -> None:
        self.run_id, self.about, self.began = run["run_id"], run["title"], at
        for spec in run["graph"]["tasks"]:
            is_reserve = spec["when"] == "failed" or bool(spec["branch"] or spec.get("undoes"))
            self.tasks[spec["id"]] = Task(spec["id"], spec["title"], is_reserve and run["role"] == "main")

    def _apply_to(self, task: Task, event: Doc, at: datetime | None) -> None:
        kind = event["type"]
        task.status = _AFTER.get(kind, task.status)
        if kind == "TaskStarted":
            task.attempt, task.began, task.note = event["attempt"], task.began or at, ""
        if kind == "TaskExpanded":
            task.items, task.began, task.note = event["items"], at, f"0 of {event['items']} items"
        if kind in _SPOKEN:
            task.note = what_happened(event)
        if task.status in _OVER:
            task.ended = task.ended or at


STATE_WIDTH = 12


class RunView:
    """The tasks of a run with states, attempts, notes and times; as many lines as the screen has room for.

    ``is_last`` shows all of them. What is in reserve for a failure appears once it is needed.
    """

    def __init__(self, progress: Progress, now: datetime, notice: str = "", *, is_last: bool = False) -> None:
        self._progress = progress
        self._now = now
        self._notice = notice
        self._is_last = is_last

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress = self._progress
        yield title(progress.run_id, progress.about)
        yield Text("")
        hidden, tasks = self._chosen(console.height)
        if hidden:
            yield Text(f"  … {hidden} more above", style=DIM)
        yield self._table(tasks, options.max_width)
        yield Text("")
        yield self._summary()
        if self._notice:
            yield Text(f"! {self._notice}", style="yellow")

    def _chosen(self, height: int) -> tuple[int, list[Task]]:
        tasks = [
            task for task in self._progress.tasks.values() if not task.is_reserve or task.status not in {"pending", "skipped"}
        ]
        room = max(3, height - 7)
        if self._is_last or len(tasks) <= room:
            return 0, tasks
        # The first that is not over stays in sight with what follows it.
        first = next((place for place, task in enumerate(tasks) if task.status not in _OVER), len(tasks))
        start = max(0, min(first - 1, len(tasks) - room))
        return start, tasks[start : start + room]

    def _table(self, tasks: list[Task], width: int) -> Table:
        names = max((len(task.task_id) for task in tasks), default=0)
        times = max((len(task.took(self._now)) for task in tasks), default=0)
        rest = max(10, width - STATE_WIDTH - names - times - 3 * 2)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=STATE_WIDTH, no_wrap=True)
        grid.add_column(width=names, no_wrap=True)
        grid.add_column(width=times, no_wrap=True, justify="right", style=DIM)
        grid.add_column(width=rest, overflow="fold")
        for task in tasks:
            note = Text(f"attempt {task.attempt}: " if task.attempt > 1 else "", style=DIM)
            note.append(task.note or task.title, style="default" if task.note else DIM)
            if not self._is_last:
                # One line each while it moves: the lines must not jump.
                note.truncate(rest, overflow="ellipsis")
            name = Text(task.task_id, style=STRONG if task.status == "running" else "default")
            grid.add_row(state(task.status), name, task.took(self._now), note)
        return grid

    def _summary(self) -> Text:
        progress = self._progress
        over = sum(task.status in _OVER for task in progress.tasks.values() if not task.is_reserve)
        total = sum(not task.is_reserve for task in progress.tasks.values())
        line = state(progress.status).append(f"  {over} of {total} steps", style="default")
        if progress.began:
            seconds = ((progress.ended or self._now) - progress.began).total_seconds()
            line.append(f"  {duration(max(0.0, seconds))}", style="default")
        if progress.error:
            line.append(f"\n{progress.error}", style="red")
        for what in progress.became:
            line.append(f"\n{what}", style="default")
        return line
