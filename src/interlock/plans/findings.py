"""Findings: what a person should know before approving, and the summary of what changes."""

from collections.abc import Iterable

from interlock.plans.facts import EnvironmentFacts, Facts
from interlock.plans.model import Change
from interlock.sources.model import Finding
from interlock.tools.model import Effect


def findings_of(facts: Facts) -> tuple[Finding, ...]:
    """Everything worth a warning, worst first."""
    found = [*facts.analysis.findings, *_repository(facts)]
    if facts.action in {"deploy", "restart", "rollback"}:
        found += [*_service(facts), *(item for environment in facts.environments for item in _environment(facts, environment))]
    if facts.action == "stop":
        found.append(_warning("service_down", f"{facts.service} will not be reachable", "environments"))
    order = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.severity]))


def _repository(facts: Facts) -> Iterable[Finding]:
    if facts.ref.kind == "branch":
        hint = "a tag says more about what was approved"
        message = f"the branch {facts.ref.name} is pinned at {facts.ref.commit[:12]}; later commits are not deployed"
        yield _warning("branch_pinned", message, facts.ref.name, hint)
    if facts.analysis.tier == 2:
        hint = "`interlock module init` writes an ai-module.yaml to keep"
        yield _info("tier_2", "there is no ai-module.yaml: the commands were derived from the files", facts.repository, hint)
    if facts.release is not None and facts.action == "deploy":
        yield _info("reused", f"this content was built before: release {facts.release.release_id} is used as it is", "release")


def _service(facts: Facts) -> Iterable[Finding]:
    recipe = facts.analysis.recipe
    if not recipe.takes_port:
        message = "it takes no port: no candidate check, and a short downtime while it is replaced"
        yield _warning("no_port", message, "start", "write {port} into the start command")
    elif recipe.health is None:
        message = "it has no health check: any answer to GET / counts as healthy"
        yield _warning("no_health_check", message, "health", "add `health:` to ai-module.yaml")
    if facts.strategy == "recreate" and recipe.takes_port:
        yield _warning("downtime", "recreate stops the old one before the new one serves: a short downtime", "strategy")
    if not recipe.smoke:
        yield _info("no_smoke_tests", "it has no smoke tests", "smoke_tests", "add `smoke_tests:` to ai-module.yaml")
    if recipe.replicas > 1:
        yield _warning("one_replica", f"{recipe.replicas} replicas are asked for; one process is run on this host", "replicas")
    if recipe.dependencies:
        names = ", ".join(recipe.dependencies)
        yield _warning("dependencies", f"it needs {names}; whether they run is not checked", "dependencies")


def _environment(facts: Facts, environment: EnvironmentFacts) -> Iterable[Finding]:
    if environment.serving is not None and environment.fallback is None:
        message = f"the files of {environment.serving.version} are damaged: it cannot be brought back"
        yield _warning("no_way_back", message, environment.name, "if this fails, the service is taken out of traffic")
    if environment.serving is None:
        message = f"the first deployment to {environment.name}: there is nothing to roll back to"
        yield _warning("first_deployment", message, environment.name, "if it turns bad, it is taken out of traffic")
    if facts.analysis.recipe.rollback == "propose":
        yield _info("rollback_proposed", "after the watch, a rollback is proposed in the inbox, not made", environment.name)


def changes_of(facts: Facts, commits: dict[str, tuple[str, ...]]) -> tuple[Change, ...]:
    """What becomes different, environment by environment."""
    then = {"stop": "nothing"}.get(facts.action, facts.version)
    return tuple(
        Change(
            environment=environment.name,
            now=environment.serving.version if environment.serving else "nothing",
            then=then,
            url=environment.place.url("stable", "/"),
            commits=commits.get(environment.name, ()),
            rollback=_way_back(environment),
        )
        for environment in facts.environments
    )


def _way_back(environment: EnvironmentFacts) -> str:
    if environment.fallback is None:
        return "there is nothing to go back to: it is taken out of traffic"
    fallback = environment.fallback
    return f"{fallback.version} (release {fallback.release_id}, checked, pinned until superseded)"


def needs_approval(effects: Iterable[Effect]) -> bool:
    """Everything above ``read`` does."""
    return any(effect is not Effect.READ for effect in effects)


def _warning(code: str, message: str, where: str, hint: str = "") -> Finding:
    return Finding(severity="warning", code=code, message=message, where=where, hint=hint)


def _info(code: str, message: str, where: str, hint: str = "") -> Finding:
    return Finding(severity="info", code=code, message=message, where=where, hint=hint)
