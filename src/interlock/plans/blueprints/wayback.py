"""The way back: bring back what serves now, verified like any candidate, then take the bad one out."""

from typing import Any

import msgspec

from interlock.delivery.model import Release
from interlock.plans.blueprints import steps
from interlock.plans.blueprints.blueprint import PATIENT, STEADY, Blueprint, Contained, has_port, instance_of, outputs
from interlock.plans.facts import EnvironmentFacts
from interlock.tools.model import Effect

QUARANTINED = "its content is refused until somebody lifts the quarantine"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a way back takes back: tasks that ``stopped`` the old one, ``moved`` traffic, and ``began`` the new one."""

    stopped: tuple[str, ...]
    moved: tuple[str, ...]
    began: tuple[str, ...]


def rollback_branch(plan: Blueprint, environment: EnvironmentFacts, source: str, guards: tuple[str, ...], taken: Taken) -> str:
    """restore ▸ recheck ▸ return ▸ settle ▸ take-out, when one of the guards fails; the last of them. ``source`` began the bad
    one."""
    name, fallback = environment.name, environment.fallback
    branch = f"rollback:{name}"
    restore = _restore(plan, environment, source, guards, branch, taken.stopped)
    after = restore
    if fallback is not None:
        count = len(environment.serving.instances) if environment.serving else 1
        recheck = f"recheck-{name}"
        after = steps.verify(plan, environment, recheck, fallback.recipe, restore, after=after, count=count, branch=branch)
    back = f"lead the traffic back to {fallback.version}" if fallback else "lead the traffic nowhere"
    returned = f"return-{name}"
    after = steps.switch(
        plan, environment, returned, back, after=after, sources=(restore,), branch=branch, takes_back=taken.moved
    )
    settled = outputs(restore, "deployment_id")
    options: dict[str, Any] = {"needs": (after,), "branch": branch, "retry": STEADY}
    settle = plan.add(f"settle-{name}", "settle", "count it as good again", Effect.WRITE, settled, **options)
    bad = outputs(source, "deployment_id")["deployment_id"]
    return take_out(plan, environment, settle, bad, branch=branch, takes_back=taken.began)


def _restore(
    plan: Blueprint,
    environment: EnvironmentFacts,
    source: str,
    guards: tuple[str, ...],
    branch: str,
    takes_back: tuple[str, ...],
) -> str:
    serving, fallback = environment.serving, environment.fallback
    instance = _instance(plan, environment, fallback) if fallback else None
    inputs = {
        "place": environment.place,
        "release_id": fallback.release_id if fallback else "",
        "deployment_id": serving.deployment_id if serving else "",
        "candidate": outputs(source, "deployment_id")["deployment_id"],
        "instance": instance,
        "former": serving.instances if serving else (),
        "watch": serving.watch if serving else plan.facts.watch,
    }
    title = f"make sure that {fallback.version} runs" if fallback else "nothing ran before: take the service out of traffic"
    limit_s = 120.0 * max(1, len(serving.instances) if serving else 1)
    options: dict[str, Any] = {"needs": guards, "when": "failed", "branch": branch, "retry": PATIENT, "timeout_s": limit_s}
    options |= {"takes_back": takes_back}
    task_id = plan.add(f"restore-{environment.name}", "restore", title, Effect.DEPLOY, inputs, **options)
    if instance is not None:
        plan.grant_start(task_id, instance)
    return task_id


def _instance(plan: Blueprint, environment: EnvironmentFacts, release: Release) -> dict[str, Any]:
    if not release.image:
        return instance_of(release.recipe, release.folder)
    labels = plan.labels(environment, release.release_id)
    host = plan.facts.container_host
    contained = Contained(image=release.image, port=release.container_port, labels=labels, host=host)
    return instance_of(release.recipe, "", contained)


def take_out(
    plan: Blueprint,
    environment: EnvironmentFacts,
    after: str,
    deployment: Any,
    *,
    branch: str,
    takes_back: tuple[str, ...] = (),
) -> str:
    """Quarantine what was bad and stop it: what this run started, or on a rollback by hand what served before it."""
    facts, fallback = plan.facts, environment.fallback
    # Whichever of the two takes a port was checked behind the candidate leg.
    takes_port = plan.recipe.takes_port or has_port(environment.serving)
    by_hand = facts.action == "rollback" and not branch
    inputs = {
        "place": environment.place,
        "deployment_id": deployment,
        "reason": (facts.reason or "rolled back by hand") if by_hand else "",
        "restored_version": facts.version if by_hand else (fallback.version if fallback else ""),
        "restored_release": facts.release_id if by_hand else (fallback.release_id if fallback else ""),
        "takes_port": takes_port,
        "drain_s": plan.recipe.drain_s,
    }
    task_id = f"quarantine-{environment.name}" if by_hand else f"take-out-{environment.name}"
    title = "quarantine the bad content and stop its process"
    options: dict[str, Any] = {"needs": (after,), "branch": branch, "retry": PATIENT, "timeout_s": 300}
    options |= {"one_way": QUARANTINED} if by_hand else {"takes_back": takes_back}
    plan.add(task_id, "take_out", title, Effect.DEPLOY, inputs, **options)
    if takes_port:
        plan.grant_point(task_id, environment.place, "candidate")
    known = environment.serving.instances if by_hand and environment.serving else None
    target = environment.serving.target if by_hand and environment.serving else plan.recipe.target
    plan.grant_stop(task_id, target, known)
    return task_id
