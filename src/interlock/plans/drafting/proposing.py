"""From a sentence to a plan, or to the question that has to be answered first."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, Internal, Invalid, NotFound, Unavailable
from interlock.core.ids import new_id
from interlock.core.scope import Scope
from interlock.delivery.service import Delivery
from interlock.plans.blueprints.healing import lay_out_healing
from interlock.plans.blueprints.layout import lay_out
from interlock.plans.drafting.estimates import estimate_s, estimates
from interlock.plans.drafting.findings import changes_of, findings_of
from interlock.plans.drafting.gathering import Gathering
from interlock.plans.facts import Facts
from interlock.plans.model import Plan, PlanContent
from interlock.plans.words.model import Question, ServiceWords, Understood, Vocabulary
from interlock.sources.service import Sources

ALIASES = {
    "prod": "production",
    "live": "production",
    "stage": "staging",
    "development": "dev",
}
LOG_LINES = 20
FROM_RELEASES = frozenset({"promote", "rollback", "drill", "restart", "stop", "status"})
"""Actions that need no repository, and so work while it cannot be reached."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that is not stored yet, beside its content."""

    plan: Plan
    content: PlanContent


class Proposing:
    """Understands requests and drafts their plans. Writes nothing."""

    def __init__(
        self, sources: Sources, delivery: Delivery, gathering: Gathering, clock: Clock, plan_lifetime: timedelta
    ) -> None:
        self._sources = sources
        self._delivery = delivery
        self._gathering = gathering
        self._clock = clock
        self._plan_lifetime = plan_lifetime
        self._versions: dict[str, ServiceWords] = {}

    async def understand(
        self,
        scope: Scope,
        text: str,
        *,
        environment: str | None = None,
        repository: str | None = None,
        fresh_within_s: float = 0.0,
    ) -> Understood | Question:
        """What ``text`` asks for. ``environment`` and ``repository`` narrow what it may be about; the repository is fetched
        unless that was done less than ``fresh_within_s`` ago.

        Versions are looked up for the service that was named, then the sentence is read again with them: a tag that was made
        a minute ago is known.
        """
        # Loaded at the first sentence: the templates' engine is a tenth of a server's start.
        from interlock.plans.words.parser import parse  # noqa: PLC0415

        vocabulary = await self._vocabulary(scope, environment, repository)
        understood = parse(text, vocabulary)
        name = understood.service if isinstance(understood, Understood) else understood.understood.service
        if name is None or not any(item.name == name for item in vocabulary.services):
            return understood
        before = self._versions.get(name)
        unreachable = await self._refresh(scope, name, fresh_within_s)
        if self._versions.get(name) != before:
            understood = parse(text, await self._vocabulary(scope, environment, repository))
        if unreachable is not None and not (isinstance(understood, Understood) and understood.action in FROM_RELEASES):
            raise unreachable
        return understood

    async def _vocabulary(self, scope: Scope, environment: str | None, repository: str | None) -> Vocabulary:
        services = await self._delivery.services(scope)
        if repository is not None:
            services = [service for service in services if service.repository == repository]
            if not services:
                hint = "interlock service add NAME --repo " + repository
                raise NotFound("repository", f"no service is registered for {repository}", hint=hint)
        environments = self._delivery.environments
        if environment is not None:
            if environment not in environments:
                choices = ", ".join(environments)
                raise Invalid("environment", f"there is no environment {environment!r}", hint=f"environments: {choices}")
            environments = (environment,)
        aliases = {said: meant for said, meant in ALIASES.items() if meant in environments}
        words = tuple(self._versions.get(service.name, ServiceWords(name=service.name)) for service in services)
        return Vocabulary(services=words, environments=environments, aliases=aliases)

    async def _refresh(self, scope: Scope, name: str, fresh_within_s: float) -> Unavailable | None:
        """Learn the versions of a service anew. Where its repository cannot be reached, the error is returned, and what was
        known of it last still holds."""
        service = await self._delivery.service(scope, name)
        unreachable: Unavailable | None = None
        try:
            await self._sources.sync(scope, service.repository, fresh_within_s=fresh_within_s)
        except Unavailable as error:
            unreachable = error
        try:
            self._versions[name] = await self._words(scope, name, service.repository)
        except Unavailable as error:
            # It was never reached since this control plane was started.
            unreachable = error
        return unreachable

    async def _words(self, scope: Scope, name: str, repository: str) -> ServiceWords:
        tags = tuple(ref.name for ref in await self._sources.versions(scope, repository))
        branches = tuple(ref.name for ref in await self._sources.branches(scope, repository))
        return ServiceWords(name=name, tags=tags, branches=branches)

    async def draft(self, scope: Scope, text: str, wish: Understood, history: dict[str, float], reason: str) -> Draft:
        """The plan for what was understood. Raises whatever makes it impossible, with what to do about it."""
        plan_id = new_id("plan")
        facts = await self._gathering.facts(scope, plan_id, wish, reason)
        graph, grants = lay_out(facts)
        healing, more_grants = lay_out_healing(facts)
        if not graph.tasks:
            message = f"{facts.version} is built already: release {facts.release_id}"
            raise Conflict("nothing_to_do", message, hint="deploy it")
        content = PlanContent(
            plan_id=plan_id,
            action=wish.action,
            service=facts.service,
            repository=facts.repository,
            environments=wish.environments,
            ref_kind=facts.ref.kind,
            ref_name=facts.ref.name,
            commit=facts.ref.commit,
            tree=facts.ref.tree,
            tier=facts.analysis.tier,
            content=facts.content,
            release_id=facts.release_id,
            recipe=facts.analysis.recipe,
            watch=facts.watch,
            graph=graph,
            grants=(*grants, *more_grants),
            healing=healing,
            pins=tuple(environment.pin() for environment in facts.environments),
            source=facts.origin.pin if facts.origin else None,
        )
        plan = self._describe(scope, text, wish, facts, content, await self._commits(scope, facts))
        usual = estimates(graph, history, facts.watch.window_s or 0.0)
        return Draft(plan=msgspec.structs.replace(plan, estimate_s=estimate_s(graph, usual), estimates=usual), content=content)

    def _describe(
        self,
        scope: Scope,
        text: str,
        wish: Understood,
        facts: Facts,
        content: PlanContent,
        commits: dict[str, tuple[str, ...]],
    ) -> Plan:
        now = self._clock.now()
        return Plan(
            plan_id=facts.plan_id,
            content_hash=content.digest(),
            state="pending_approval",
            action=wish.action,
            service=facts.service,
            environments=wish.environments,
            version=facts.version,
            text=text,
            requested_by=scope.principal,
            created_at=to_text(now),
            expires_at=to_text(now + self._plan_lifetime),
            tier=facts.analysis.tier,
            evidence=facts.analysis.evidence,
            findings=findings_of(facts, content.graph),
            changes=changes_of(facts, commits),
            highlights=_builtins(wish.highlights),
            corrections=_builtins(wish.corrections),
            post_steps=wish.post_steps,
            constraints=msgspec.to_builtins(wish.constraints),
        )

    async def _commits(self, scope: Scope, facts: Facts) -> dict[str, tuple[str, ...]]:
        """For each environment, the log from what serves to what would. What comes from releases is not held up by a repository
        that cannot be reached: then it has none."""
        try:
            return await self._logs(scope, facts)
        except (Unavailable, Internal):
            if facts.action in FROM_RELEASES:
                return {}
            raise

    async def _logs(self, scope: Scope, facts: Facts) -> dict[str, tuple[str, ...]]:
        if not facts.mirror:
            return {}
        olds = {item.name: item.fallback.commit for item in facts.environments if item.fallback is not None}
        logs = await asyncio.gather(
            *[self._sources.log(scope, facts.repository, old, facts.ref.commit, LOG_LINES) for old in olds.values()]
        )
        return {name: tuple(lines) for name, lines in zip(olds, logs, strict=True)}


def _builtins(items: Sequence[msgspec.Struct]) -> tuple[dict[str, Any], ...]:
    return tuple(msgspec.to_builtins(item) for item in items)
