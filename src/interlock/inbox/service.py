"""The one place where people are asked."""

from typing import Any

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, Invalid, NotFound
from interlock.core.ids import new_id
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.events.service import Events
from interlock.inbox import store
from interlock.inbox.contracts import ItemAnswered, ItemOpened, ItemWithdrawn
from interlock.inbox.model import Item, ItemKind


class Inbox:
    """Approvals, questions, parked effects and alarms. Who acts on an answer listens to ``inbox.answered``."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._clock = clock

    async def ask(
        self, session: Session, kind: ItemKind, subject: str, title: str, options: tuple[str, ...], details: dict[str, Any]
    ) -> Item:
        """Open an item in ``session``'s transaction; one that is open with the same subject and title is returned instead."""
        for item in await store.open_about(session.connection, subject):
            if item.title == title:
                return item
        item = Item(
            item_id=new_id("item"),
            kind=kind,
            subject=subject,
            title=title,
            options=options,
            details=details,
            state="open",
            created_at=to_text(self._clock.now()),
        )
        await store.add(session.connection, item)
        await self._events.publish(session, ItemOpened(item_id=item.item_id, kind=kind, title=title), subject=subject)
        return item

    async def answer(self, scope: Scope, item_id: str, answer: str) -> Item:
        """Answer an open item. Raises NotFound, Conflict ``already_answered`` and Invalid ``unknown_option``."""
        async with self._database.write(scope) as session:
            item = await store.get(session.connection, item_id)
            if item is None:
                raise NotFound("item", f"there is no item {item_id} in the inbox")
            if item.state != "open":
                settled = f"{item.answered_by} answered {item.answer!r}" if item.answer else "it was withdrawn"
                raise Conflict("already_answered", f"{item_id} is closed: {settled}")
            if answer not in item.options:
                choices = ", ".join(item.options) or "none: it closes when the matter is settled"
                raise Invalid("unknown_option", f"{answer!r} is not an answer to {item_id}", hint=f"choose one of: {choices}")
            at = to_text(self._clock.now())
            item = msgspec.structs.replace(item, state="answered", answer=answer, answered_by=scope.principal, answered_at=at)
            await store.save(session.connection, item)
            data = ItemAnswered(item_id=item_id, kind=item.kind, answer=answer)
            await self._events.publish(session, data, subject=item.subject)
            return item

    async def about(self, session: Session, subject: str) -> list[Item]:
        """What is open about ``subject``, inside of a transaction."""
        return await store.open_about(session.connection, subject)

    async def ever_about(self, session: Session, subject: str) -> list[Item]:
        """What was ever asked about ``subject``, settled or not, inside of a transaction; oldest first."""
        return await store.all_about(session.connection, subject)

    async def withdraw(self, session: Session, subject: str, reason: str) -> None:
        """Close what is open about ``subject`` because it settled itself."""
        for item in await store.open_about(session.connection, subject):
            await self._withdraw(session, item, reason)

    async def amend(self, session: Session, subject: str, details: dict[str, Any]) -> None:
        """Say more, or otherwise, about what is open about ``subject``."""
        for item in await store.open_about(session.connection, subject):
            await store.save(session.connection, msgspec.structs.replace(item, details=item.details | details))

    async def withdraw_below(self, session: Session, prefix: str, reason: str) -> None:
        """Close what is open about any subject that begins with ``prefix``."""
        for item in await store.open_below(session.connection, prefix):
            await self._withdraw(session, item, reason)

    async def _withdraw(self, session: Session, item: Item, reason: str) -> None:
        await store.save(session.connection, msgspec.structs.replace(item, state="withdrawn"))
        await self._events.publish(session, ItemWithdrawn(item_id=item.item_id, reason=reason), subject=item.subject)

    async def listing(self, scope: Scope, state: str | None = "open", limit: int = 100) -> list[Item]:
        """Items in ``state`` (None for all), newest first."""
        async with self._database.read(scope) as connection:
            return await store.listing(connection, state, limit)

    async def get(self, scope: Scope, item_id: str) -> Item:
        """One item. Raises NotFound."""
        async with self._database.read(scope) as connection:
            item = await store.get(connection, item_id)
        if item is None:
            raise NotFound("item", f"there is no item {item_id} in the inbox")
        return item
