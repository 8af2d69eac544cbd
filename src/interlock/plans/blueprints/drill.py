"""A drill: all of a rollback but the traffic, beside what serves.

check ▸ start ▸ verify ▸ smoke ▸ stop
              └─ abandon   (when one of them went wrong: whatever was started is stopped)
"""

from typing import Any

from interlock.plans.blueprints import steps
from interlock.plans.blueprints.blueprint import PATIENT, STEADY, Blueprint, outputs, shown
from interlock.plans.facts import EnvironmentFacts
from interlock.tools.model import Effect


def drill(plan: Blueprint, environment: EnvironmentFacts) -> None:
    """Start the release that a rollback would bring back, as many instances of it, prove them, and take them away."""
    name, count = environment.name, plan.recipe.replicas
    after = _check(plan, environment)
    source = _start(plan, environment, after, count)
    last = steps.verify(plan, environment, f"verify-{name}", plan.recipe, source, after=source, count=count)
    if plan.recipe.smoke:
        last = steps.smoke(plan, environment, source, last, kind="candidate", is_blamed=False)
    proven: dict[str, Any] = {"is_proven": True, "needs": (last,), "takes_back": (source,)}
    stop = _end(plan, environment, f"stop-{name}", source, "stop it and free the candidate leg", **proven)
    guards = dict.fromkeys((source, f"verify-{name}", last, stop))
    title = "stop what was started if a step fails; what serves is not touched"
    begun = tuple(task for task in guards if task != stop)
    options: dict[str, Any] = {"needs": tuple(guards), "when": "failed", "branch": f"cleanup:{name}", "takes_back": begun}
    _end(plan, environment, f"abandon-{name}", source, title, is_proven=False, **options)


def _check(plan: Blueprint, environment: EnvironmentFacts) -> str:
    facts = plan.facts
    inputs = {"place": environment.place, "release_id": facts.release_id, "expects": _serving(environment)}
    title = f"check that {facts.version} (release {facts.release_id}) is what was built"
    return plan.add(f"check-{environment.name}", "drill_check", title, Effect.READ, inputs, retry=STEADY, timeout_s=600)


def _start(plan: Blueprint, environment: EnvironmentFacts, after: str, count: int) -> str:
    facts = plan.facts
    instance = plan.candidate(environment)
    inputs = {
        "place": environment.place,
        "release_id": facts.release_id,
        "instance": instance,
        "count": count,
        "watch": facts.watch,
        "expects": _serving(environment),
    }
    times = f" ({count} instances)" if count > 1 else ""
    title = f"start {facts.version} beside what serves, without traffic{times}: {shown(instance)}"
    options: dict[str, Any] = {"needs": (after,), "retry": STEADY, "timeout_s": 120.0 * count}
    task_id = plan.add(f"start-{environment.name}", "drill_start", title, Effect.DEPLOY, inputs, **options)
    plan.grant_start(task_id, instance)
    return task_id


def _end(
    plan: Blueprint, environment: EnvironmentFacts, task_id: str, source: str, title: str, *, is_proven: bool, **options: Any
) -> str:
    inputs = {"place": environment.place, "is_proven": is_proven, **outputs(source, "deployment_id")}
    plan.add(task_id, "drill_end", title, Effect.DEPLOY, inputs, retry=PATIENT, timeout_s=300, **options)
    plan.grant_point(task_id, environment.place, "candidate")
    plan.grant_stop(task_id, plan.recipe.target, None)
    return task_id


def _serving(environment: EnvironmentFacts) -> str:
    return environment.serving.deployment_id if environment.serving else ""
