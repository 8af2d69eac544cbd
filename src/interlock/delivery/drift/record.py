"""What is known of drift, and what people decided about it."""

from collections.abc import Callable, Sequence

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.session import Session
from interlock.delivery import contracts
from interlock.delivery.drift import store
from interlock.delivery.drift.comparison import Drift, PlaceDrift, recent_attempts
from interlock.events.service import Events

SUBJECT = "drift:"


class DriftRecord:
    """One entry a place, for as long as there is something to say of it."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._clock = clock

    async def listing(self, scope: Scope, service: str | None = None, environment: str | None = None) -> list[PlaceDrift]:
        """The places that something is known of, also those without drift at this moment."""
        async with self._database.read(scope) as connection:
            found = await store.all_drifts(connection)
        return [item for item in found if service in {None, item.service} and environment in {None, item.environment}]

    async def get(self, scope: Scope, service: str, environment: str) -> PlaceDrift:
        """What is known of a place."""
        async with self._database.read(scope) as connection:
            found = await store.drift(connection, service, environment)
        return found or PlaceDrift(service=service, environment=environment)

    async def change(self, scope: Scope, place: PlaceDrift, change: Callable[[PlaceDrift], PlaceDrift]) -> PlaceDrift:
        """Change what is kept of a place, in one turn: others change it too."""
        async with self._database.write(scope) as session:
            return await self.change_in(session, place.service, place.environment, change)

    async def change_in(
        self, session: Session, service: str, environment: str, change: Callable[[PlaceDrift], PlaceDrift]
    ) -> PlaceDrift:
        """The same inside of a transaction."""
        found = await store.drift(session.connection, service, environment)
        before = found or PlaceDrift(service=service, environment=environment)
        after = change(before)
        if after != before:
            await store.put_drift(session.connection, after)
        return after

    async def saw(
        self, scope: Scope, place: PlaceDrift, deployment_id: str, drifts: Sequence[Drift], seen_marks: frozenset[str]
    ) -> PlaceDrift:
        """Keep what was seen for certain, and tell where that is something new. ``seen_marks`` are those of all that was seen:
        what is not seen any more is neither accepted nor left."""
        now = self._clock.now()
        async with self._database.write(scope) as session:

            def change(known: PlaceDrift) -> PlaceDrift:
                marks = {drift.mark for drift in drifts} | seen_marks
                return msgspec.structs.replace(
                    known,
                    drifts=tuple(drifts),
                    since=(known.since or to_text(now)) if drifts else "",
                    deployment_id=deployment_id,
                    accepted=tuple(mark for mark in known.accepted if mark in marks),
                    left=tuple(mark for mark in known.left if mark in marks),
                    attempts=recent_attempts(known.attempts, now),
                    told_to_heal=known.told_to_heal and bool(drifts),
                    has_given_up=known.has_given_up and bool(drifts),
                )

            before = await store.drift(session.connection, place.service, place.environment)
            after = await self.change_in(session, place.service, place.environment, change)
            await self._tell(session, before.drifts if before else (), after)
        return after

    async def _tell(self, session: Session, before: Sequence[Drift], after: PlaceDrift) -> None:
        was, now = {drift.mark for drift in before}, {drift.mark for drift in after.drifts}
        if was == now:
            return
        place = {"service": after.service, "environment": after.environment, "deployment_id": after.deployment_id}
        subject = SUBJECT + after.name
        if now:
            said = [msgspec.to_builtins(drift) for drift in after.drifts]
            await self._events.publish(session, contracts.DriftFound(drifts=said, **place), subject=subject)
        else:
            await self._events.publish(session, contracts.DriftGone(**place), subject=subject)

    async def accept(self, scope: Scope, service: str, environment: str) -> PlaceDrift:
        """Count what differs now as right."""
        async with self._database.write(scope) as session:

            def change(known: PlaceDrift) -> PlaceDrift:
                marks = tuple(drift.mark for drift in known.drifts)
                return msgspec.structs.replace(known, accepted=(*known.accepted, *marks), drifts=(), since="")

            before = await store.drift(session.connection, service, environment)
            after = await self.change_in(session, service, environment, change)
            marks = [drift.mark for drift in before.drifts] if before else []
            data = contracts.DriftAccepted(service=service, environment=environment, marks=marks, by=scope.principal)
            await self._events.publish(session, data, subject=SUBJECT + after.name)
            await self._tell(session, before.drifts if before else (), after)
        return after

    def now(self) -> str:
        return to_text(self._clock.now())
