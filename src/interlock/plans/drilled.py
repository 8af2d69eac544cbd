"""What a drill has shown is kept, and made loud where the rollback would not work."""

from typing import Any

import msgspec

from interlock.core.scope import Scope
from interlock.delivery.drills import Drills
from interlock.delivery.model import Drill
from interlock.events.model import Envelope
from interlock.plans.drills import WOULD_FAIL, title_of
from interlock.plans.launching import MAIN
from interlock.plans.model import PlanContent
from interlock.plans.service import Plans

PROVING = frozenset({"check", "start", "verify", "smoke"})
"""The steps that a rollback would take too; what goes wrong elsewhere says nothing about it."""


class DrillHandlers:
    """Idempotent reactions; `bootstrap` subscribes them."""

    def __init__(self, plans: Plans, drills: Drills) -> None:
        self._plans = plans
        self._drills = drills

    async def run_finished(self, scope: Scope, event: Envelope) -> None:
        """``run.finished``: a drill is proven when all went well, and failed when a step did that a rollback takes too."""
        data = event.data
        plan, content = await self._plans.get(scope, data["plan_id"])
        if content.action != "drill" or data["role"] != MAIN:
            return
        drill = Drill(
            drill_id=data["run_id"],
            service=content.service,
            environment=content.environments[0],
            release_id=content.release_id,
            version=plan.version,
            behind=content.pins[0].version,
            outcome="proven",
            at=event.timestamp,
            plan_id=content.plan_id,
            run_id=data["run_id"],
        )
        if data["status"] == "completed":
            await self._drills.record(scope, drill)
        elif data["status"] == "failed" and _is_telling(data["error"]):
            await self._fail(scope, drill, data["error"], content)

    async def _fail(self, scope: Scope, drill: Drill, error: dict[str, Any], content: PlanContent) -> None:
        reason = str(error.get("message", "it failed"))
        asks = f"{title_of(content.service, drill.environment, reason)}. What was printed: interlock watch {drill.run_id}"
        await self._drills.record(scope, _failed(drill, reason), asks)

    async def plan_refused(self, scope: Scope, event: Envelope) -> None:
        """``plan.refused``: a drill whose result was known before it could begin."""
        if event.data["code"] != WOULD_FAIL:
            return
        drill = Drill(drill_id=event.event_id, at=event.timestamp, outcome="failed", **event.data["details"]["drill"])
        await self._drills.record(scope, drill, f"{event.data['message']}. {event.data['details']['hint']}")


def _is_telling(error: dict[str, Any]) -> bool:
    step = str(error.get("task", "")).partition("-")[0]
    return step in PROVING and error.get("code") != "environment_changed"


def _failed(drill: Drill, reason: str) -> Drill:
    return msgspec.structs.replace(drill, outcome="failed", reason=reason)
