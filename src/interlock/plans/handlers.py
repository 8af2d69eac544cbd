"""Reactions of plans: an approval becomes a run, the end of a run moves the plan, a late breach starts the way back."""

from typing import Any

import msgspec
import structlog

from interlock.core.errors import Conflict, InterlockError
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.delivery.incidents import Incidents
from interlock.delivery.service import Delivery
from interlock.events.model import Envelope
from interlock.inbox.service import Inbox
from interlock.plans.model import Plan, PlanContent, PlanState
from interlock.plans.service import Plans
from interlock.runs.graph import TaskGraph, resolve
from interlock.runs.model import Limits, Run, TaskStatus
from interlock.runs.service import Runs

log = structlog.get_logger(__name__)

MAIN = "main"
ROLL_BACK = "roll back"
TAKE_OUT = "take it out"
LEAVE = "leave it"


class PlanHandlers:
    """Idempotent reactions; `bootstrap` subscribes them."""

    def __init__(
        self,
        database: Database,
        plans: Plans,
        runs: Runs,
        delivery: Delivery,
        incidents: Incidents,
        inbox: Inbox,
        limits: Limits,
    ) -> None:
        self._database = database
        self._plans = plans
        self._runs = runs
        self._delivery = delivery
        self._incidents = incidents
        self._inbox = inbox
        self._limits = limits

    async def plan_approved(self, scope: Scope, event: Envelope) -> None:
        """``plan.approved``: start the run, if the plan is still byte for byte what was approved."""
        plan_id = event.data["plan_id"]
        try:
            plan, content = await self._plans.approved_content(scope, plan_id)
        except InterlockError as error:
            await self._plans.move(scope, plan_id, "failed", f"not run: {error}")
            return
        await self._submit(scope, plan, content, MAIN, content.graph)

    async def _submit(self, scope: Scope, plan: Plan, content: PlanContent, role: str, graph: TaskGraph) -> None:
        run = Run(
            run_id=_run_id(plan.plan_id, role),
            plan_id=plan.plan_id,
            role=role,
            title=plan.text if role == MAIN else f"{role} of: {plan.text}",
            requested_by=plan.approval.by if plan.approval else plan.requested_by,
            correlation_id=scope.correlation_id,
            graph=graph,
            grants=content.grants,
            plan_hash=plan.content_hash,
            limits=self._limits,
        )
        try:
            await self._runs.submit(scope, run)
        except Conflict as error:
            # The event came twice, or the control plane died between the submission and the cursor.
            if error.code != "run_exists":
                raise

    async def run_started(self, scope: Scope, event: Envelope) -> None:
        """``run.started``: the plan is running."""
        if event.data["role"] == MAIN:
            await self._plans.move(scope, event.data["plan_id"], "running", run_id=event.data["run_id"])

    async def run_finished(self, scope: Scope, event: Envelope) -> None:
        """``run.finished``: the plan ends with its run; a way back that failed is made loud."""
        data = event.data
        state, reason = _plan_state(data["role"], data["status"], data["error"])
        if state is not None:
            await self._plans.move(scope, data["plan_id"], "running", run_id=data["run_id"])
            await self._plans.move(scope, data["plan_id"], state, reason)
        await self._alarm_if_rollback_failed(scope, data)

    async def _alarm_if_rollback_failed(self, scope: Scope, data: dict[str, Any]) -> None:
        run = await self._runs.get(scope, data["run_id"])
        for spec in run.run.graph:
            task = run.tasks[spec.id]
            if not spec.branch.startswith("rollback") or task.status is not TaskStatus.FAILED:
                continue
            environment = spec.branch.partition(":")[2]
            _, content = await self._plans.get(scope, data["plan_id"])
            deployment = await self._affected(scope, content, environment, run.tasks)
            if deployment is not None:
                title = f"the rollback of {content.service} in {environment} failed: {task.error.get('message', '')}"
                evidence = {"rollback_error": task.error, "run_id": data["run_id"]}
                asks = f"{title}. {content.service} needs a person now."
                await self._incidents.open(scope, deployment, title, evidence, severity="critical", asks=asks)

    async def _affected(self, scope: Scope, content: PlanContent, environment: str, tasks: dict[str, Any]) -> Any:
        started = tasks.get(f"start-{environment}")
        deployment_id = started.output.get("deployment_id") if started else None
        if deployment_id:
            return await self._delivery.deployment(scope, deployment_id)
        return await self._delivery.serving(scope, content.service, environment)

    async def incident_opened(self, scope: Scope, event: Envelope) -> None:
        """``incident.opened`` by the standing watch: roll back as the approved plan says, or propose it."""
        if event.data["found_by"] != "watch":
            return
        plan, content = await self._plans.get(scope, event.data["plan_id"])
        environment = event.data["environment"]
        has_target = any(pin.environment == environment and pin.release_id for pin in content.pins)
        if content.recipe.rollback == "automatic" and has_target:
            await self._roll_back(scope, plan.plan_id, environment)
        else:
            # Without anything to go back to, an outage may be worse than what was seen: that is for a person to weigh.
            question = (
                f"roll {content.service} back in {environment}"
                if has_target
                else f"take {content.service} out of {environment}"
            )
            title = f"{question}? {event.data['title']}"
            subject = f"rollback:{plan.plan_id}/{environment}"
            async with self._database.write(scope) as session:
                details = {"incident_id": event.data["incident_id"], "plan_id": plan.plan_id}
                await self._inbox.ask(
                    session, "proposal", subject, title, (ROLL_BACK if has_target else TAKE_OUT, LEAVE), details
                )

    async def item_answered(self, scope: Scope, event: Envelope) -> None:
        """``inbox.answered``: a proposed rollback was decided."""
        kind, _, place = event.subject.partition(":")
        if kind == "rollback" and event.data["answer"] in {ROLL_BACK, TAKE_OUT}:
            plan_id, _, environment = place.partition("/")
            await self._roll_back(scope, plan_id, environment)

    async def _roll_back(self, scope: Scope, plan_id: str, environment: str) -> None:
        """Run the plan's own way back: approved with it, so nothing new needs approval."""
        plan, content = await self._plans.approved_content(scope, plan_id)
        role = f"rollback:{environment}"
        main = await self._runs.get(scope, plan.run_id)
        outputs = {task_id: task.output for task_id, task in main.tasks.items()}
        await self._submit(scope, plan, content, role, _bound(content.graph.branch(role), outputs))


def _bound(graph: TaskGraph, outputs: dict[str, dict[str, Any]]) -> TaskGraph:
    """The graph with references to tasks outside it replaced by what those gave when they ran."""
    inside = {task.id for task in graph}
    outside = {task_id: output for task_id, output in outputs.items() if task_id not in inside}

    def bind(value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"$output"}:  # pyright: ignore[reportUnknownArgumentType]
            owner = str(value["$output"]).partition(".")[0]  # pyright: ignore[reportUnknownArgumentType]
            return value if owner in inside else resolve(value, outside)  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, dict):
            return {key: bind(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
        return [bind(item) for item in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]

    return TaskGraph(tasks=tuple(msgspec.structs.replace(task, inputs=bind(task.inputs)) for task in graph))


def _run_id(plan_id: str, role: str) -> str:
    """Derived from the plan: the same approval can only ever be the same run."""
    suffix = "" if role == MAIN else "_" + role.replace(":", "_").replace("rollback", "rb")
    return plan_id.replace("plan_", "run_") + suffix


def _plan_state(role: str, status: str, error: dict[str, Any]) -> tuple[PlanState | None, str]:
    message = str(error.get("message", ""))
    if role != MAIN:
        return ("rolled_back", "") if status == "completed" else (None, "")
    states: dict[str, PlanState] = {"completed": "succeeded", "rolled_back": "rolled_back"}
    return states.get(status, "failed"), message or ("cancelled" if status == "cancelled" else "")
