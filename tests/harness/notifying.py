"""Notifications over a real database, with events and carriers of a test's own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from interlock.adapters.keys.sealing import SealingKeyFiles
from interlock.core.clock import Clock
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.delivery.contracts import IncidentResolved
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.notifications.courier import Courier, Terms
from interlock.notifications.model import Channel, ChannelKind, Schedule
from interlock.notifications.ports import Carrier
from interlock.notifications.recording import DeliveryRecorder
from interlock.notifications.service import Notifications
from interlock.tenancy.service import Tenancy


class World:
    """Everything that one process has of it; make another one on the same folder to see what a crash leaves."""

    def __init__(
        self,
        database: Database,
        scope: Scope,
        clock: Clock,
        carriers: Mapping[ChannelKind, Carrier],
        folder: Path,
        **terms: Any,
    ) -> None:
        self.database = database
        self.scope = scope
        self.events = Events(database, clock)
        self.inbox = Inbox(database, self.events, clock)
        sealer = SealingKeyFiles(folder / "keys")
        schedule = terms.pop("schedule", Schedule(delays_s=(0.0, 30.0)))
        chosen = Terms(schedule=schedule, **terms)
        # By chance as soon as can be: a test knows when the next attempt is due.
        self.courier = Courier(database, self.events, self.inbox, sealer, clock, carriers, chosen, chance=lambda: 0.0)
        kinds: dict[ChannelKind, str] = {"webhook": "", "email": ""}
        tenancy = Tenancy(database, self.events, clock)
        self.service = Notifications(database, self.events, self.inbox, tenancy, sealer, clock, [self.events.feed], kinds)
        self.service.on_work(self.courier.wake)
        self.events.subscribe_inside("notifications.events", DeliveryRecorder(database, clock, self.courier.wake))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Dispatch and deliver as long as the context lasts."""
        tasks = [asyncio.create_task(work) for work in (self.events.dispatch(self.scope), self.courier.run(self.scope))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def add(self, name: str = "ops", target: str = "http://receiver/hook", events: str = "incident.*") -> Channel:
        channel, self.secret = await self.service.add(self.scope, name, "webhook", target, events.split(","))
        return channel

    async def happen(self, *names: str) -> None:
        """One event for each name, in one commit."""
        async with self.database.write(self.scope) as session:
            for name in names:
                data = IncidentResolved(incident_id=name, service="api", environment="staging", how="it is over")
                await self.events.publish(session, data, subject=f"incident:{name}")

    async def states(self, channel: str | None = None) -> list[str]:
        """The states of all deliveries, oldest first."""
        return [item.state for item in reversed(await self.service.deliveries(self.scope, channel, limit=1000))]

    async def forget(self) -> int:
        return await self.service.forget(self.scope, timedelta(days=1))
