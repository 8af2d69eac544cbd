"""How a release comes into an environment: recreate, blue-green, canary or rolling, all by leading the forwarder's legs.

    recreate    stop ▸ start ▸ verify ▸ switch ▸ smoke ▸ watch
    blue-green  start ▸ verify ▸ switch ▸ smoke ▸ watch ▸ retire
    canary      start ▸ verify ▸ smoke ▸ (shift ▸ analyse) for each step ▸ switch ▸ watch ▸ retire
    rolling     (start ▸ verify ▸ shift ▸ thin) for each batch ▸ switch ▸ smoke ▸ watch ▸ retire

Migrations come before all of that. What goes wrong before the candidate has any traffic discards it; what goes wrong afterwards
takes the way back.
"""

from collections.abc import Sequence

from interlock.delivery.model import Instance
from interlock.plans.blueprints import steps
from interlock.plans.blueprints.blueprint import Blueprint, has_port
from interlock.plans.blueprints.migrations import migrate
from interlock.plans.blueprints.wayback import Taken, rollback_branch
from interlock.plans.facts import EnvironmentFacts
from interlock.sources.model import CanaryStep

TO_CANDIDATE = "lead the traffic to the candidate"


class RollOut:
    """The tasks of one environment while they are laid out. Its migrations are accepted once ``settled_by`` has completed: by
    default its own watch."""

    def __init__(self, plan: Blueprint, environment: EnvironmentFacts, settled_by: str = "") -> None:
        self._plan = plan
        self._environment = environment
        self._name = environment.name
        self._settled_by = settled_by or f"watch-{environment.name}"
        self._count = plan.recipe.replicas if plan.recipe.takes_port else 1
        self._source = f"start-{environment.name}"
        self._guards: list[str] = []
        """What takes the way back when it fails."""
        self._stopped: list[str] = []
        self._moved: list[str] = []
        self._began: list[str] = []
        self._straight: tuple[str, ...] = ()
        self._ends: list[str] = []
        """The last task of each clean-up."""

    def lay_out(self, after: str | None) -> str:
        """Add all tasks, behind ``after``; the last one on the straight way."""
        last = self.forward(after)
        self.way_back()
        return self.retire(last)

    def forward(self, after: str | None) -> str:
        """Add what brings the release in and watches it, behind ``after``; the last task."""
        place = len(self._plan.tasks)
        after = migrate(self._plan, self._environment, after, self._settled_by)
        last = self._bring_in(after)
        added = self._plan.tasks[place:]
        self._straight = tuple(task.id for task in added if task.when == "succeeded" and not task.undoes)
        return last

    def way_back(self, later: Sequence["RollOut"] = ()) -> None:
        """Add the branch that brings back what serves now. It is also taken when something of ``later`` fails, after what was
        begun there has been brought back or given up."""
        if self._retires:
            self._stopped.append(f"retire-{self._name}")
        taken = Taken(stopped=tuple(self._stopped), moved=tuple(self._moved), began=tuple(self._began))
        further = [task for other in later for task in (*other._straight, *other._ends)]
        guards = (*self._guards, *further)
        self._ends.append(rollback_branch(self._plan, self._environment, self._source, guards, taken))

    def retire(self, after: str) -> str:
        """Stop what served before, behind ``after``; the last task."""
        if not self._retires:
            return after
        return steps.retire(self._plan, self._environment, after, f"{self._plan.facts.version} took over")

    @property
    def _retires(self) -> bool:
        return self._environment.serving is not None and self._plan.facts.action != "rollback"

    def _bring_in(self, after: str | None) -> str:
        match self._strategy():
            case "recreate":
                return self._recreate(after)
            case "canary":
                return self._canary(after)
            case "rolling":
                return self._rolling(after)
            case _:
                return self._blue_green(after)

    def _strategy(self) -> str:
        """Where nothing serves that takes a port there is nothing to compare with or to share traffic with."""
        strategy = self._plan.facts.strategy
        needs_other = strategy in {"canary", "rolling"}
        return "blue-green" if needs_other and not has_port(self._environment.serving) else strategy

    # --- the four ways ---

    def _recreate(self, after: str | None) -> str:
        if self._environment.serving is not None:
            after = steps.stop_old(self._plan, self._environment, after)
            self._guards.append(after)
            self._stopped.append(after)
        last = self._begin(after, self._count)
        self._guards += [self._source, last]
        return self._finish(last, (self._source,))

    def _blue_green(self, after: str | None) -> str:
        last = self._begin(after, self._count)
        self._discard(last)
        return self._finish(last, (self._source,))

    def _canary(self, after: str | None) -> str:
        last = verified = self._begin(after, self._count)
        if self._wants_smoke:
            # Asked on the candidate leg, while nobody is served by it yet.
            last = steps.smoke(self._plan, self._environment, self._source, last, kind="candidate")
            self._began.append(last)
        self._discard(verified, *([last] if last != verified else []))
        for step in self._plan.recipe.steps:
            last = self._canary_step(step, last)
        return self._finish(last, (self._source,), is_tested=True)

    def _canary_step(self, step: CanaryStep, after: str) -> str:
        percent, name = step.percent, self._name
        serving = self._environment.serving
        title = f"lead {percent} % of the traffic to the candidate"
        remaining = serving.instances if serving else ()
        shift = steps.shift(
            self._plan, self._environment, f"shift-{name}-{percent}", title, after=after, remaining=remaining, percent=percent
        )
        task_id = f"analyse-{name}-{percent}"
        last = steps.analyse(self._plan, self._environment, task_id, step, self._source, shift)
        self._guards += [shift, last]
        self._moved.append(shift)
        return last

    def _rolling(self, after: str | None) -> str:
        serving = self._environment.serving
        old = list(serving.instances) if serving else []
        sizes = _batches(self._count)
        sources = [self._source, *[f"{self._source}-{number}" for number in range(2, len(sizes) + 1)]]
        last, started = after, 0
        for number, size in enumerate(sizes, 1):
            last = self._begin(last, size, number)
            if number == 1:
                self._discard(last)
            else:
                self._guards += [sources[number - 1], last]
            if number == len(sizes):
                break
            started += size
            # As many old ones go on as there are new ones missing.
            keep = min(len(old), self._count - started)
            last = self._swap(number, sources[:number], old[len(old) - keep :], old[: len(old) - keep], last)
            old = old[len(old) - keep :]
        return self._finish(str(last), tuple(sources))

    def _swap(self, number: int, sources: list[str], keep: list[Instance], go: list[Instance], after: str) -> str:
        plan, environment, name = self._plan, self._environment, self._name
        title = f"share the traffic between the new instances and {len(keep)} old ones"
        shift = steps.shift(plan, environment, f"shift-{name}-{number}", title, after=after, remaining=keep, sources=sources)
        self._guards.append(shift)
        self._moved.append(shift)
        if not go:
            return shift
        last = steps.thin(plan, environment, f"thin-{name}-{number}", go, len(keep), shift)
        self._guards.append(last)
        self._stopped.append(last)
        return last

    # --- what they share ---

    def _begin(self, after: str | None, count: int, number: int = 1) -> str:
        """Start a batch of instances and verify them."""
        plan, environment = self._plan, self._environment
        suffix = "" if number == 1 else f"-{number}"
        source = self._source + suffix
        joins = "" if number == 1 else self._source
        start = steps.start(plan, environment, source, after, count, joins=joins)
        verify = f"verify-{self._name}{suffix}"
        self._began += [start, verify]
        return steps.verify(plan, environment, verify, plan.recipe, source, after=start, count=count)

    def _discard(self, *checks: str) -> None:
        self._ends.append(steps.discard(self._plan, self._environment, self._source, (self._source, *checks)))

    def _finish(self, after: str, sources: tuple[str, ...], *, is_tested: bool = False) -> str:
        """All traffic to the candidate, and the proof that it bears it."""
        plan, environment = self._plan, self._environment
        last = steps.switch(plan, environment, f"switch-{self._name}", TO_CANDIDATE, after=after, sources=sources)
        self._guards.append(last)
        self._moved.append(last)
        if self._wants_smoke and not is_tested:
            last = steps.smoke(plan, environment, self._source, last)
            self._guards.append(last)
            self._began.append(last)
        last = steps.watch(plan, environment, self._source, last)
        self._guards.append(last)
        return last

    @property
    def _wants_smoke(self) -> bool:
        return self._plan.facts.wants_smoke and bool(self._plan.recipe.smoke)


def _batches(count: int) -> list[int]:
    """How many instances a rolling update replaces at a time: one, or a quarter of them where they are many."""
    size = max(1, count // 4)
    return [min(size, count - begun) for begun in range(0, count, size)]
