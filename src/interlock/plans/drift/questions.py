"""What people are asked about the drift of a place: one question at a time, withdrawn when it settles itself."""

import msgspec

from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.delivery.drift.comparison import PlaceDrift, in_words
from interlock.delivery.drift.record import SUBJECT
from interlock.inbox.model import ItemKind
from interlock.inbox.service import Inbox


class DriftQuestions:
    """One open item a place in the inbox."""

    def __init__(self, database: Database, inbox: Inbox) -> None:
        self._database = database
        self._inbox = inbox
        self._asked: dict[str, str] = {}
        """Place -> what is open about it (empty: nothing), so that the inbox is not read in each round."""

    async def ask(self, scope: Scope, place: PlaceDrift, kind: ItemKind, title: str, options: tuple[str, ...]) -> None:
        """Ask, unless just that is being asked; what else was asked about the place is withdrawn."""
        if self._asked.get(place.name) == title:
            return
        differs = [drift.detail for drift in place.drifts]
        details = {"service": place.service, "environment": place.environment, "differs": differs}
        subject = SUBJECT + place.name
        async with self._database.write(scope) as session:
            if all(item.title != title for item in await self._inbox.about(session, subject)):
                await self._inbox.withdraw(session, subject, "something else differs by now")
                await self._inbox.ask(session, kind, subject, title, options, details)
        self._asked[place.name] = title

    async def withdraw(self, scope: Scope, place: PlaceDrift, why: str) -> None:
        """Take back what is being asked about the place."""
        if self._asked.get(place.name) == "":
            return
        async with self._database.write(scope) as session:
            await self._inbox.withdraw(session, SUBJECT + place.name, why)
        self._asked[place.name] = ""

    def forget(self, place: PlaceDrift) -> None:
        """Look into the inbox again before anything is asked about the place, or withdrawn."""
        self._asked.pop(place.name, None)


def question_about(place: PlaceDrift) -> str:
    """What is asked about the drift of a place."""
    where = f"{place.service} in {place.environment}" if place.service else "what runs here"
    return f"{where} is not as it should be: {in_words(place.drifts)}"


# --- what the answers make of it ---


def left(place: PlaceDrift) -> PlaceDrift:
    """A person leaves as it is what differs now."""
    return msgspec.structs.replace(place, left=(*place.left, *(drift.mark for drift in place.drifts)), told_to_heal=False)


def told_to_heal(place: PlaceDrift) -> PlaceDrift:
    """A person wants it healed, whatever was tried before."""
    return msgspec.structs.replace(place, told_to_heal=True, has_given_up=False, attempts=())
