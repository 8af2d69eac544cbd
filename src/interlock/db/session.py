"""A session: one transaction in one namespace, and what is to happen at its edge."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from interlock.core.scope import Scope


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of the record written in this transaction: ``position`` in its ``feed`` and the bytes that stand for it."""

    feed: str
    position: int
    content: bytes


@dataclass(slots=True)
class Turn:
    """A transaction as a plain function sees it, which does all of its work in one go.

    Bound to the namespace of ``scope.tenant``. Only `Database` makes one, and only `Database` commits it.
    """

    scope: Scope
    plain: Connection
    recorded: list[Recorded] = field(default_factory=list[Recorded])
    _after_commit: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def record(self, feed: str, position: int, content: bytes) -> None:
        """Name a row that the audit chain has to seal before this transaction commits."""
        self.recorded.append(Recorded(feed, position, content))

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the transaction is durable; never when it is not."""
        self._after_commit.append(callback)

    def committed(self) -> None:
        """Run the callbacks; called by `Database` alone."""
        for callback in self._after_commit:
            callback()


class Session(Turn):
    """A transaction in which a use case awaits one thing after the other: nothing but the database."""

    __slots__ = ("connection",)

    def __init__(self, scope: Scope, connection: AsyncConnection) -> None:
        super().__init__(scope, cast("Connection", connection.sync_connection))
        self.connection = connection
