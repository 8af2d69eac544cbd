"""What the record needs of the slices whose rows it seals."""

from typing import Protocol

from interlock.core.scope import Scope


class RecordedFeed(Protocol):
    """Rows that are part of the record, readable as the bytes that were sealed."""

    async def content(self, scope: Scope, first: int, last: int) -> list[tuple[int, bytes]]:
        """The rows from ``first`` to ``last``, in order."""
        ...

    async def last_position(self, scope: Scope) -> int:
        """The highest position; 0 when empty."""
        ...
