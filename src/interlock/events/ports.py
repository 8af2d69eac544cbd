"""Where events come from and where they go, inside one process."""

from typing import Protocol

from interlock.core.scope import Scope
from interlock.events.model import Envelope


class Feed(Protocol):
    """An ordered source of events in a tenant's namespace: the events table, or the journal of the runs."""

    name: str

    async def after(self, scope: Scope, position: int, limit: int) -> list[tuple[int, Envelope | None]]:
        """Up to ``limit`` entries behind ``position``, oldest first; None in place of an entry that yields no event."""
        ...


class Handler(Protocol):
    """A reaction. It is called at least once for each event and must be idempotent."""

    async def __call__(self, scope: Scope, event: Envelope) -> None: ...
