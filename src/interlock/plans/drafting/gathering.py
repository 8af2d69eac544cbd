"""Looking up the facts of a request: the repository at a commit, what was built, what serves."""

from pathlib import Path

import msgspec

from interlock.core.errors import Conflict, Invalid, NotFound
from interlock.core.scope import Scope
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.judging.watch import as_policy, merge
from interlock.delivery.model import Deployment, Release, Service, content_of
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import Place
from interlock.delivery.steps.promoting import Promoting
from interlock.plans.drafting.containing import Containing, contained
from interlock.plans.drafting.pinned import PinnedWayBack
from interlock.plans.drafting.promotion import check_is_meant, check_not_there, origin_of, source_of
from interlock.plans.drills import DrillRules
from interlock.plans.facts import EnvironmentFacts, Facts, choose_strategy
from interlock.plans.words.model import Understood, VersionWords
from interlock.sources.model import Analysis, WatchPolicy
from interlock.sources.ports import Ref
from interlock.sources.service import LATEST, Sources


class Gathering:
    """Reads everything that a plan depends on; writes nothing. ``bundles`` is the folder of all builds, ``watch`` holds the
    thresholds of this installation, which apply where neither the service nor its module says anything; ``command_timeout_s``
    is the limit of one install, build or test command."""

    def __init__(
        self,
        *,
        sources: Sources,
        delivery: Delivery,
        incidents: Incidents,
        containing: Containing,
        bundles: Path,
        watch: WatchPolicy,
        command_timeout_s: float,
        pinned: PinnedWayBack,
    ) -> None:
        self._sources = sources
        self._delivery = delivery
        self._incidents = incidents
        self._containing = containing
        self._bundles = bundles
        self._watch = watch
        self._command_timeout_s = command_timeout_s
        self._pinned = pinned
        self._promoting = Promoting(delivery, incidents)
        self._drills = DrillRules(delivery, incidents)

    async def facts(self, scope: Scope, plan_id: str, wish: Understood, reason: str) -> Facts:
        """Everything that the plan for ``wish`` rests on. Raises NotFound, Invalid or Conflict where no plan can be made."""
        service = await self._delivery.service(scope, wish.service or "")
        places = [await self._place(scope, service, name) for name in wish.environments]
        if wish.action in {"deploy", "build", "test"}:
            return await self._from_source(scope, plan_id, wish, service, places, reason)
        if wish.action == "promote":
            return await self._from_environment(scope, plan_id, wish, service, places, reason)
        return await self._from_release(scope, plan_id, wish, service, places, reason)

    async def _place(self, scope: Scope, service: Service, environment: str) -> Place:
        route = await self._delivery.route(scope, service.name, environment)
        ports = {"stable_port": route.stable_port, "candidate_port": route.candidate_port}
        return Place(service=service.name, environment=environment, **ports)

    # --- what is in the repository ---

    async def _from_source(
        self, scope: Scope, plan_id: str, wish: Understood, service: Service, places: list[Place], reason: str
    ) -> Facts:
        mirror = self._sources.mirror(scope, service.repository)
        ref = await self._resolve(scope, service, wish.version)
        analysis = await self._sources.analyse(scope, service.repository, ref)
        if wish.action == "deploy" and analysis.recipe.start is None and not analysis.recipe.dockerfile:
            raise Invalid("no_start", f"{service.name} has no start command", hint="add `start:` to its ai-module.yaml")
        self._check_wanted_tests(wish, service, analysis)
        content = content_of(ref.tree, analysis.recipe)
        if wish.action == "deploy":
            await self._incidents.check_not_quarantined(scope, service.name, content)
        release = await self._delivery.built(scope, service.name, content)
        image = await self._containing.plan(scope, service.name, service.repository, ref, analysis)
        analysis = contained(analysis)
        return Facts(
            container_host=self._containing.host,
            plan_id=plan_id,
            action=wish.action,
            service=service.name,
            repository=service.repository,
            mirror=mirror,
            ref=ref,
            analysis=analysis,
            content=content,
            release=release if wish.action != "test" else None,
            release_id=release.release_id if release else plan_id.replace("plan_", "rel_"),
            version=ref.name if ref.kind != "commit" else ref.commit[:12],
            folder=release.folder if release and wish.action != "test" else str(self._bundles / service.name / plan_id),
            environments=tuple([await self._environment(scope, service, place) for place in places]),
            watch=self._thresholds(wish, service, analysis),
            strategy=choose_strategy(wish.constraints.strategy, analysis) if wish.action == "deploy" else "recreate",
            wants_smoke=wish.action == "deploy",
            command_timeout_s=self._command_timeout_s,
            reason=reason,
            image=image,
        )

    async def _resolve(self, scope: Scope, service: Service, version: VersionWords | None) -> Ref:
        if version is None:
            raise Invalid(
                "version_missing", f"which version of {service.name}?", hint="say a tag, a branch, a commit or latest"
            )
        if version.kind == "latest":
            return await self._sources.resolve(scope, service.repository, LATEST)
        ref = await self._sources.resolve(scope, service.repository, version.name)
        if version.kind in {"tag", "branch", "commit"} and ref.kind != version.kind:
            raise NotFound("unknown_version", f"{version.name} is a {ref.kind} of {service.name}, not a {version.kind}")
        return ref

    def _check_wanted_tests(self, wish: Understood, service: Service, analysis: Analysis) -> None:
        """A step that somebody asked for and that does not exist is refused, never dropped."""
        if ("tests" in wish.post_steps or wish.action == "test") and not analysis.recipe.test:
            raise Invalid("no_tests", f"{service.name} has no test command", hint="add `test:` to its ai-module.yaml")
        if "smoke_tests" in wish.post_steps and not analysis.recipe.smoke:
            raise Invalid(
                "no_smoke_tests", f"{service.name} has no smoke tests", hint="add `smoke_tests:` to its ai-module.yaml"
            )

    def _thresholds(self, wish: Understood, service: Service, analysis: Analysis) -> WatchPolicy:
        said = WatchPolicy(window_s=wish.constraints.watch_s)
        return as_policy(merge(said, service.watch, analysis.recipe.watch, self._watch))

    # --- what was built before ---

    async def _from_release(
        self, scope: Scope, plan_id: str, wish: Understood, service: Service, places: list[Place], reason: str
    ) -> Facts:
        # What is to go need not be in order: a damaged release can be left behind.
        leaves = wish.action in {"rollback", "drill", "stop"}
        environments = tuple([await self._environment(scope, service, place, leaves=leaves) for place in places])
        chosen = await self._chosen(scope, wish, service, environments)
        release = await self._delivery.release(scope, chosen.release_id)
        if wish.action == "drill":
            await self._check_drill(scope, environments[0], release)
        elif wish.action != "stop":
            await self._delivery.check_intact(release)
        if wish.action == "rollback":
            await self._incidents.check_not_quarantined(scope, service.name, release.content)
        facts = self._of_release(plan_id, wish, service, release, environments, reason)
        if wish.action in {"rollback", "restart"}:
            facts = msgspec.structs.replace(facts, stands_for=chosen.came_as)
        serving = environments[0].serving
        if wish.action == "drill" and serving is not None:
            return msgspec.structs.replace(facts, pinned=await self._pinned.of(scope, serving))
        return facts

    async def _check_drill(self, scope: Scope, environment: EnvironmentFacts, release: Release) -> None:
        if not release.recipe.takes_port:
            message = f"{release.version} of {release.service} takes no port: it cannot run beside what serves"
            hint = "write {port} into the start command, or takes_port: true where it reads the variable PORT"
            raise Invalid("drill_needs_port", message, where=environment.name, hint=hint)
        behind = environment.serving.version if environment.serving else ""
        await self._drills.check(scope, release, environment.name, behind)

    async def _from_environment(
        self, scope: Scope, plan_id: str, wish: Understood, service: Service, places: list[Place], reason: str
    ) -> Facts:
        """A promotion: nothing is looked up in the repository but the commits in between."""
        source = source_of(wish, self._delivery.environments)
        serving = await self._promoting.proven(scope, service.name, source)
        release = await self._delivery.release(scope, serving.release_id)
        check_is_meant(wish, serving, release)
        await self._delivery.check_intact(release)
        environments = tuple([await self._environment(scope, service, place) for place in places])
        check_not_there(release, environments)
        facts = self._of_release(plan_id, wish, service, release, environments, reason)
        origin = origin_of(serving, release, wish.environments, self._delivery.environments)
        return msgspec.structs.replace(facts, mirror=self._sources.mirror(scope, service.repository), origin=origin)

    def _of_release(
        self,
        plan_id: str,
        wish: Understood,
        service: Service,
        release: Release,
        environments: tuple[EnvironmentFacts, ...],
        reason: str,
    ) -> Facts:
        analysis = contained(Analysis(tier=1, commit=release.commit, tree="", recipe=release.recipe))
        return Facts(
            container_host=self._containing.host,
            plan_id=plan_id,
            action=wish.action,
            service=service.name,
            repository=service.repository,
            mirror="",
            ref=Ref(kind="commit", name=release.version, commit=release.commit, tree=""),
            analysis=analysis,
            content=release.content,
            release=release,
            release_id=release.release_id,
            version=release.version,
            folder=release.folder,
            environments=environments,
            watch=self._thresholds(wish, service, analysis),
            strategy=choose_strategy(wish.constraints.strategy, analysis) if wish.action != "stop" else "recreate",
            wants_smoke=wish.action != "stop",
            command_timeout_s=self._command_timeout_s,
            reason=reason,
        )

    async def _chosen(
        self, scope: Scope, wish: Understood, service: Service, environments: tuple[EnvironmentFacts, ...]
    ) -> Deployment:
        """The deployment that a rollback goes to, or that a restart or stop is about. One environment at a time."""
        if len(environments) != 1:
            raise Invalid("one_environment", f"{wish.action} takes one environment at a time")
        environment = environments[0]
        if environment.serving is None:
            message = f"nothing of {service.name} serves in {environment.name}"
            hint = f'deploy it first: interlock plan "deploy latest of {service.name} to {environment.name}"'
            raise Conflict("nothing_serves", message, where=environment.name, hint=hint)
        if wish.action not in {"rollback", "drill"}:
            return environment.serving
        return await self._rollback_target(scope, wish, service, environment.serving)

    async def _rollback_target(self, scope: Scope, wish: Understood, service: Service, serving: Deployment) -> Deployment:
        """What was good before what serves came. Raises Conflict ``rollback_target_missing``, ``nothing_to_do`` and, for what
        came later, ``rollback_forward``."""
        place, before = (service.name, serving.environment), serving.deployment_id
        if wish.version is None or wish.version.kind == "previous":
            target = await self._delivery.last_good(scope, *place, before=before)
            if target is None:
                raise _nothing_to_go_back_to(wish, *place)
            return target
        names = {wish.version.name, f"v{wish.version.name}"}

        def is_meant(item: Deployment) -> bool:
            return item.version in names and item.release_id != serving.release_id

        if target := await self._delivery.newest_good(scope, *place, is_meant, before=before):
            return target
        if serving.version in names:
            message = f"{serving.version} serves in {serving.environment} already"
            hint = f"to start it anew: restart {service.name} in {serving.environment}"
            raise Conflict("nothing_to_do", message, hint=hint)
        if later := await self._delivery.newest_good(scope, *place, is_meant):
            message = (
                f"{later.version} came to {serving.environment} after {serving.version}, which serves: that is no way back"
            )
            hint = f'go forward to it: interlock plan "deploy {later.version} of {service.name} to {serving.environment}"'
            raise Conflict("rollback_forward", message, where=serving.environment, hint=hint)
        raise _nothing_to_go_back_to(wish, *place)

    # --- what serves ---

    async def _environment(self, scope: Scope, service: Service, place: Place, *, leaves: bool = False) -> EnvironmentFacts:
        serving = await self._delivery.serving(scope, service.name, place.environment)
        fallback = await self._fallback(scope, service, place, serving, leaves=leaves) if serving else None
        return EnvironmentFacts(place=place, serving=serving, fallback=fallback)

    async def _fallback(
        self, scope: Scope, service: Service, place: Place, serving: Deployment, *, leaves: bool
    ) -> Release | None:
        fallback = await self._delivery.release(scope, serving.release_id)
        try:
            await self._delivery.check_intact(fallback)
        except Conflict as error:
            if leaves:
                return None
            raise Conflict(
                "rollback_target_missing",
                f"{service.name} {fallback.version} in {place.environment} could not be brought back: {error.message}",
                where=fallback.folder,
                hint=f"restore the folder from a backup, or stop the service first: stop {service.name} in {place.environment}",
            ) from error
        return fallback


def _nothing_to_go_back_to(wish: Understood, service: str, environment: str) -> Conflict:
    message = f"{service} has nothing to go back to in {environment}: nothing older of it was ever good there"
    if wish.version is not None and wish.version.name:
        message = f"{service} {wish.version.name} was never good in {environment}"
    forward, out = f"deploy VERSION of {service} to {environment}", f"stop {service} in {environment}"
    hint = f'go forward to a version that works: interlock plan "{forward}"; or take it out of traffic: interlock plan "{out}"'
    return Conflict("rollback_target_missing", message, where=environment, hint=hint)
