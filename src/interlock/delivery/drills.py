"""What drills of rollbacks have shown, and the alarm where a rollback would not work."""

from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.delivery import contracts, store
from interlock.delivery.model import Drill
from interlock.events.service import Events
from interlock.inbox.service import Inbox


class Drills:
    """One record a drill. The last one of a place counts."""

    def __init__(self, database: Database, events: Events, inbox: Inbox) -> None:
        self._database = database
        self._events = events
        self._inbox = inbox

    async def record(self, scope: Scope, drill: Drill, asks: str = "") -> None:
        """Keep what a drill has shown; recording it again changes nothing. ``asks`` puts an alarm with these words into the
        inbox, where it stays until a person has seen it or a later drill proves the rollback."""
        async with self._database.write(scope) as session:
            if await store.drill(session.connection, drill.drill_id):
                return
            await store.add_drill(session.connection, drill)
            names = ("drill_id", "service", "environment", "release_id", "version", "outcome", "reason")
            data = contracts.RollbackDrilled(**{name: getattr(drill, name) for name in names})
            await self._events.publish(session, data, subject=f"service:{drill.service}")
            subject = f"drill:{drill.service}.{drill.environment}"
            if asks:
                await self._inbox.ask(session, "alarm", subject, asks, ("seen",), {"drill_id": drill.drill_id})
            else:
                await self._inbox.withdraw(session, subject, f"a drill has proven the rollback to {drill.version}")

    async def last(self, scope: Scope) -> dict[tuple[str, str], Drill]:
        """The last drill of each service and environment."""
        async with self._database.read(scope) as connection:
            return {(item.service, item.environment): item for item in await store.last_drills(connection)}
