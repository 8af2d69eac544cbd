"""One question at a time: whoever asks the same within a moment shares the answer."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from interlock.core.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Coalescing(Generic[K, V]):
    """Answers by key. Each is shared while it is under way and for ``keep_s`` afterwards; a failure only while it is under way.

    At most ``keep`` answers are held, and at most ``at_once`` questions are under way: however many ask, the load is bounded.
    """

    def __init__(self, clock: Clock, *, keep_s: float, keep: int, at_once: int) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._keep = keep
        self._places = asyncio.Semaphore(at_once)
        self._answers: OrderedDict[K, tuple[float, asyncio.Task[V]]] = OrderedDict()
        self.asked = 0
        """How many questions were really asked."""

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """The result of ``ask``, shared by callers of the same key; cancelling one does not cancel the others."""
        until, task = self._answers.get(key, (0.0, None))
        if task is None or (task.done() and (until < self._clock.monotonic() or _has_failed(task))):
            task = asyncio.create_task(self._ask(key, ask))
            self._put(key, float("inf"), task)
        return await asyncio.shield(task)

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        async with self._places:
            self.asked += 1
            answer = await ask()
        if key in self._answers:
            self._answers[key] = (self._clock.monotonic() + self._keep_s, self._answers[key][1])
        return answer

    def _put(self, key: K, until: float, task: asyncio.Task[V]) -> None:
        # Looked at, so that a failure that nobody waits for any more is no complaint.
        task.add_done_callback(_has_failed)
        self._answers[key] = (until, task)
        self._answers.move_to_end(key)
        while len(self._answers) > self._keep:
            self._answers.popitem(last=False)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None
