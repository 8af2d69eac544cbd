"""Group commit: items that wait at the same time share one transaction."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Turn

Item = TypeVar("Item")
Refusal = Exception | None


class GroupCommit(Generic[Item]):
    """Drains a queue of items into the writer: one transaction for all that wait, one fsync.

    ``apply(turn, items)`` writes them and returns, item by item, None or the error that refuses that item alone; what it
    raises undoes and fails the whole group.
    """

    def __init__(self, database: Database, scope: Scope, apply: Callable[[Turn, Sequence[Item]], Sequence[Refusal]]) -> None:
        self._database = database
        self._scope = scope
        self._apply = apply
        self._waiting: deque[tuple[Item, asyncio.Future[None]]] = deque()
        self._flusher: asyncio.Task[None] | None = None

    def submit(self, item: Item) -> asyncio.Future[None]:
        """Queue ``item``; the future is done when it is durable, or holds the error. The order of submission is kept."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="group-commit")
        return future

    async def drain(self) -> None:
        """Wait until nothing is queued."""
        if self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        while self._waiting:
            group: list[tuple[Item, asyncio.Future[None]]] = []

            def write(turn: Turn, group: list[tuple[Item, asyncio.Future[None]]] = group) -> Sequence[Refusal]:
                # Taken inside the turn: whatever arrived while the previous group was committing joins this one.
                self._take(group)
                return self._apply(turn, [item for item, _ in group])

            try:
                refusals = await self._database.transact(self._scope, write)
            except Exception as error:
                # A turn that could not even begin fails all that wait, else they would wait for ever.
                if not group:
                    self._take(group)
                refusals = [error] * len(group)
            for (_, future), refusal in zip(group, refusals, strict=True):
                _settle(future, refusal)

    def _take(self, group: list[tuple[Item, asyncio.Future[None]]]) -> None:
        # Others go on queuing from the loop's thread meanwhile.
        while self._waiting:
            group.append(self._waiting.popleft())


def _settle(future: asyncio.Future[None], refusal: Refusal) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        if refusal is None:
            future.set_result(None)
        else:
            future.set_exception(refusal)
