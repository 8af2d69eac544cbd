"""What the way back of a deployment's own plan goes to."""

import msgspec

from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.delivery.model import Deployment
from interlock.plans import store
from interlock.plans.model import Pin, PlanContent


class PinnedWayBack:
    """Reads the pins of the plans that brought what serves."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, scope: Scope, deployment: Deployment) -> Pin | None:
        """What a breach of the standing watch would bring back; None where that would have to be asked."""
        async with self._database.read(scope) as connection:
            stored = await store.get(connection, deployment.plan_id)
        if stored is None:
            return None
        pins = msgspec.json.decode(stored.content, type=PlanContent).pins
        return next((pin for pin in pins if pin.environment == deployment.environment and pin.release_id), None)
