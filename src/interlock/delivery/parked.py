"""Runs that wait for a person while what they deploy has traffic: the standing watch looks on, and tells them what it saw."""

import contextlib

import msgspec

from interlock.core.errors import Conflict
from interlock.core.scope import Scope
from interlock.delivery.steps import analysing, watching
from interlock.inbox.service import Inbox

ENDS: dict[tuple[str, ...], str] = {analysing.OPTIONS: analysing.ABORT, watching.OPTIONS: watching.STOP}
"""What is asked while there is traffic, by its options, and the answer that ends it."""
MOST = 10_000


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A run that waits: the question, and the answer to it with which the way back begins."""

    item_id: str
    ends: str


class Parked:
    """The questions of analyses and watches that nobody has answered yet."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def listing(self, scope: Scope) -> dict[str, Waiting]:
        """By run."""
        found: dict[str, Waiting] = {}
        for item in await self._inbox.listing(scope, limit=MOST):
            kind, _, place = item.subject.partition(":")
            if kind == "run" and item.options in ENDS:
                found[place.partition("/")[0]] = Waiting(item_id=item.item_id, ends=ENDS[item.options])
        return found

    async def end(self, scope: Scope, waiting: Waiting) -> None:
        """Answer in the place of a person: the question is settled. Whoever was quicker has decided."""
        with contextlib.suppress(Conflict):
            await self._inbox.answer(scope, waiting.item_id, waiting.ends)
