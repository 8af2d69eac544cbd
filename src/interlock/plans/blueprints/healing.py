"""How what a plan brings is brought back after a change from outside, for as long as it serves.

    mend ▸ verify ▸ lead ▸ clear
       \\____\\______\\_ discard (what was started and did not get healthy)

A branch for each environment, beside the main run and never part of it. What it acts on is known when it begins: the deployment
that serves (``serving``), and what was seen of it (``drift``).
"""

from typing import Any

from interlock.plans.blueprints import steps
from interlock.plans.blueprints.blueprint import PATIENT, STEADY, Blueprint, outputs
from interlock.plans.facts import EnvironmentFacts, Facts
from interlock.runs.graph import TaskGraph
from interlock.tools.grants import Grant
from interlock.tools.model import Effect

BRINGS = frozenset({"deploy", "restart", "rollback"})
SERVING, DRIFT = "serving", "drift"
"""What stands in the place of earlier tasks where the branch refers to what is known when it begins."""
AS_APPROVED = "it brings back what was approved; what it replaces was changed from outside"


def lay_out_healing(facts: Facts) -> tuple[TaskGraph, tuple[Grant, ...]]:
    """The branches ``heal:<environment>`` and their grants; none for a plan that brings nothing into an environment."""
    plan = Blueprint(facts)
    for environment in facts.environments if facts.action in BRINGS else ():
        _heal(plan, environment)
    return plan.graph(), tuple(plan.grants)


def _heal(plan: Blueprint, environment: EnvironmentFacts) -> None:
    name, recipe = environment.name, plan.recipe
    branch, takes_port = f"heal:{name}", recipe.takes_port
    common: dict[str, Any] = {"place": environment.place, "takes_port": takes_port}
    serving, count = outputs(SERVING, "deployment_id"), recipe.replicas if takes_port else 1
    mend = _mend(plan, environment, common | serving | outputs(DRIFT, "replaced"), branch, count)
    verify = steps.verify(plan, environment, f"heal-verify-{name}", recipe, mend, after=mend, count=count, branch=branch)
    former = {"former": serving["deployment_id"]}
    options: dict[str, Any] = {"branch": branch, "retry": PATIENT, "one_way": AS_APPROVED}
    inputs = common | former | outputs(mend, "deployment_id", "survivors")
    title = "lead the traffic to all that serves"
    lead = plan.add(f"heal-lead-{name}", "lead", title, Effect.DEPLOY, inputs, needs=(verify,), timeout_s=120, **options)
    title = "stop what should not run"
    inputs = common | former | outputs(mend, "gone") | outputs(DRIFT, "orphans")
    clear = plan.add(f"heal-clear-{name}", "clear", title, Effect.DEPLOY, inputs, needs=(lead,), timeout_s=600, **options)
    if takes_port:
        plan.grant_point(lead, environment.place, "stable")
        plan.grant_point(clear, environment.place, "candidate")
    plan.grant_stop(clear, recipe.target, None)
    _discard(plan, environment, (mend, verify, lead), branch)


def _mend(plan: Blueprint, environment: EnvironmentFacts, inputs: dict[str, Any], branch: str, count: int) -> str:
    facts, instance = plan.facts, plan.candidate(environment)
    inputs |= {"release_id": facts.release_id, "instance": instance}
    options: dict[str, Any] = {"branch": branch, "retry": STEADY, "timeout_s": 120.0 * max(1, count)}
    title = f"start what is missing of {facts.version} again, from its pinned release"
    task_id = plan.add(f"heal-{environment.name}", "mend", title, Effect.DEPLOY, inputs, **options)
    plan.grant_start(task_id, instance)
    if not plan.recipe.takes_port:
        plan.grant_stop(task_id, plan.recipe.target, None)
    return task_id


def _discard(plan: Blueprint, environment: EnvironmentFacts, needs: tuple[str, ...], branch: str) -> None:
    inputs = {
        "place": environment.place,
        "reason": "it did not get healthy",
        "takes_port": plan.recipe.takes_port,
        "deployment_id": outputs(needs[0], "candidate")["candidate"],
    }
    task_id = f"heal-discard-{environment.name}"
    options: dict[str, Any] = {"needs": needs, "when": "failed", "branch": branch, "retry": PATIENT, "timeout_s": 300}
    title = "stop what was started again if it does not get healthy"
    plan.add(task_id, "discard", title, Effect.DEPLOY, inputs, takes_back=needs[:2], **options)
    if plan.recipe.takes_port:
        plan.grant_point(task_id, environment.place, "candidate")
    plan.grant_stop(task_id, plan.recipe.target, None)
