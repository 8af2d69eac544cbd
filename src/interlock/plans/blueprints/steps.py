"""The steps of a roll-out, one function a task: what it is told, and what it may do."""

from collections.abc import Sequence
from typing import Any

from interlock.delivery.model import Instance
from interlock.plans.blueprints.blueprint import ANYTHING, PATIENT, STEADY, Blueprint, has_port, outputs, shown, target_of
from interlock.plans.facts import EnvironmentFacts
from interlock.sources.model import AnalysisPolicy, CanaryStep, HealthCheck, Recipe, SmokeTest
from interlock.tools.grants import exactly
from interlock.tools.model import Effect


def stop_old(plan: Blueprint, environment: EnvironmentFacts, after: str | None) -> str:
    """Recreate: the old one goes first, and comes back if the new one fails."""
    serving = environment.serving
    deployment_id = serving.deployment_id if serving else ""
    inputs = {"place": environment.place, "deployment_id": deployment_id or None, "expects": deployment_id}
    task_id = f"stop-{environment.name}"
    title = f"stop {serving.version if serving else 'nothing'} (the service is down until the new one serves)"
    plan.add(task_id, "pause", title, Effect.DEPLOY, inputs, needs=(after,) if after else (), retry=STEADY, timeout_s=120)
    plan.grant_stop(task_id, target_of(environment), serving.instances if serving else ())
    return task_id


def start(plan: Blueprint, environment: EnvironmentFacts, task_id: str, after: str | None, count: int, joins: str = "") -> str:
    """Start ``count`` instances; those of a later batch join the deployment that the task ``joins`` began."""
    facts = plan.facts
    instance = plan.candidate(environment)
    inputs: dict[str, Any] = {
        "place": environment.place,
        "release_id": facts.release_id,
        "instance": instance,
        "count": count,
        "watch": facts.watch,
        "expects": environment.serving.deployment_id if environment.serving else "",
    }
    if facts.stands_for:
        inputs |= {"stands_for": facts.stands_for}
    if joins:
        inputs |= {"joins": outputs(joins, "deployment_id")["deployment_id"]}
    beside = "" if facts.strategy == "recreate" else " beside what serves"
    times = f" ({count} instances)" if count > 1 else ""
    title = f"start {facts.version}{beside}{times}: {shown(instance)}"
    limit_s = 120.0 * count
    plan.add(task_id, "start", title, Effect.DEPLOY, inputs, needs=(after,) if after else (), retry=STEADY, timeout_s=limit_s)
    plan.grant_start(task_id, instance)
    return task_id


def verify(
    plan: Blueprint,
    environment: EnvironmentFacts,
    task_id: str,
    recipe: Recipe,
    source: str,
    *,
    after: str,
    count: int,
    branch: str = "",
) -> str:
    """Check the instances that the task ``source`` gave, each behind the candidate leg."""
    health = recipe.health
    fields = {"place": environment.place, "health": health, "takes_port": recipe.takes_port}
    inputs = fields | outputs(source, "deployment_id", "instances")
    path = health.path if health else "/"
    title = f"wait until GET {path} is healthy behind the candidate leg" if recipe.takes_port else "wait until it has stayed up"
    limit_s = max(1, count) * longest_verification_s(health) + 60
    options: dict[str, Any] = {"needs": (after,), "branch": branch, "retry": STEADY, "timeout_s": limit_s}
    plan.add(task_id, "verify", title, Effect.DEPLOY, inputs, **options)
    if recipe.takes_port:
        plan.grant_point(task_id, environment.place, "candidate")
        url = exactly(environment.place.url("candidate", path))
        plan.grant(task_id, "http.check", url=url, timeout_s=exactly(health.timeout_s if health else 2.0))
    return task_id


def longest_verification_s(health: HealthCheck | None) -> float:
    """Until the first good answer of an instance, and then for all that have to follow it."""
    if health is None:
        return 60.0
    return health.start_timeout_s + health.healthy_after * (health.interval_s + health.timeout_s)


def shift(
    plan: Blueprint,
    environment: EnvironmentFacts,
    task_id: str,
    title: str,
    *,
    after: str,
    remaining: Sequence[Instance],
    sources: Sequence[str] = (),
    percent: int | None = None,
) -> str:
    """Lead a part of the traffic to the candidate: ``percent`` through its leg, or an even share to each instance."""
    serving, fallback = environment.serving, environment.fallback
    inputs = {
        "place": environment.place,
        "expects": serving.deployment_id if serving else "",
        "fallback": fallback.release_id if fallback else "",
        "remaining": remaining,
        "groups": [outputs(source, "instances")["instances"] for source in sources],
        "percent": percent,
    }
    plan.add(task_id, "shift", title, Effect.DEPLOY, inputs, needs=(after,), retry=STEADY, timeout_s=120)
    plan.grant_point(task_id, environment.place, "stable")
    return task_id


def analyse(plan: Blueprint, environment: EnvironmentFacts, task_id: str, step: CanaryStep, source: str, after: str) -> str:
    """Judge the candidate beside what serves, once it has had its share for a while."""
    serving = environment.serving
    policy: AnalysisPolicy = plan.recipe.analysis
    inputs = {
        "place": environment.place,
        "stable_id": serving.deployment_id if serving else "",
        "percent": step.percent,
        "bake_s": step.bake_s,
        "policy": policy,
        "health": plan.recipe.health,
        **outputs(source, "deployment_id"),
    }
    title = f"compare it with what serves for {step.bake_s:g} s"
    options: dict[str, Any] = {"needs": (after,), "retry": STEADY, "timeout_s": 2 * step.bake_s + 600}
    return plan.add(task_id, "analyse", title, Effect.READ, inputs, **options)


def thin(
    plan: Blueprint, environment: EnvironmentFacts, task_id: str, instances: Sequence[Instance], left: int, after: str
) -> str:
    """Stop instances of what serves whose share others have taken over."""
    serving = environment.serving
    inputs = {
        "place": environment.place,
        "deployment_id": serving.deployment_id if serving else "",
        "instances": instances,
        "drain_s": plan.recipe.drain_s,
    }
    title = f"stop {len(instances)} of {serving.version if serving else 'nothing'}; {left} go on"
    limit_s = 120.0 * len(instances) + plan.recipe.drain_s
    plan.add(task_id, "thin", title, Effect.DEPLOY, inputs, needs=(after,), retry=PATIENT, timeout_s=limit_s)
    plan.grant_stop(task_id, target_of(environment), instances)
    return task_id


def switch(
    plan: Blueprint,
    environment: EnvironmentFacts,
    task_id: str,
    title: str,
    *,
    after: str,
    sources: Sequence[str],
    branch: str = "",
    takes_back: tuple[str, ...] = (),
) -> str:
    """Lead all traffic to what the first of ``sources`` began, and all of them started."""
    serving = environment.serving
    # Where only one of the two releases takes a port, traffic comes back to the old one, or must not stay with its port.
    takes_port = plan.recipe.takes_port or has_port(serving)
    groups = [outputs(source, "instances")["instances"] for source in sources]
    inputs = {"place": environment.place, "takes_port": takes_port, "groups": groups, **outputs(sources[0], "deployment_id")}
    # The way back is proven before traffic leaves it; on the way back itself there is nothing further back to prove.
    inputs["fallback"] = "" if branch or environment.fallback is None else environment.fallback.release_id
    if branch:
        inputs |= outputs(sources[0], "stays")
    else:
        inputs["expects"] = serving.deployment_id if serving else ""
    options: dict[str, Any] = {"needs": (after,), "branch": branch, "takes_back": takes_back, "timeout_s": 120}
    plan.add(task_id, "switch", title, Effect.DEPLOY, inputs, retry=PATIENT if branch else STEADY, **options)
    if takes_port:
        plan.grant_point(task_id, environment.place, "stable")
    return task_id


def smoke(
    plan: Blueprint, environment: EnvironmentFacts, source: str, after: str, *, kind: str = "stable", is_blamed: bool = True
) -> str:
    """Run the module's smoke tests against a leg, or where a service that can be told no port listens; commands of a release in
    a container run beside the first instance that the task ``source`` started. What that one began is blamed for what fails,
    unless nothing is."""
    facts, recipe = plan.facts, plan.recipe
    port = environment.place.candidate_port if kind == "candidate" else facts.port(environment)
    inside = _inside(plan, environment, source)
    asked = inside.get("port") or port
    inputs = {
        "place": environment.place,
        "port": port,
        "tests": list(recipe.smoke),
        "folder": facts.folder,
        "environment": dict(recipe.env) | {"SERVICE_URL": f"http://127.0.0.1:{asked}"},
        **({"inside": inside} if inside else {}),
        **(outputs(source, "deployment_id") if is_blamed else {}),
    }
    task_id = f"smoke-{environment.name}"
    title = "smoke tests: " + ", ".join(test.name for test in recipe.smoke)
    plan.add(task_id, "smoke", title, Effect.WRITE, inputs, needs=(after,), retry=STEADY, timeout_s=900)
    for test in recipe.smoke:
        _grant_smoke(plan, task_id, test, inputs)
    return task_id


def _inside(plan: Blueprint, environment: EnvironmentFacts, source: str) -> dict[str, Any]:
    """Where commands run that test a release in a container; empty where none do."""
    if plan.recipe.target != "container" or all(test.command is None for test in plan.recipe.smoke):
        return {}
    instance = plan.candidate(environment)
    fields = {name: instance[name] for name in ("image", "limits", "writable", "labels")}
    return fields | outputs(source, "instances") | {"port": instance["container_port"]}


def _grant_smoke(plan: Blueprint, task_id: str, test: SmokeTest, inputs: dict[str, Any]) -> None:
    if test.path is not None:
        url = exactly(f"http://127.0.0.1:{inputs['port']}{test.path}")
        text = {"expect_text": exactly(test.expect_text)} if test.expect_text else {}
        plan.grant(task_id, "http.check", url=url, expect_status=exactly(test.expect_status), **text)
    elif test.command is not None:
        inside = inputs.get("inside", {})
        commands = [list(argv) for argv in test.command.on_port(inside.get("port") or inputs["port"])]
        fixed = {"commands": commands, "environment": inputs["environment"], "timeout_s": 300.0}
        if inside:
            fixed |= {name: inside[name] for name in ("image", "limits", "writable", "labels")}
            plan.grant_known(task_id, "container.run", fixed, joins=ANYTHING)
        else:
            plan.grant_exactly(task_id, "command.run", fixed | {"folder": inputs["folder"]})


def watch(plan: Blueprint, environment: EnvironmentFacts, source: str, after: str) -> str:
    """Measure what serves now for the whole window."""
    recipe, policy = plan.recipe, plan.facts.watch
    fields = {"place": environment.place, "health": recipe.health, "takes_port": recipe.takes_port}
    seconds = policy.window_s or 0.0
    limit_s = seconds + 6 * (policy.interval_s or 0.0) + 600
    options: dict[str, Any] = {"needs": (after,), "retry": STEADY, "timeout_s": limit_s}
    inputs = fields | outputs(source, "deployment_id")
    return plan.add(f"watch-{environment.name}", "watch", f"watch for {seconds:g} s", Effect.READ, inputs, **options)


def retire(
    plan: Blueprint, environment: EnvironmentFacts, after: str, reason: str, effect: Effect = Effect.DEPLOY, one_way: str = ""
) -> str:
    """Stop what served until now."""
    serving = environment.serving
    if serving is None:
        return after
    inputs = {
        "place": environment.place,
        "deployment_id": serving.deployment_id,
        "reason": reason,
        "takes_port": plan.recipe.takes_port,
        "drain_s": plan.recipe.drain_s,
    }
    task_id = f"retire-{environment.name}"
    limit_s = 120.0 * max(1, len(serving.instances)) + plan.recipe.drain_s
    options: dict[str, Any] = {"needs": (after,), "retry": PATIENT, "timeout_s": limit_s, "one_way": one_way}
    plan.add(task_id, "retire", f"stop {serving.version}", effect, inputs, **options)
    if plan.recipe.takes_port:
        plan.grant_point(task_id, environment.place, "candidate")
    plan.grant_stop(task_id, serving.target, serving.instances)
    return task_id


def discard(plan: Blueprint, environment: EnvironmentFacts, source: str, needs: tuple[str, ...]) -> str:
    """Take a candidate away that never got traffic, and what ``needs`` did to it."""
    task_id = f"discard-{environment.name}"
    inputs = {
        "place": environment.place,
        "reason": "it did not get healthy",
        "takes_port": plan.recipe.takes_port,
        **outputs(source, "deployment_id"),
    }
    options: dict[str, Any] = {"needs": needs, "when": "failed", "branch": f"cleanup:{environment.name}"}
    title = "stop the candidate if it does not get healthy; what serves is not touched"
    plan.add(task_id, "discard", title, Effect.DEPLOY, inputs, retry=PATIENT, timeout_s=300, takes_back=needs, **options)
    if plan.recipe.takes_port:
        plan.grant_point(task_id, environment.place, "candidate")
    plan.grant_stop(task_id, plan.recipe.target, None)
    return task_id
