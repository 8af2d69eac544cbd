"""From a commit to a release: check out, run the module's commands, seal."""

from typing import Any

from interlock.plans.blueprints.blueprint import ANYTHING, ONCE, PATIENT, STEADY, Blueprint, limits_of, outputs
from interlock.sources.model import Command
from interlock.tools.model import Effect

KEPT_BY_REGISTRY = "the registry keeps what was sent to it"


def build(plan: Blueprint) -> str | None:
    """The tasks that make the release; the last one, or None where there is one already."""
    facts = plan.facts
    if facts.release is not None and facts.action != "test":
        return None
    checkout = {"mirror": facts.mirror, "commit": facts.ref.commit, "folder": facts.folder}
    title = f"check out {facts.ref.commit[:12]}"
    after = plan.add("checkout", "checkout", title, Effect.WRITE, checkout, retry=STEADY, timeout_s=600)
    plan.grant_exactly("checkout", "git.checkout", checkout)
    after, made = _image(plan, after) if facts.image else (_commands(plan, after), {})
    if facts.action == "test":
        last = _take_away(plan, "clean-up", "remove what was made for it", checkout, needs=(after,), retry=STEADY)
    else:
        fields = ("release_id", "service", "version", "content", "folder")
        inputs = {name: getattr(facts, name) for name in fields} | {"commit": facts.ref.commit, "recipe": plan.recipe} | made
        title = f"seal release {facts.release_id}"
        last = plan.add("release", "release", title, Effect.WRITE, inputs, needs=(after,), retry=STEADY)
    _discard_build(plan, checkout)
    return last


def _commands(plan: Blueprint, after: str) -> str:
    recipe = plan.recipe
    for name, commands in (("install", recipe.install), ("build", recipe.build), ("test", recipe.test)):
        for number, command in enumerate(commands, 1):
            task_id = name if len(commands) == 1 else f"{name}-{number}"
            after = _command(plan, task_id, command, after)
    return after


def _image(plan: Blueprint, after: str) -> tuple[str, dict[str, Any]]:
    """Build the image, run the tests in it, send it to the registry; with what the release has to know of it."""
    facts, image = plan.facts, plan.facts.image
    if image is None:
        return after, {}
    inputs = {
        "folder": facts.folder,
        "repository": image.repository,
        "dockerfile": image.dockerfile,
        "dockerfile_text": image.text,
        "ignore_text": image.ignore,
        "bases": image.bases,
        "labels": {"interlock.service": facts.service, "interlock.release": facts.release_id, "interlock.plan": facts.plan_id},
        "timeout_s": facts.command_timeout_s,
    }
    how = "the Dockerfile that was generated" if image.text else image.dockerfile
    limit_s = facts.command_timeout_s + 60
    title = f"build the image from {how}"
    after = plan.add("image", "image", title, Effect.WRITE, inputs, needs=(after,), timeout_s=limit_s, retry=STEADY)
    plan.grant_exactly("image", "image.build", inputs)
    made: dict[str, Any] = outputs("image", "image") | {"container_port": image.container_port}
    for number, command in enumerate(plan.recipe.test, 1):
        task_id = "test" if len(plan.recipe.test) == 1 else f"test-{number}"
        after = _container_command(plan, task_id, command, after)
    if image.registry and facts.action != "test":
        after = _push(plan, image.registry, after)
        made |= outputs("push", "reference")
    return after, made


def _container_command(plan: Blueprint, task_id: str, command: Command, after: str) -> str:
    fixed = {
        "commands": [list(argv) for argv in command.argv],
        "environment": dict(plan.recipe.env),
        "limits": limits_of(plan.recipe),
        "timeout_s": plan.facts.command_timeout_s,
    }
    limit_s = plan.facts.command_timeout_s + 60
    options: dict[str, Any] = {"needs": (after,), "timeout_s": limit_s, "retry": STEADY}
    title = f"in the image: {command.text}"
    arguments = fixed | outputs("image", "image")
    plan.add(task_id, "container_command", title, Effect.WRITE, arguments, **options)
    plan.grant_known(task_id, "container.run", arguments)
    return task_id


def _push(plan: Blueprint, repository: str, after: str) -> str:
    fixed = {"repository": repository, "tag": plan.facts.release_id}
    said = {"one_way": KEPT_BY_REGISTRY, "settled_by": "release"}
    options: dict[str, Any] = {"needs": (after,), "timeout_s": 900.0, "retry": PATIENT} | said
    inputs = fixed | outputs("image", "image")
    task_id = plan.add("push", "push", f"send it to {repository}", Effect.WRITE, inputs, **options)
    plan.grant_known(task_id, "image.push", inputs)
    return task_id


def _discard_build(plan: Blueprint, checkout: dict[str, Any]) -> None:
    title = "remove the half-built folder if a step fails"
    needs = tuple(task.id for task in plan.tasks)
    options: dict[str, Any] = {"needs": needs, "when": "failed", "branch": "cleanup", "retry": STEADY}
    _take_away(plan, "discard", title, checkout, **options)


def _take_away(plan: Blueprint, task_id: str, title: str, checkout: dict[str, Any], **options: Any) -> str:
    inputs = checkout
    if plan.facts.image is not None:
        inputs = checkout | outputs("image", "image")
        plan.grant(task_id, "container.remove", image=ANYTHING)
        plan.grant(task_id, "image.remove", image=ANYTHING)
    plan.grant_exactly(task_id, "git.remove_checkout", checkout)
    return plan.add(task_id, "discard_build", title, Effect.WRITE, inputs, takes_back=_steps(plan), **options)


def _steps(plan: Blueprint) -> tuple[str, ...]:
    """What leaves its effects in the folder and in the image, and is gone with them."""
    return tuple(task.id for task in plan.tasks if not task.takes_back and not task.one_way)


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
