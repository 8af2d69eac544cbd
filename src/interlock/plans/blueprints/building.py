"""From a commit to a release: check out, run the module's commands, seal."""

from typing import Any

from interlock.plans.blueprints.blueprint import ONCE, STEADY, Blueprint
from interlock.sources.model import Command
from interlock.tools.model import Effect


def build(plan: Blueprint) -> str | None:
    """The tasks that make the release; the last one, or None where there is one already."""
    facts = plan.facts
    if facts.release is not None and facts.action != "test":
        return None
    checkout = {"mirror": facts.mirror, "commit": facts.ref.commit, "folder": facts.folder}
    title = f"check out {facts.ref.commit[:12]}"
    after = plan.add("checkout", "checkout", title, Effect.WRITE, checkout, retry=STEADY, timeout_s=600)
    plan.grant_exactly("checkout", "git.checkout", checkout)
    recipe = plan.recipe
    for name, commands in (("install", recipe.install), ("build", recipe.build), ("test", recipe.test)):
        for number, command in enumerate(commands, 1):
            task_id = name if len(commands) == 1 else f"{name}-{number}"
            after = _command(plan, task_id, command, after)
    if facts.action == "test":
        options: dict[str, Any] = {"needs": (after,), "retry": STEADY, "takes_back": _steps(plan)}
        last = plan.add("clean-up", "discard_build", "remove the work tree", Effect.WRITE, checkout, **options)
        plan.grant_exactly("clean-up", "git.remove_checkout", checkout)
    else:
        fields = ("release_id", "service", "version", "content", "folder")
        inputs = {name: getattr(facts, name) for name in fields} | {"commit": facts.ref.commit, "recipe": recipe}
        title = f"seal release {facts.release_id}"
        last = plan.add("release", "release", title, Effect.WRITE, inputs, needs=(after,), retry=STEADY)
    _discard_build(plan, checkout)
    return last


def _discard_build(plan: Blueprint, checkout: dict[str, Any]) -> None:
    title = "remove the half-built folder if a step fails"
    needs = tuple(task.id for task in plan.tasks)
    options: dict[str, Any] = {"needs": needs, "when": "failed", "branch": "cleanup", "retry": STEADY}
    plan.add("discard", "discard_build", title, Effect.WRITE, checkout, takes_back=_steps(plan), **options)
    plan.grant_exactly("discard", "git.remove_checkout", checkout)


def _steps(plan: Blueprint) -> tuple[str, ...]:
    """What leaves its effects in the folder, and is gone with it."""
    return tuple(task.id for task in plan.tasks if not task.takes_back)


def _command(plan: Blueprint, task_id: str, command: Command, after: str) -> str:
    inputs = {
        "commands": [list(argv) for argv in command.argv],
        "folder": plan.facts.folder,
        "environment": dict(plan.recipe.env),
        "timeout_s": plan.facts.command_timeout_s,
    }
    # The command's own limit comes first: it can say what was printed until then.
    limit_s = plan.facts.command_timeout_s + 60
    plan.add(task_id, "command", command.text, Effect.WRITE, inputs, needs=(after,), timeout_s=limit_s, retry=ONCE)
    plan.grant_exactly(task_id, "command.run", inputs)
    return task_id
