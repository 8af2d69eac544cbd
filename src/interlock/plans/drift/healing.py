"""Heal drift with a branch of the approved plan, or ask a person; never both, and at most three attempts.

What a plan changes is left alone until it has ended, and so is what the watch or a run has found something wrong with. One
place is healed after the other.
"""

import asyncio

import msgspec
import structlog

from interlock.core.clock import Clock
from interlock.core.errors import Unavailable
from interlock.core.scope import Scope
from interlock.delivery.drift.comparison import MAX_ATTEMPTS, PlaceDrift, Step, answers_to, in_words, next_step
from interlock.delivery.drift.observer import DriftObserver
from interlock.delivery.drift.record import SUBJECT, DriftRecord
from interlock.delivery.environments import Environments
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.model import Deployment, Incident
from interlock.delivery.rules import Drift as Rule
from interlock.delivery.service import Delivery
from interlock.events.model import Envelope
from interlock.plans.drift.questions import DriftQuestions, left, question_about, told_to_heal
from interlock.plans.drift.runs import HealingRuns
from interlock.plans.launching import HEAL

log = structlog.get_logger(__name__)

GONE = "nothing differs any more"


class Healing:
    """A loop beside the control plane's others, and reactions to what people answer and to the ends of runs."""

    def __init__(
        self,
        delivery: Delivery,
        environments: Environments,
        incidents: Incidents,
        observer: DriftObserver,
        record: DriftRecord,
        runs: HealingRuns,
        questions: DriftQuestions,
        clock: Clock,
    ) -> None:
        self._delivery = delivery
        self._environments = environments
        self._incidents = incidents
        self._observer = observer
        self._record = record
        self._runs = runs
        self._questions = questions
        self._clock = clock

    # --- the loop ---

    async def run(self, scope: Scope, interval_s: float) -> None:
        """Look and act until cancelled."""
        while True:
            try:
                await self._runs.settle(scope)
                for place in await self._observer.look(scope):
                    await self._try(scope, place)
            except Exception:
                # What is out of order must be found as long as the control plane runs.
                log.exception("drift.failed")
            await asyncio.sleep(interval_s)

    async def _try(self, scope: Scope, place: PlaceDrift) -> None:
        """What goes wrong with one place keeps nobody from the next one."""
        try:
            await self._act(scope, place)
        except Unavailable as error:
            log.info("drift.unavailable", place=place.name, error=str(error))
        except Exception:
            log.exception("drift.failed", place=place.name)

    async def _act(self, scope: Scope, place: PlaceDrift) -> None:
        serving = await self._serving(scope, place)
        approved = await self._runs.plan_for(scope, serving) if serving else None
        incident = await self._incidents.open_for(scope, serving.deployment_id) if serving else None
        is_judged = incident is not None and incident.found_by != "host"
        rule, can_heal = await self._rule(scope, place.environment), approved is not None
        step = next_step(place, rule, self._clock.now(), can_heal=can_heal, is_judged=is_judged)
        if step in {"ask", "give_up"} and await self._record.get(scope, place.service, place.environment) != place:
            # Somebody has just answered: what that means is seen in the next round.
            return
        if step == "ask":
            options = answers_to(place, can_heal=can_heal)
            await self._questions.ask(scope, place, "proposal", question_about(place), options)
        elif step == "give_up" and serving is not None:
            await self._give_up(scope, place, serving)
        elif not (place.has_given_up and place.drifts):
            await self._questions.withdraw(scope, place, _why_not(step, place, is_judged=is_judged))
        if step == "heal" and serving is not None and approved is not None:
            await self._runs.begin(scope, place, serving, approved)

    async def _serving(self, scope: Scope, place: PlaceDrift) -> Deployment | None:
        routes, serving = await self._delivery.standing(scope)
        of_place = (route for route in routes if (route.service, route.environment) == (place.service, place.environment))
        return next((serving.get(route.deployment_id) for route in of_place), None)

    async def _rule(self, scope: Scope, environment: str) -> Rule:
        known = environment in self._environments.names
        return (await self._environments.get(scope, environment)).drift if known else "ask"

    async def _give_up(self, scope: Scope, place: PlaceDrift, serving: Deployment) -> None:
        where = f"{place.service} in {place.environment}"
        title = f"{where} was changed from outside, and {MAX_ATTEMPTS} attempts to heal it did not help"
        evidence = {"drift": [drift.detail for drift in place.drifts]}
        await self._incidents.open(scope, serving, title, evidence, severity="critical", found_by="host")
        await self._questions.ask(scope, place, "alarm", f"{title}: {in_words(place.drifts)}", ("heal", "leave"))
        await self._record.change(scope, place, lambda known: msgspec.structs.replace(known, has_given_up=True))

    # --- reactions ---

    async def run_finished(self, scope: Scope, event: Envelope) -> None:
        """``run.finished`` of a run that heals: the plan is again what it was. Who cancels it wants it left as it is."""
        if event.data["role"].startswith(HEAL):
            place = await self._runs.ended(scope, event.data["plan_id"], event.data["role"])
            if event.data["status"] == "cancelled":
                await self._record.change(scope, place, left)

    async def drift_gone(self, scope: Scope, event: Envelope) -> None:
        """``drift.gone``: nothing has to be asked any more."""
        place = PlaceDrift(service=event.data["service"], environment=event.data["environment"])
        self._questions.forget(place)
        await self._questions.withdraw(scope, place, GONE)
        serving = await self._serving(scope, place)
        incident = await self._incidents.open_for(scope, serving.deployment_id) if serving else None
        if incident is not None and _is_about_drift(incident):
            await self._incidents.resolve(scope, incident.incident_id, GONE)

    async def item_answered(self, scope: Scope, event: Envelope) -> None:
        """``inbox.answered``: a person decided about the drift of a place."""
        if not event.subject.startswith(SUBJECT):
            return
        service, _, environment = event.subject.removeprefix(SUBJECT).rpartition(".")
        place = PlaceDrift(service=service, environment=environment)
        match event.data["answer"]:
            case "heal":
                await self._record.change(scope, place, told_to_heal)
            case "accept":
                await self._record.accept(scope.acting_as(event.originating_agent), service, environment)
            case _:
                await self._record.change(scope, place, left)
        # Not before: until then it counts as asked, or a round in between would ask once more.
        self._questions.forget(place)


def _why_not(step: Step, place: PlaceDrift, *, is_judged: bool) -> str:
    """Why nobody is asked about the drift of a place any more."""
    if step in {"heal", "wait"} or place.run_id:
        return "it is being healed"
    return "an incident is open about it" if is_judged else GONE


def _is_about_drift(incident: Incident) -> bool:
    return incident.found_by == "host" and "drift" in incident.evidence
