"""Reactions of plans: an approval becomes a run, the end of a run moves the plan. `wayback.py` has those after the run."""

from typing import Any

from interlock.core.scope import Scope
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Deployment
from interlock.delivery.service import Delivery
from interlock.events.model import Envelope
from interlock.plans.deciding.queue import Queue
from interlock.plans.launching import HEAL, MAIN, Launching, environment_of
from interlock.plans.model import PlanContent, PlanState
from interlock.plans.outcome import what_is_now
from interlock.plans.service import Plans
from interlock.runs.model import RunState, RunStatus, TaskStatus
from interlock.runs.service import Runs


class PlanHandlers:
    """Idempotent reactions; `bootstrap` subscribes them."""

    def __init__(
        self, plans: Plans, queue: Queue, runs: Runs, launching: Launching, delivery: Delivery, incidents: Incidents
    ) -> None:
        self._plans = plans
        self._queue = queue
        self._runs = runs
        self._launching = launching
        self._delivery = delivery
        self._incidents = incidents

    async def plan_due(self, scope: Scope, event: Envelope) -> None:
        """``plan.approved``, ``plan.due``: start the run, if the plan is still byte for byte what was approved, and its
        environments let it."""
        plan_id = event.data["plan_id"]
        if any(run.role == MAIN for run in await self._runs.listing(scope, plan_id=plan_id)):
            return
        if due := await self._queue.due(scope, plan_id):
            plan, content = due
            await self._launching.submit(scope, plan, content, MAIN, content.graph)

    async def rules_changed(self, scope: Scope, event: Envelope) -> None:
        """``environment.…``: what waits may start now, and what is asked for may be something else."""
        await self._plans.amend_inbox(scope, event.data["environment"])
        self._queue.wake()

    async def user_removed(self, scope: Scope, event: Envelope) -> None:
        """``user.removed``: the approvals of that user count no more."""
        await self._plans.amend_inbox(scope)

    async def run_started(self, scope: Scope, event: Envelope) -> None:
        """``run.started``: the plan is running."""
        if event.data["role"] == MAIN:
            await self._plans.move(scope, event.data["plan_id"], "running", run_id=event.data["run_id"])

    async def run_finished(self, scope: Scope, event: Envelope) -> None:
        """``run.finished``: the plan ends with its run; a way back that failed is made loud."""
        data = event.data
        if data["role"].startswith(HEAL):
            return
        plan, content = await self._plans.get(scope, data["plan_id"])
        run = await self._runs.get(scope, data["run_id"])
        state, reason = _plan_state(data["role"], data["status"], data["error"])
        if data["role"] == MAIN:
            reason = "; ".join(part for part in (reason, what_is_now(content, plan.version, run)) if part)
        if data["role"] == MAIN:
            await self._plans.move(scope, data["plan_id"], "running", run_id=data["run_id"])
        await self._plans.move(scope, data["plan_id"], state, reason)
        for environment, error in _failed_rollbacks(content, run).items():
            await self._alarm(scope, content, environment, error, run)

    async def _alarm(self, scope: Scope, content: PlanContent, environment: str, error: dict[str, Any], run: RunState) -> None:
        deployment = await self._affected(scope, content, environment, run)
        if deployment is not None:
            title = f"the rollback of {content.service} in {environment} failed: {error.get('message', '')}"
            evidence = {"rollback_error": error, "run_id": run.run.run_id}
            asks = f"{title}. {content.service} needs a person now."
            await self._incidents.open(scope, deployment, title, evidence, severity="critical", asks=asks)

    async def _affected(self, scope: Scope, content: PlanContent, environment: str, run: RunState) -> Deployment | None:
        if run.run.role != MAIN:
            taken_out = next(spec for spec in run.run.graph if spec.kind == "delivery.take_out")
            return await self._delivery.deployment(scope, taken_out.inputs["deployment_id"])
        started = run.tasks.get(f"start-{environment}")
        deployment_id = started.output.get("deployment_id") if started else None
        if deployment_id and content.action != "rollback":
            return await self._delivery.deployment(scope, deployment_id)
        return await self._delivery.serving(scope, content.service, environment)


def _failed_rollbacks(content: PlanContent, run: RunState) -> dict[str, dict[str, Any]]:
    """For each environment in which something should have been brought back and was not, the error."""
    found: dict[str, dict[str, Any]] = {}
    if run.run.role != MAIN and run.status is not RunStatus.COMPLETED:
        found[environment_of(run.run.role)] = run.error or {"message": f"its run was {run.status}"}
    for spec in run.run.graph:
        task = run.tasks[spec.id]
        kind, _, environment = spec.branch.partition(":")
        if environment and (kind == "rollback" or spec.undoes) and task.status is TaskStatus.FAILED:
            found.setdefault(environment, task.error)
    by_hand = content.action == "rollback" and run.run.role == MAIN
    if by_hand and run.status in {RunStatus.FAILED, RunStatus.ROLLED_BACK}:
        found |= {environment: run.error for environment in content.environments if environment not in found}
    return found


def _plan_state(role: str, status: str, error: dict[str, Any]) -> tuple[PlanState, str]:
    message = str(error.get("message", ""))
    if role != MAIN:
        return ("rolled_back", "") if status == "completed" else ("failed", f"it could not be brought back: {message}")
    states: dict[str, PlanState] = {"completed": "succeeded", "rolled_back": "rolled_back"}
    return states.get(status, "failed"), message or ("cancelled" if status == "cancelled" else "")
