"""Who may answer what: an answer that goes forward needs somebody whose approval counts there, one that goes back anybody."""

from dataclasses import replace

from interlock.core.clock import Clock
from interlock.core.errors import Forbidden
from interlock.core.scope import Scope
from interlock.delivery.drift.record import SUBJECT as DRIFT
from interlock.delivery.environments import Environments
from interlock.delivery.steps.analysing import ABORT, LOOK_AGAIN
from interlock.inbox.model import Item
from interlock.inbox.service import Inbox
from interlock.plans.deciding.approval import ApprovalRules
from interlock.plans.deciding.demands import Demands
from interlock.plans.launching import MAIN
from interlock.plans.service import Plans
from interlock.plans.shelf import Shelf
from interlock.plans.wayback import LEAVE, ROLL_BACK, TAKE_OUT
from interlock.runs.ledger import GIVE_UP
from interlock.runs.service import Runs
from interlock.tenancy.service import Tenancy

RUN = "run:"
OPEN_TO_ALL = frozenset({ABORT, "stop", GIVE_UP, LOOK_AGAIN, ROLL_BACK, TAKE_OUT, LEAVE, "leave", "heal", "seen"})
"""Answers that go back, look again, leave things as they are or bring what was approved. Every other one goes forward."""


class Answering:
    """Answers to the inbox, where the rules of the environment that a question is about hold as they do for approvals."""

    def __init__(
        self,
        inbox: Inbox,
        plans: Plans,
        shelf: Shelf,
        runs: Runs,
        rules: ApprovalRules,
        environments: Environments,
        tenancy: Tenancy,
        clock: Clock,
    ) -> None:
        self._inbox = inbox
        self._plans = plans
        self._shelf = shelf
        self._runs = runs
        self._rules = rules
        self._environments = environments
        self._tenancy = tenancy
        self._clock = clock

    async def answer(self, scope: Scope, item_id: str, answer: str) -> Item:
        """Answer an open item. Raises what `Inbox.answer` raises, and for an answer that goes forward Forbidden
        ``not_an_approver`` or ``requester``, which is on the record."""
        item = await self._inbox.get(scope, item_id)
        if item.state == "open" and answer in item.options and answer not in OPEN_TO_ALL:
            demands = await self._demands(scope, item)
            try:
                if demands is not None:
                    demands.check_may_answer(scope.principal, answer, [each for each in item.options if each in OPEN_TO_ALL])
            except Forbidden as error:
                await self._shelf.record_refusal(scope, f"answer {item_id}: {answer}", error)
                raise
        return await self._inbox.answer(scope, item_id, answer)

    async def _demands(self, scope: Scope, item: Item) -> Demands | None:
        """What the environments that the item is about ask; None where nothing goes forward there."""
        if item.subject.startswith(RUN):
            run_id, _, task = item.subject.removeprefix(RUN).partition("/")
            return await self._of_task(scope, run_id, task)
        if item.subject.startswith(DRIFT):
            return await self._of_place(scope, item.subject.rpartition(".")[2])
        return None

    async def _of_task(self, scope: Scope, run_id: str, task: str) -> Demands | None:
        run = (await self._runs.get(scope, run_id)).run
        spec = run.graph.specs.get(run.graph.base(task))
        if run.role != MAIN or spec is None or spec.id in run.graph.cleanup:
            # It brings something back: whoever is there may help it on.
            return None
        plan, _ = await self._plans.get(scope, run.plan_id)
        demands = await self._rules.demands(scope, plan)
        environment = spec.inputs.get("place", {}).get("environment")
        own = [rules for rules in demands.rules if rules.environment == environment]
        return replace(demands, rules=own or demands.rules)

    async def _of_place(self, scope: Scope, environment: str) -> Demands | None:
        if environment not in self._environments.names:
            return None
        joined = {user.name: user.created_at for user in await self._tenancy.users(scope)}
        rules = await self._environments.rules(scope, (environment,))
        # Nobody asked for drift.
        return Demands(rules=rules, joined=joined, requester="", action="restart", now=self._clock.now())
