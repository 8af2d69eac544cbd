"""What the engine needs: bodies for its tasks, and a place for its journal."""

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from interlock.core.scope import Scope
from interlock.runs.model import Run, RunEvent


class TaskContext(Protocol):
    """What a task body may do besides computing: use tools within its grant, and tell how it goes."""

    scope: Scope
    run: Run
    task_id: str
    attempt: int
    inputs: dict[str, Any]
    answer: str
    """What a person answered when the task had asked; empty when it has not."""

    async def call(self, tool: str, arguments: dict[str, Any], *, name: str = "") -> dict[str, Any]:
        """Use a tool. An effect happens once for each ``name`` within the task, over retries and crashes; the receipt of one
        that has happened is returned without acting. Raises what the tool raises, and Forbidden ``not_granted``."""
        ...

    async def report(self, message: str, **data: Any) -> None:
        """Put a line of progress on the record."""
        ...


class Executor(Protocol):
    """The body of a kind of task. It is called again, from the start, after a crash or a transient failure."""

    async def __call__(self, context: TaskContext) -> dict[str, Any]: ...


class Journal(Protocol):
    """Append-only events of runs; every append is fenced by the epoch of whoever owns the run."""

    async def create(self, run: Run, events: Sequence[RunEvent], owner: str) -> int:
        """The first events of a new run; returns its epoch. Raises Conflict ``run_exists``."""
        ...

    def append(self, run_id: str, epoch: int, seq: int, events: Sequence[RunEvent]) -> Awaitable[None]:
        """Queue ``events``, the first of which is number ``seq``, in the order of the calls; durable once awaited.

        Raises Conflict ``fenced`` when somebody else owns the run by now, Unavailable ``storage`` when the disk takes no more
        and ``journal_gap`` when an earlier append of the run was not written.
        """
        ...

    async def drain(self) -> None:
        """Wait until nothing is queued."""
        ...

    async def load(self, run_id: str) -> list[RunEvent]:
        """All events of a run."""
        ...

    async def unfinished(self) -> list[str]:
        """The runs that have not ended, oldest first."""
        ...

    async def take_over(self, run_id: str, owner: str) -> int:
        """Own the run under a new epoch, which fences whoever had it before; returns the epoch."""
        ...
