"""Findings: what a person should know before approving, and the summary of what changes."""

from collections.abc import Iterable

import msgspec

from interlock.plans.blueprints.building import KEPT_BY_REGISTRY
from interlock.plans.facts import EnvironmentFacts, Facts, Origin
from interlock.plans.model import Change
from interlock.plans.outcome import MIGRATION
from interlock.runs.graph import TaskGraph
from interlock.sources.model import MODULE_FILES, Finding
from interlock.sources.recipe_changes import FieldChange, recipe_changes

NOTHING = TaskGraph(tasks=())


def findings_of(facts: Facts, graph: TaskGraph = NOTHING) -> tuple[Finding, ...]:
    """Everything worth a warning, worst first; ``graph`` is what would be done."""
    found = [*facts.analysis.findings, *_repository(facts), *_one_way(facts, graph)]
    if facts.origin is not None:
        found += _promotion(facts, facts.origin)
    if facts.action == "drill":
        found += [item for environment in facts.environments for item in _drill(facts, environment)]
    if facts.action in {"deploy", "promote", "restart", "rollback"}:
        found += [*_service(facts), *(item for environment in facts.environments for item in _environment(facts, environment))]
    found += [item for environment in facts.environments for item in _migrations(facts, environment)]
    if facts.action == "stop":
        for environment in facts.environments:
            message = f"{facts.service} will not be reachable in {environment.name}"
            found.append(_warning("service_down", message, environment.name))
    order = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.severity]))


def _one_way(facts: Facts, graph: TaskGraph) -> Iterable[Finding]:
    """What nothing takes back once it was begun: one finding for each reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for task in graph:
        if task.one_way:
            reasons.setdefault((task.kind if task.kind == MIGRATION else "", task.one_way), []).append(task.id)
    for (kind, reason), tasks in reasons.items():
        message = f"{', '.join(tasks)} cannot be undone: {reason}"
        if reason == KEPT_BY_REGISTRY:
            yield _info("one_way", message)
        else:
            yield _warning("one_way", message, _place(facts, "migrate") if kind else "", "if anything fails later, this stays")


def _migrations(facts: Facts, environment: EnvironmentFacts) -> Iterable[Finding]:
    """What becomes of the migrations of the release that serves."""
    if environment.serving is None or environment.fallback is None:
        return
    version, before = environment.serving.version, environment.fallback.recipe.migrate
    if facts.action == "rollback" and before:
        message = f"the migrations of {version} are not undone: {facts.version} gets what they left"
        yield _warning("migrations_stay", message, environment.name, "if it cannot work with that, undo them by hand first")
    known = {item.undo.argv for item in before if item.undo}
    again = [item.undo.text for item in facts.analysis.recipe.migrate if item.undo and item.undo.argv in known]
    if facts.action == "deploy" and again:
        message = f"{', '.join(again)} is the undo of {version} too: if this fails, it must not take back what {version} needs"
        hint = "the variable INTERLOCK_PLAN tells it which plan it belongs to"
        yield _info("undo_seen_before", message, _place(facts, "migrate"), hint)


def _repository(facts: Facts) -> Iterable[Finding]:
    if facts.ref.kind == "branch":
        hint = "a tag says more about what was approved"
        message = f"the branch {facts.ref.name} is pinned at {facts.ref.commit[:12]}; later commits are no part of this"
        yield _warning("branch_pinned", message, facts.ref.name, hint)
    if facts.analysis.tier == 2:
        hint = "`interlock module init` writes an ai-module.yaml to keep"
        yield _info("tier_2", "there is no ai-module.yaml: the commands were derived from the files", facts.repository, hint)
    if facts.image is not None and facts.release is None:
        yield from facts.image.findings
    if facts.release is not None and facts.action == "deploy":
        yield _info("reused", f"this content was built before: release {facts.release.release_id} is used as it is", "release")


def _service(facts: Facts) -> Iterable[Finding]:
    recipe = facts.analysis.recipe
    if not recipe.takes_port:
        message = "it takes no port: no candidate check, requests are not measured, and a short downtime while it is replaced"
        hint = "write {port} into the start command, or takes_port: true where it reads the variable PORT"
        yield _warning("no_port", message, _place(facts, "start"), hint)
    elif recipe.health is None:
        message = "it has no health check: any answer to GET / counts as healthy"
        yield _warning("no_health_check", message, _place(facts, "module_type"), "add `health:` to ai-module.yaml")
    if facts.strategy == "recreate" and recipe.takes_port:
        message = "recreate stops the old one before the new one serves: a short downtime"
        yield _warning("downtime", message, _place(facts, "deploy"))
    if facts.strategy == "rolling" and recipe.replicas < 2:
        message = "rolling goes replica by replica, and there is one: a short downtime while it is replaced"
        hint = "write `replicas:` of 2 or more, or choose blue-green"
        yield _warning("rolling_alone", message, _place(facts, "deploy"), hint)
    if not recipe.smoke:
        yield _info("no_smoke_tests", "it has no smoke tests", "smoke_tests", "add `smoke_tests:` to ai-module.yaml")
    yield from _without_effect(facts)


def _without_effect(facts: Facts) -> Iterable[Finding]:
    """What the module asks for and nothing acts on yet: said each time, so that nobody relies on it."""
    recipe = facts.analysis.recipe
    asked = {name: value for name, value in msgspec.to_builtins(recipe.resources).items() if value is not None}
    if asked and recipe.target == "process":
        bounds = ", ".join(f"{name} {value:g}" for name, value in asked.items())
        hint = "remove `resources:`, or limit it in the start command, for example with prlimit"
        message = f"resources are not limited yet: {bounds} will not be enforced on processes of this host"
        yield _warning("resources_not_limited", message, _place(facts, "resources"), hint)
    if recipe.replicas > 1 and not recipe.takes_port:
        message = f"{recipe.replicas} replicas are asked for; of a service that takes no port one is run"
        yield _warning("one_replica", message, _place(facts, "replicas"), "remove `replicas:`, or let the service take a port")
    if recipe.dependencies:
        names = ", ".join(recipe.dependencies)
        hint = "look at them first: interlock status"
        yield _warning(
            "dependencies", f"it needs {names}; whether they run is not checked", _place(facts, "dependencies"), hint
        )
    if recipe.health is not None and not recipe.takes_port:
        message = f"GET {recipe.health.path} is not asked: a service that takes no port is judged by its process alone"
        field = "health" if "health" in facts.analysis.places else "health_check"
        yield _warning("health_not_asked", message, _place(facts, field), "let the service take a port")
    if recipe.runtime and recipe.target == "process" and "runtime" in facts.analysis.places:
        message = f"whether this host has {recipe.runtime} is not checked; the commands run with what is there"
        yield _info("runtime_not_checked", message, _place(facts, "runtime"), "have `install:` or `test:` check it")


def _place(facts: Facts, field: str) -> str:
    """File and line of a field of the module file; of a recipe that comes from elsewhere, what it would be called there."""
    return facts.analysis.places.get(field) or f"{field} in {MODULE_FILES[0]}"


def _environment(facts: Facts, environment: EnvironmentFacts) -> Iterable[Finding]:
    if environment.serving is not None and environment.fallback is None:
        message = f"the files of {environment.serving.version} are damaged: it cannot be brought back"
        yield _warning("no_way_back", message, environment.name, "if this fails, the service is taken out of traffic")
    if environment.serving is None:
        message = f"the first deployment to {environment.name}: there is nothing to roll back to"
        yield _warning("first_deployment", message, environment.name, "if it turns bad, it is taken out of traffic")
    if facts.analysis.recipe.rollback == "propose":
        yield _info("rollback_proposed", "after the watch, a rollback is proposed in the inbox, not made", environment.name)


def _promotion(facts: Facts, origin: Origin) -> Iterable[Finding]:
    source = origin.pin.environment
    message = f"the very release that serves in {source} since {origin.good_since[:16]}Z: {facts.release_id}; nothing is built"
    yield _info("promoted", message, source)
    if origin.skipped:
        passed = ", ".join(origin.skipped)
        hint = f"promote it to {origin.skipped[0]} first, where it can prove itself"
        yield _warning("promotion_skips", f"{passed} stands in between and is passed over", passed, hint)
    if origin.is_backwards:
        message = f"{source} stands behind what it is promoted to, in promotion order"
        yield _warning("promotion_backwards", message, source, "to undo a deployment, roll it back")


def _drill(facts: Facts, environment: EnvironmentFacts) -> Iterable[Finding]:
    message = f"a rollback now would go to {facts.version} (release {facts.release_id}); no traffic is led to it"
    yield _info("drill_target", message, environment.name)
    if facts.pinned is not None and facts.pinned.release_id != facts.release_id:
        pinned = facts.pinned
        message = (
            f"by itself the watch would go back to {pinned.version} (release {pinned.release_id}), which is not drilled here"
        )
        hint = f"drill it too: interlock drill {facts.service} --env {environment.name} --to {pinned.version}"
        if environment.serving is not None and pinned.release_id == environment.serving.release_id:
            hint = "it serves already: nothing is needed to prove that it can be started"
        yield _warning("drill_differs", message, environment.name, hint)
    message = f"{facts.version} is started with its own environment and secrets: starting it has its real side effects"
    yield _info("drill_starts", message, environment.name)
    if not facts.analysis.recipe.smoke:
        yield _info("no_smoke_tests", "it has no smoke tests: its health check alone is proven", "smoke_tests")


def changes_of(facts: Facts, commits: dict[str, tuple[str, ...]]) -> tuple[Change, ...]:
    """What becomes different, environment by environment."""
    if facts.action == "drill":
        return ()
    then = {"stop": "nothing"}.get(facts.action, facts.version)
    return tuple(
        Change(
            environment=environment.name,
            now=environment.serving.version if environment.serving else "nothing",
            then=then,
            url=facts.url(environment, "/"),
            commits=commits.get(environment.name, ()),
            recipe=_recipe(facts, environment),
            rollback=_way_back(facts, environment),
        )
        for environment in facts.environments
    )


def _recipe(facts: Facts, environment: EnvironmentFacts) -> tuple[FieldChange, ...]:
    """Nothing where nothing serves, or nothing will: then there is nothing to compare."""
    if facts.action == "stop" or environment.serving is None or environment.fallback is None:
        return ()
    return recipe_changes(environment.fallback.recipe, facts.analysis.recipe, environment.serving.watch, facts.watch)


def _way_back(facts: Facts, environment: EnvironmentFacts) -> str:
    if facts.action == "stop":
        again = f'interlock plan "deploy {facts.version} of {facts.service} to {environment.name}"'
        return f"none by itself; to have it serve again: {again}"
    if environment.fallback is None:
        return "there is nothing to go back to: it is taken out of traffic"
    fallback = environment.fallback
    return f"{fallback.version} (release {fallback.release_id}, checked, pinned until superseded)"


def _warning(code: str, message: str, where: str, hint: str = "") -> Finding:
    return Finding(severity="warning", code=code, message=message, where=where, hint=hint)


def _info(code: str, message: str, where: str = "", hint: str = "") -> Finding:
    return Finding(severity="info", code=code, message=message, where=where, hint=hint)
