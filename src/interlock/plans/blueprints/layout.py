"""The graph of each action.

A deployment to one environment, blue-green:

    start -> verify -> switch -> smoke -> watch -> retire
                 \\_ discard (when start or verify went wrong: what serves was not touched)
                              \\_ restore -> recheck -> return -> settle -> take-out   (when switch, smoke or watch went wrong)

Every task that changes the world is taken back by another one, or says that it is one-way.
"""

from collections.abc import Sequence
from typing import Any

from interlock.core.errors import Invalid
from interlock.plans.blueprints import steps
from interlock.plans.blueprints.blueprint import STEADY, Blueprint
from interlock.plans.blueprints.building import build
from interlock.plans.blueprints.drill import drill
from interlock.plans.blueprints.strategies import RollOut
from interlock.plans.blueprints.wayback import take_out
from interlock.plans.facts import Facts
from interlock.runs.graph import TaskGraph
from interlock.tools.grants import Grant
from interlock.tools.model import Effect

UNTIL_DEPLOYED = "it serves nobody until it is deployed again"


def lay_out(facts: Facts) -> tuple[TaskGraph, tuple[Grant, ...]]:
    """The graph and the grants of ``facts.action``."""
    plan = Blueprint(facts)
    match facts.action:
        case "deploy":
            _deploy(plan)
        case "test" | "build":
            build(plan)
        case "restart" | "rollback":
            _replace(plan)
        case "promote":
            _promote(plan)
        case "drill":
            for environment in facts.environments:
                drill(plan, environment)
        case "stop":
            _stop(plan)
        case "status":
            raise Invalid("no_plan", "a status needs no plan")
    return plan.graph(), tuple(plan.grants)


def _deploy(plan: Blueprint) -> None:
    after = build(plan)
    environments = plan.facts.environments
    if plan.recipe.all_or_nothing and len(environments) > 1:
        settled_by = f"watch-{environments[-1].name}"
        _together([RollOut(plan, environment, settled_by) for environment in environments], after)
        return
    for environment in environments:
        after = RollOut(plan, environment).lay_out(after)


def _together(roll_outs: Sequence[RollOut], after: str | None) -> None:
    """All or nothing. What served before runs on, without traffic, until the last watch has passed: the way back is quick."""
    for roll_out in roll_outs:
        after = roll_out.forward(after)
    for place in reversed(range(len(roll_outs))):
        roll_outs[place].way_back(roll_outs[place + 1 :])
    for roll_out in roll_outs:
        after = roll_out.retire(str(after))


def _replace(plan: Blueprint) -> None:
    """Start a release that exists (the same one, or the last known good) and put it in the place of what serves."""
    for environment in plan.facts.environments:
        after = RollOut(plan, environment).lay_out(None)
        if plan.facts.action == "rollback" and environment.serving is not None:
            take_out(plan, environment, after, environment.serving.deployment_id, branch="")


def _promote(plan: Blueprint) -> None:
    """Bring the release that serves elsewhere, after one more look at it there."""
    after = None
    if (origin := plan.facts.origin) is not None:
        pin = origin.pin
        inputs = {"service": plan.facts.service, "environment": pin.environment, "release_id": pin.release_id}
        title = f"check that {pin.version} (release {pin.release_id}) still serves and is good in {pin.environment}"
        after = plan.add(f"confirm-{pin.environment}", "confirm", title, Effect.READ, inputs, retry=STEADY, timeout_s=120)
    for environment in plan.facts.environments:
        after = RollOut(plan, environment).lay_out(after)


def _stop(plan: Blueprint) -> None:
    for environment in plan.facts.environments:
        takes_port = plan.recipe.takes_port
        serving = environment.serving
        nowhere = {
            "place": environment.place,
            "takes_port": takes_port,
            "deployment_id": None,
            "expects": serving.deployment_id if serving else "",
        }
        title = "lead the traffic nowhere"
        options: dict[str, Any] = {"retry": STEADY, "timeout_s": 120, "one_way": UNTIL_DEPLOYED}
        after = plan.add(f"switch-{environment.name}", "switch", title, Effect.DESTRUCTIVE, nowhere, **options)
        if takes_port:
            plan.grant_point(after, environment.place, "stable")
        steps.retire(plan, environment, after, "stopped by request", Effect.DESTRUCTIVE, UNTIL_DEPLOYED)
