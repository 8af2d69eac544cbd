"""Group commit: items that wait at the same time share one transaction."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session

Item = TypeVar("Item")
Refusal = Exception | None


class GroupCommit(Generic[Item]):
    """Drains a queue of items into the writer: one transaction for all that wait, one fsync.

    ``apply(session, items)`` writes them and returns, item by item, None or the error that refuses that item alone; what it
    raises undoes and fails the whole group.
    """

    def __init__(
        self, database: Database, scope: Scope, apply: Callable[[Session, Sequence[Item]], Awaitable[Sequence[Refusal]]]
    ) -> None:
        self._database = database
        self._scope = scope
        self._apply = apply
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
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
            try:
                async with self._database.write(self._scope) as session:
                    # Taken inside the turn: whatever arrived while the previous group was committing joins this one.
                    group, self._waiting = self._waiting, []
                    refusals = await self._apply(session, [item for item, _ in group])
            except Exception as error:
                # A turn that could not even begin fails all that wait, else they would wait for ever.
                group = group or self._take()
                refusals = [error] * len(group)
            for (_, future), refusal in zip(group, refusals, strict=True):
                _settle(future, refusal)

    def _take(self) -> list[tuple[Item, asyncio.Future[None]]]:
        group, self._waiting = self._waiting, []
        return group


def _settle(future: asyncio.Future[None], refusal: Refusal) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        if refusal is None:
            future.set_result(None)
        else:
            future.set_exception(refusal)
