"""Blueprints: the task graph of each action, each task beside the grants that it needs and nothing more.

A deployment to one environment:

    start -> verify -> switch -> smoke -> watch -> retire
                 \\_ discard (when start or verify went wrong: what serves was not touched)
                              \\_ restore -> recheck -> return -> settle -> take-out   (when switch, smoke or watch went wrong)
"""

from typing import Any

import msgspec

from interlock.core.errors import Invalid
from interlock.delivery.model import Deployment, Release
from interlock.plans.facts import EnvironmentFacts, Facts
from interlock.runs.graph import Retry, TaskGraph, TaskSpec
from interlock.sources.model import Command, HealthCheck, Recipe, SmokeTest
from interlock.tools.grants import Grant, Rule, exactly
from interlock.tools.model import Effect

STEADY = Retry(max_attempts=4, delay_s=1.0)
PATIENT = Retry(max_attempts=10, delay_s=1.0, max_delay_s=30.0)
"""For what clears up: given up, it would leave something running that nobody looks after."""
ONCE = Retry(max_attempts=1)
ANYTHING = Rule(rule="decided")


class Blueprint:
    """Collects tasks and grants while a graph is laid out."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.tasks: list[TaskSpec] = []
        self.grants: list[Grant] = []

    def add(self, task_id: str, kind: str, title: str, effect: Effect, inputs: dict[str, Any], **options: Any) -> str:
        """Add a task; returns its id, for the needs of the next one."""
        spec = TaskSpec(id=task_id, kind=f"delivery.{kind}", title=title, effect=effect, inputs=_plain(inputs), **options)
        self.tasks.append(spec)
        return task_id

    def grant(self, task_id: str, tool: str, **arguments: Rule) -> None:
        """Give a task the right to a tool with these arguments."""
        self.grants.append(Grant(task=task_id, tool=tool, arguments=arguments))

    def graph(self) -> TaskGraph:
        """The graph, checked."""
        graph = TaskGraph(tasks=tuple(self.tasks))
        graph.check()
        return graph


def lay_out(facts: Facts) -> tuple[TaskGraph, tuple[Grant, ...]]:
    """The graph and the grants of ``facts.action``."""
    plan = Blueprint(facts)
    match facts.action:
        case "deploy":
            _deploy(plan)
        case "test" | "build":
            _build(plan)
        case "restart" | "rollback":
            _replace(plan)
        case "stop":
            _stop(plan)
        case "status":
            raise Invalid("no_plan", "a status needs no plan")
    return plan.graph(), tuple(plan.grants)


def _deploy(plan: Blueprint) -> None:
    after = _build(plan)
    for environment in plan.facts.environments:
        after = _roll_out(plan, environment, after)


def _replace(plan: Blueprint) -> None:
    """Start a release that exists (the same one, or the last known good) and put it in the place of what serves."""
    for environment in plan.facts.environments:
        after = _roll_out(plan, environment, None)
        if plan.facts.action == "rollback" and environment.serving is not None:
            _take_out(plan, environment, f"take-out-{environment.name}", after, environment.serving.deployment_id, branch="")


# --- build -----------------------------------------------------------------------------------------------------------------


def _build(plan: Blueprint) -> str | None:
    facts = plan.facts
    if facts.release is not None and facts.action != "test":
        return None
    recipe = facts.analysis.recipe
    checkout = {"mirror": facts.mirror, "commit": facts.ref.commit, "folder": facts.folder}
    title = f"check out {facts.ref.commit[:12]}"
    after = plan.add("checkout", "checkout", title, Effect.WRITE, checkout, retry=STEADY, timeout_s=600)
    plan.grant("checkout", "git.checkout", **{name: exactly(value) for name, value in checkout.items()})
    for name, commands in (("install", recipe.install), ("build", recipe.build), ("test", recipe.test)):
        for number, command in enumerate(commands, 1):
            task_id = name if len(commands) == 1 else f"{name}-{number}"
            after = _command(plan, task_id, command, after)
    if facts.action == "test":
        last = plan.add(
            "clean-up", "discard_build", "remove the work tree", Effect.WRITE, checkout, needs=(after,), retry=STEADY
        )
        plan.grant("clean-up", "git.remove_checkout", **{name: exactly(value) for name, value in checkout.items()})
    else:
        fields = ("release_id", "service", "version", "content", "folder")
        inputs = {name: getattr(facts, name) for name in fields} | {"commit": facts.ref.commit, "recipe": recipe}
        title = f"seal release {facts.release_id}"
        last = plan.add("release", "release", title, Effect.WRITE, inputs, needs=(after,), retry=STEADY)
    _discard_build(plan, checkout)
    return last


def _discard_build(plan: Blueprint, checkout: dict[str, Any]) -> None:
    steps = tuple(task.id for task in plan.tasks)
    title = "remove the half-built folder if a step fails"
    options: dict[str, Any] = {"needs": steps, "when": "failed", "branch": "cleanup", "retry": STEADY}
    plan.add("discard", "discard_build", title, Effect.WRITE, checkout, **options)
    plan.grant("discard", "git.remove_checkout", **{name: exactly(value) for name, value in checkout.items()})


def _command(plan: Blueprint, task_id: str, command: Command, after: str) -> str:
    commands = [list(argv) for argv in command.argv]
    environment = dict(plan.facts.analysis.recipe.env)
    inputs = {
        "commands": commands,
        "folder": plan.facts.folder,
        "environment": environment,
        "timeout_s": plan.facts.command_timeout_s,
    }
    # The command's own limit comes first: it can say what was printed until then.
    limit_s = plan.facts.command_timeout_s + 60
    plan.add(task_id, "command", command.text, Effect.WRITE, inputs, needs=(after,), timeout_s=limit_s, retry=ONCE)
    plan.grant(task_id, "command.run", **{name: exactly(value) for name, value in _plain(inputs).items()})
    return task_id


# --- one environment -------------------------------------------------------------------------------------------------------


def _roll_out(plan: Blueprint, environment: EnvironmentFacts, after: str | None) -> str:
    """The tasks of one environment; returns the last one on the straight way."""
    facts, recipe, name = plan.facts, plan.facts.analysis.recipe, environment.name
    serving = environment.serving
    is_recreate = facts.strategy == "recreate"
    began: list[str] = []
    if is_recreate and serving is not None:
        after = _stop_old(plan, environment, after)
        began.append(after)
    start = _start(plan, environment, after)
    verify = _verify(plan, f"verify-{name}", environment, recipe, start, needs=(start,))
    switch = _switch(plan, f"switch-{name}", environment, start, needs=(verify,), title="lead the traffic to the candidate")
    last, guards = switch, [switch]
    if facts.wants_smoke and recipe.smoke:
        last = _smoke(plan, environment, start, last)
        guards.append(last)
    last = _watch(plan, environment, start, last)
    guards.append(last)
    if is_recreate:
        began += [start, verify]
    else:
        _discard(plan, environment, start, verify)
    _rollback_branch(plan, environment, start, (*began, *guards))
    if serving is not None and facts.action != "rollback":
        last = _retire(plan, environment, serving, last)
    return last


def _start(plan: Blueprint, environment: EnvironmentFacts, after: str | None) -> str:
    facts = plan.facts
    process = _process(facts.analysis.recipe, facts.folder)
    task_id = f"start-{environment.name}"
    serving = environment.serving.deployment_id if environment.serving else ""
    inputs = {
        "place": environment.place,
        "release_id": facts.release_id,
        "process": process,
        "watch": facts.watch,
        "expects": serving,
    }
    title = f"start {facts.version} beside what serves: {_shown(process)}"
    if facts.strategy == "recreate":
        title = f"start {facts.version}: {_shown(process)}"
    plan.add(task_id, "start", title, Effect.DEPLOY, inputs, needs=(after,) if after else (), retry=STEADY, timeout_s=120)
    _grant_start(plan, task_id, process)
    return task_id


def _grant_start(plan: Blueprint, task_id: str, process: dict[str, Any]) -> None:
    fixed = {name: exactly(process[name]) for name in ("commands", "folder", "environment", "secrets")}
    plan.grant(task_id, "process.start", port=Rule(rule="port"), **fixed)


def _verify(
    plan: Blueprint,
    task_id: str,
    environment: EnvironmentFacts,
    recipe: Recipe,
    source: str,
    needs: tuple[str, ...],
    branch: str = "",
) -> str:
    health = recipe.health
    inputs = {"place": environment.place, "health": health, "takes_port": recipe.takes_port, **_outputs(source)}
    path = health.path if health else "/"
    title = f"wait until GET {path} is healthy behind the candidate leg" if recipe.takes_port else "wait until it has stayed up"
    limit_s = _longest_verification_s(health) + 60
    plan.add(task_id, "verify", title, Effect.DEPLOY, inputs, needs=needs, branch=branch, retry=STEADY, timeout_s=limit_s)
    if recipe.takes_port:
        _grant_point(plan, task_id, environment, "candidate")
        url = exactly(environment.place.url("candidate", path))
        plan.grant(task_id, "http.check", url=url, timeout_s=exactly(health.timeout_s if health else 2.0))
    return task_id


def _longest_verification_s(health: HealthCheck | None) -> float:
    """Until the first good answer, and then for all that have to follow it."""
    if health is None:
        return 60.0
    return health.start_timeout_s + health.healthy_after * (health.interval_s + health.timeout_s)


def _switch(
    plan: Blueprint,
    task_id: str,
    environment: EnvironmentFacts,
    source: str,
    needs: tuple[str, ...],
    title: str,
    branch: str = "",
) -> str:
    serving = environment.serving
    # Where only one of the two releases takes a port, traffic comes back to the old one, or must not stay with its port.
    takes_port = plan.facts.analysis.recipe.takes_port or (serving is not None and serving.port is not None)
    inputs = {"place": environment.place, "takes_port": takes_port, **_outputs(source, "deployment_id", "port")}
    # The way back is proven before traffic leaves it; on the way back itself there is nothing further back to prove.
    inputs["fallback"] = "" if branch or environment.fallback is None else environment.fallback.release_id
    if branch:
        inputs |= _outputs(source, "stays")
    else:
        inputs["expects"] = serving.deployment_id if serving else ""
    retry = PATIENT if branch else STEADY
    plan.add(task_id, "switch", title, Effect.DEPLOY, inputs, needs=needs, branch=branch, retry=retry, timeout_s=120)
    if takes_port:
        _grant_point(plan, task_id, environment, "stable")
    return task_id


def _grant_point(plan: Blueprint, task_id: str, environment: EnvironmentFacts, kind: str) -> None:
    place = environment.place
    port = place.stable_port if kind == "stable" else place.candidate_port
    rules = {"route": exactly(place.route), "kind": exactly(kind), "listen_port": exactly(port)}
    plan.grant(task_id, "forwarder.point", upstream_port=Rule(rule="port"), **rules)


def _smoke(plan: Blueprint, environment: EnvironmentFacts, source: str, after: str) -> str:
    facts, recipe = plan.facts, plan.facts.analysis.recipe
    task_id = f"smoke-{environment.name}"
    inputs = {
        "place": environment.place,
        "port": facts.port(environment),
        "tests": list(recipe.smoke),
        "folder": facts.folder,
        "environment": dict(recipe.env) | {"SERVICE_URL": facts.url(environment, "")},
        **_outputs(source, "deployment_id"),
    }
    title = "smoke tests: " + ", ".join(test.name for test in recipe.smoke)
    plan.add(task_id, "smoke", title, Effect.WRITE, inputs, needs=(after,), retry=STEADY, timeout_s=900)
    for test in recipe.smoke:
        _grant_smoke(plan, task_id, environment, test, inputs)
    return task_id


def _grant_smoke(plan: Blueprint, task_id: str, environment: EnvironmentFacts, test: SmokeTest, inputs: dict[str, Any]) -> None:
    if test.path is not None:
        url = exactly(plan.facts.url(environment, test.path))
        text = {"expect_text": exactly(test.expect_text)} if test.expect_text else {}
        plan.grant(task_id, "http.check", url=url, expect_status=exactly(test.expect_status), **text)
    elif test.command is not None:
        rules = {name: exactly(inputs[name]) for name in ("folder", "environment")}
        commands = exactly([list(argv) for argv in test.command.on_port(plan.facts.port(environment))])
        plan.grant(task_id, "command.run", commands=commands, timeout_s=exactly(300.0), **rules)


def _watch(plan: Blueprint, environment: EnvironmentFacts, source: str, after: str) -> str:
    recipe, watch = plan.facts.analysis.recipe, plan.facts.watch
    inputs = {"place": environment.place, "health": recipe.health, "takes_port": recipe.takes_port, **_outputs(source)}
    seconds = watch.window_s or 0.0
    title = f"watch for {seconds:g} s"
    return plan.add(
        f"watch-{environment.name}",
        "watch",
        title,
        Effect.READ,
        inputs,
        needs=(after,),
        retry=STEADY,
        timeout_s=seconds + 6 * (watch.interval_s or 0.0) + 600,
    )


def _retire(plan: Blueprint, environment: EnvironmentFacts, serving: Deployment, after: str) -> str:
    inputs = {
        "place": environment.place,
        "deployment_id": serving.deployment_id,
        "reason": f"{plan.facts.version} took over",
        "takes_port": plan.facts.analysis.recipe.takes_port,
    }
    task_id = f"retire-{environment.name}"
    plan.add(task_id, "retire", f"stop {serving.version}", Effect.DEPLOY, inputs, needs=(after,), retry=PATIENT, timeout_s=120)
    _grant_stop(plan, task_id, environment, serving)
    return task_id


def _grant_stop(plan: Blueprint, task_id: str, environment: EnvironmentFacts, serving: Deployment | None) -> None:
    """The right to stop the process of ``serving`` (None: the one that this run starts), and to free the candidate leg."""
    if plan.facts.analysis.recipe.takes_port:
        _grant_point(plan, task_id, environment, "candidate")
    plan.grant(task_id, "process.stop", key=_process_of(serving))


def _process_of(serving: Deployment | None) -> Rule:
    # What this run starts has no name yet; the deployment that it belongs to is fixed by the task's inputs.
    return exactly(serving.process) if serving is not None else ANYTHING


def _stop_old(plan: Blueprint, environment: EnvironmentFacts, after: str | None) -> str:
    """Recreate: the old one goes first, and comes back if the new one fails."""
    serving = environment.serving
    inputs = {
        "place": environment.place,
        "deployment_id": serving.deployment_id if serving else None,
        "expects": serving.deployment_id if serving else "",
    }
    task_id = f"stop-{environment.name}"
    title = f"stop {serving.version if serving else 'nothing'} (the service is down until the new one serves)"
    plan.add(task_id, "pause", title, Effect.DEPLOY, inputs, needs=(after,) if after else (), retry=STEADY, timeout_s=120)
    plan.grant(task_id, "process.stop", key=_process_of(serving))
    return task_id


def _discard(plan: Blueprint, environment: EnvironmentFacts, start: str, verify: str) -> None:
    task_id = f"discard-{environment.name}"
    inputs = {
        "place": environment.place,
        "reason": "it did not get healthy",
        "takes_port": plan.facts.analysis.recipe.takes_port,
        **_outputs(start, "deployment_id"),
    }
    options: dict[str, Any] = {"needs": (start, verify), "when": "failed", "branch": f"cleanup:{environment.name}"}
    title = "stop the candidate if it does not get healthy; what serves is not touched"
    plan.add(task_id, "discard", title, Effect.DEPLOY, inputs, retry=PATIENT, timeout_s=120, **options)
    _grant_stop(plan, task_id, environment, None)


# --- the way back ------------------------------------------------------------------------------------------------------------


def _rollback_branch(plan: Blueprint, environment: EnvironmentFacts, start: str, guards: tuple[str, ...]) -> None:
    """If a guard fails: bring back what serves now, verified like any candidate, then take the bad one out."""
    name, fallback = environment.name, environment.fallback
    branch = f"rollback:{name}"
    restore = f"restore-{name}"
    process = _process(fallback.recipe, fallback.folder) if fallback else None
    inputs = {
        "place": environment.place,
        "release_id": fallback.release_id if fallback else "",
        "deployment_id": environment.serving.deployment_id if environment.serving else "",
        "candidate": {"$output": f"{start}.deployment_id"},
        "process": process,
        "watch": environment.serving.watch if environment.serving else plan.facts.watch,
    }
    target = f"make sure that {fallback.version} runs" if fallback else "nothing ran before: take the service out of traffic"
    plan.add(
        restore,
        "restore",
        target,
        Effect.DEPLOY,
        inputs,
        needs=guards,
        when="failed",
        branch=branch,
        retry=PATIENT,
        timeout_s=120,
    )
    after = restore
    if fallback is not None and process is not None:
        _grant_start(plan, restore, process)
        after = _verify(plan, f"recheck-{name}", environment, fallback.recipe, restore, (after,), branch)
    back = f"lead the traffic back to {fallback.version}" if fallback else "lead the traffic nowhere"
    after = _switch(plan, f"return-{name}", environment, restore, (after,), back, branch)
    settle = plan.add(
        f"settle-{name}",
        "settle",
        "count it as good again",
        Effect.WRITE,
        _outputs(restore, "deployment_id"),
        needs=(after,),
        branch=branch,
        retry=STEADY,
    )
    _take_out(plan, environment, f"take-out-{name}", settle, {"$output": f"{start}.deployment_id"}, branch=branch)


def _take_out(
    plan: Blueprint, environment: EnvironmentFacts, task_id: str, after: str, deployment: Any, *, branch: str
) -> None:
    fallback: Release | None = environment.fallback
    by_hand = plan.facts.action == "rollback" and not branch
    task_id = f"quarantine-{environment.name}" if by_hand else task_id
    restored = plan.facts.version if by_hand else (fallback.version if fallback else "")
    inputs = {
        "place": environment.place,
        "deployment_id": deployment,
        "reason": (plan.facts.reason or "rolled back by hand") if by_hand else "",
        "restored_version": restored,
        "restored_release": plan.facts.release_id if by_hand else (fallback.release_id if fallback else ""),
        "takes_port": plan.facts.analysis.recipe.takes_port,
    }
    title = "quarantine the bad content and stop its process"
    plan.add(task_id, "take_out", title, Effect.DEPLOY, inputs, needs=(after,), branch=branch, retry=PATIENT, timeout_s=180)
    plan.grant(task_id, "process.stop", key=_process_of(environment.serving if by_hand else None))


# --- stop --------------------------------------------------------------------------------------------------------------------


def _stop(plan: Blueprint) -> None:
    for environment in plan.facts.environments:
        takes_port = plan.facts.analysis.recipe.takes_port
        name = environment.name
        serving = environment.serving
        nowhere = {
            "place": environment.place,
            "takes_port": takes_port,
            "deployment_id": None,
            "port": None,
            "expects": serving.deployment_id if serving else "",
        }
        after = plan.add(
            f"switch-{name}", "switch", "lead the traffic nowhere", Effect.DESTRUCTIVE, nowhere, retry=STEADY, timeout_s=120
        )
        if takes_port:
            _grant_point(plan, after, environment, "stable")
        if serving is not None:
            inputs = {
                "place": environment.place,
                "deployment_id": serving.deployment_id,
                "reason": "stopped by request",
                "takes_port": takes_port,
            }
            title = f"stop {serving.version}"
            task_id = plan.add(
                f"retire-{name}", "retire", title, Effect.DESTRUCTIVE, inputs, needs=(after,), retry=PATIENT, timeout_s=120
            )
            _grant_stop(plan, task_id, environment, serving)


# --- values ------------------------------------------------------------------------------------------------------------------


def _process(recipe: Recipe, folder: str) -> dict[str, Any]:
    if recipe.start is None:
        raise Invalid("no_start", f"{recipe.name} has no start command", hint="add `start:` to ai-module.yaml")
    return {
        "commands": [list(argv) for argv in recipe.start.argv],
        "folder": folder,
        "environment": dict(recipe.env),
        "secrets": dict(recipe.secrets),
        "takes_port": recipe.takes_port,
    }


def _outputs(task_id: str, *names: str) -> dict[str, Any]:
    return {name: {"$output": f"{task_id}.{name}"} for name in names or ("deployment_id", "process", "port")}


def _shown(process: dict[str, Any]) -> str:
    return " && ".join(" ".join(command) for command in process["commands"])


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)
