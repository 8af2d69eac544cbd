"""Migrations: what changes beside a release before its first instance starts, each with what takes it back beside it."""

from typing import Any

from interlock.plans.blueprints.blueprint import ONCE, STEADY, Blueprint
from interlock.plans.facts import EnvironmentFacts
from interlock.sources.model import Command
from interlock.tools.model import Effect

MIGRATING = frozenset({"deploy", "promote"})
"""Actions that bring a release which was not there before; one that was there finds what it needs."""


def migrate(plan: Blueprint, environment: EnvironmentFacts, after: str | None, settled_by: str) -> str | None:
    """The module's migrations behind ``after``; the last one. They are accepted once ``settled_by`` has completed."""
    if plan.facts.action not in MIGRATING:
        return after
    for number, migration in enumerate(plan.recipe.migrate, 1):
        task_id = f"migrate-{environment.name}-{number}"
        needs = (after,) if after else ()
        if migration.undo is None:
            said = {"one_way": migration.one_way, "settled_by": settled_by}
            after = _run(plan, environment, task_id, migration.command, Effect.DESTRUCTIVE, needs=needs, retry=ONCE, **said)
            continue
        after = _run(plan, environment, task_id, migration.command, Effect.DEPLOY, needs=needs, retry=ONCE)
        # In a branch of its own: what the standing watch brings back later finds the database as it is.
        said = {"undoes": task_id, "settled_by": settled_by, "branch": f"undo:{environment.name}"}
        _run(plan, environment, f"un{task_id}", migration.undo, Effect.DEPLOY, retry=STEADY, **said)
    return after


def _run(plan: Blueprint, environment: EnvironmentFacts, task_id: str, command: Command, effect: Effect, **options: Any) -> str:
    facts = plan.facts
    about = {"INTERLOCK_ENVIRONMENT": environment.name, "INTERLOCK_PLAN": facts.plan_id, "INTERLOCK_VERSION": facts.version}
    common = {
        "commands": [list(argv) for argv in command.argv],
        "environment": dict(plan.recipe.env) | about,
        "secrets": dict(plan.recipe.secrets),
        "timeout_s": facts.command_timeout_s,
    }
    if plan.recipe.target == "container":
        instance = plan.candidate(environment)
        inside = {name: instance[name] for name in ("image", "limits", "writable", "labels")}
        tool, arguments = "container.run", common | inside
    else:
        tool, arguments = "command.run", common | {"folder": facts.folder}
    inputs = {"place": environment.place} | arguments
    plan.add(task_id, "migrate", command.text, effect, inputs, timeout_s=facts.command_timeout_s + 60, **options)
    plan.grant_known(task_id, tool, arguments)
    return task_id
