"""A world in memory in which the real executors carry out a plan: a host, a forwarder, and the records of delivery.

Every call of a tool is checked against the grants of the plan, and every change of a deployment against its state machine.
"""

from types import SimpleNamespace
from typing import Any, cast

import msgspec

from harness.engine import run_of
from interlock.bootstrap.executors import executors
from interlock.core.errors import Conflict
from interlock.core.scope import system_scope
from interlock.delivery.judging.signals import SignalSources
from interlock.delivery.judging.watch import NO_TRAFFIC, Sample
from interlock.delivery.model import Deployment, Instance, Release, may_become
from interlock.delivery.ports import LegCounters
from interlock.delivery.targets import Targets
from interlock.delivery.tools import PointForwarder
from interlock.plans.blueprints.layout import lay_out
from interlock.plans.facts import Facts
from interlock.runs import model as m
from interlock.runs.decide import Scheduler, decide
from interlock.runs.evolve import fold
from interlock.runs.graph import TaskGraph, TaskSpec
from interlock.runs.references import resolve
from interlock.testing.clocks import ManualClock
from interlock.testing.forwarders import FakeForwarder
from interlock.tools.checkout import Checkout, RemoveCheckout
from interlock.tools.grants import Grant, check_call
from interlock.tools.http import HttpCheck
from interlock.tools.process import RunCommand, StartProcess, StopProcess
from interlock.tools.service import defaults
from unit.plan_facts import AT, deployment, release

TOOLS: dict[str, Any] = {
    tool.name: tool for tool in (Checkout, RemoveCheckout, RunCommand, StartProcess, StopProcess, HttpCheck, PointForwarder)
}


class World:
    """What there is while a plan is carried out. `walk` carries it out; the rest is looked at afterwards."""

    def __init__(self, facts: Facts, monkeypatch: Any, *, old_has_ended: bool = False) -> None:
        self.facts = facts
        graph, grants = lay_out(facts)
        # As a run has it: what was stored and read again.
        self.graph: TaskGraph = msgspec.json.decode(msgspec.json.encode(graph), type=TaskGraph)
        self.grants: list[Grant] = msgspec.json.decode(msgspec.json.encode(grants), type=list[Grant])
        self.clock = ManualClock()
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.ended: dict[str, str] = {}
        self.order: list[str] = []
        """The tasks that began, in their order."""
        self.database: list[str] = []
        """The migrations that are in force, as environment and number."""
        self.legs: dict[tuple[str, str], set[int]] = {}
        self.running: set[str] = set()
        self.routes: dict[str, str] = {}
        self.known: dict[str, Deployment] = {}
        self.releases: dict[str, Release] = {}
        self.incidents: dict[str, str] = {}
        self.quarantined: list[str] = []
        self._settle_in(old_has_ended=old_has_ended)
        monkeypatch.setattr("interlock.delivery.steps.traffic.asyncio.sleep", self._sleep)
        ports = iter(range(30001, 31000))
        monkeypatch.setattr("interlock.delivery.steps.starting.any_free_port", lambda: next(ports))
        self.bodies = self._join()

    def _settle_in(self, *, old_has_ended: bool) -> None:
        facts = self.facts
        candidate = facts.release or release(facts.version, recipe=facts.analysis.recipe, content=facts.content)
        self.releases[candidate.release_id] = candidate
        if facts.origin is not None:
            pin = facts.origin.pin
            self.known[pin.deployment_id] = deployment(pin.version, pin.environment, release_id=pin.release_id)
            self.routes[pin.environment] = pin.deployment_id
        for environment in facts.environments:
            if environment.serving is None:
                continue
            serving = environment.serving
            self.known[serving.deployment_id] = serving
            self.routes[environment.name] = serving.deployment_id
            if serving.addresses:
                self.legs[environment.place.route, "stable"] = {address.port for address in serving.addresses}
            if not old_has_ended:
                self.running |= {instance.key for instance in serving.instances}
            if environment.fallback is not None:
                self.releases[environment.fallback.release_id] = environment.fallback

    def _join(self) -> dict[str, Any]:
        records: Any = Records(self)
        observer: Any = SimpleNamespace(
            sample=self._sample, counters=self._counters, sharing=self._sharing, is_split=self._is_split
        )
        targets: Any = Targets({"process": cast("Any", SimpleNamespace(status=self._status))})
        nothing: Any = None
        sources = SignalSources(metrics=nothing, pages=nothing, targets=targets)
        bodies = executors(records, records, observer, sources, FakeForwarder(), self.clock)
        # Sealing a release is work on files, without a tool.
        return bodies | {"delivery.release": _nothing}

    async def walk(self, *going_wrong: str, cancelled_at: str = "") -> "World":
        """Carry out the tasks as a run does, with its scheduler; those in ``going_wrong`` fail when all they do is done. The
        run is cancelled while ``cancelled_at`` is at work, and that is stopped when all it does is done."""
        run = run_of(*self.graph, role="main")
        state = fold(decide(None, m.Submit(at=AT, run=run)))
        assert state is not None
        scheduler = Scheduler(state)
        self.state = state
        waiting = scheduler.decide(m.Start(at=AT))
        while waiting:
            event = waiting.pop(0)
            if not isinstance(event, m.TaskStarted):
                continue
            spec = self.graph.specs[event.task]
            if spec.id == cancelled_at:
                waiting += scheduler.decide(m.RequestCancel(at=AT, by="user:owner", reason="not today"))
            output = await self._carry_out(spec, is_good=spec.id not in going_wrong)
            about: Any = {"at": AT, "task": spec.id, "attempt": event.attempt}
            if spec.id in going_wrong:
                waiting += scheduler.decide(m.Fail(error={"message": f"{spec.id} broke"}, is_transient=False, **about))
            elif spec.id == cancelled_at:
                waiting += scheduler.decide(m.Stopped(reason="not today", **about))
            else:
                waiting += scheduler.decide(m.Complete(output=output, **about))
        assert state.status in m.RUN_ENDED
        self.ended = {task_id: str(task.status) for task_id, task in state.tasks.items()}
        return self

    async def _carry_out(self, spec: TaskSpec, *, is_good: bool) -> dict[str, Any]:
        outputs = {task_id: task.output for task_id, task in self.state.tasks.items()}
        inputs = resolve(spec.inputs, outputs)
        context: Any = Context(self, spec, inputs)
        self.order.append(spec.id)
        output = await self.bodies[spec.kind](context)
        if not is_good and inputs.get("deployment_id") and spec.kind in {"delivery.smoke", "delivery.watch"}:
            self.incidents[inputs["deployment_id"]] = f"{spec.id} went wrong"
        return output

    def use(self, task_id: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A call as the ledger makes it: within the grants, typed, and with what it does."""
        self.check(task_id, tool, arguments)
        msgspec.convert(arguments, TOOLS[tool].input)
        self.calls.append((task_id, tool, arguments))
        if tool == "process.start":
            key = f"{task_id}-{len(self.calls)}"
            self.running.add(key)
            return {"key": key, "port": arguments["port"]}
        if tool == "process.stop":
            self.running.discard(arguments["key"])
        if tool == "command.run" and "migrate-" in task_id:
            self._migrate(task_id, arguments["environment"]["INTERLOCK_ENVIRONMENT"])
        if tool == "forwarder.point":
            self.legs[arguments["route"], arguments["kind"]] = {share["port"] for share in arguments["shares"]}
        return {"key": "k", "reason": "stopped", "tail": "it is fine", "output_bytes": 0, "dropped_bytes": 0}

    def _migrate(self, task_id: str, environment: str) -> None:
        """What is in force: an undo takes back the last one, once nothing of the new release runs that would miss it."""
        name = task_id.partition("migrate-")[2]
        assert name.startswith(environment)
        if not task_id.startswith("un"):
            self.database.append(name)
            return
        later = self.database[self.database.index(name) + 1 :]
        assert not [other for other in later if f"migrate-{other}" in self.graph.undos], "the last one first"
        self.database.remove(name)
        new = [item for item in self.known.values() if item.environment == environment and item.run_id == "run_1"]
        missing = {instance.key for item in new if item.version == self.facts.version for instance in item.instances}
        assert not missing & self.running, "nothing of the new release may run any more"
        serving = self.serving(environment)
        assert serving is None or serving.version != self.facts.version, "the old one has the traffic again"

    def check(self, task_id: str, tool: str, arguments: dict[str, Any]) -> None:
        """Raises Forbidden unless the plan grants the call."""
        check_call(self.grants, task_id, tool, arguments, defaults(TOOLS[tool]))

    def serving(self, environment: str) -> Deployment | None:
        """What serves on record."""
        return self.known.get(self.routes.get(environment, ""))

    def stable_leg(self, environment: str) -> set[int]:
        """Where the traffic is led."""
        return self.legs.get((f"shop.{environment}", "stable"), set())

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def _status(self, process: str) -> Any:
        return SimpleNamespace(state="running" if process in self.running else "exited", restarts=0)

    async def _sample(self, deployment: Deployment, *_rest: object) -> Sample:
        is_running = all(instance.key in self.running for instance in deployment.instances)
        at_s = self.clock.monotonic()
        return Sample(at_s=at_s, counters=NO_TRAFFIC, healthy=True, is_running=is_running, restarts=0)

    async def _sharing(self, *_args: object) -> str:
        return "alone"

    async def _is_split(self, *_args: object) -> bool:
        return True

    async def _counters(self, _route: str, kind: str) -> LegCounters:
        """Ever more requests, all of them well; the candidate gets its share of them."""
        requests = int(self.clock.monotonic() * (1000 if kind == "stable" else 100))
        return LegCounters(generation="1", requests=requests, server_errors=0, buckets={"0.1": requests, "inf": requests})


class Context:
    """A task's context: its inputs, and the tools of the world."""

    def __init__(self, world: World, spec: TaskSpec, inputs: dict[str, Any]) -> None:
        self.scope = system_scope("test")
        self.run = SimpleNamespace(run_id="run_1", plan_id="plan_1", requested_by="user:owner")
        self.task_id, self.inputs, self.answer = spec.id, inputs, ""
        self._world = world

    async def call(self, tool: str, arguments: dict[str, Any], *, name: str = "") -> dict[str, Any]:
        return self._world.use(self.task_id, tool, arguments)

    async def report(self, message: str, **data: Any) -> None:
        """Nobody reads it here."""


class Records:
    """What the executors ask of `Delivery` and of `Incidents`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def serving(self, _scope: Any, _service: str, environment: str) -> Deployment | None:
        return self._world.serving(environment)

    async def release(self, _scope: Any, release_id: str) -> Release:
        return self._world.releases[release_id]

    async def check_intact(self, release: Release) -> None:
        """It always is."""

    async def check_not_quarantined(self, _scope: Any, _service: str, content: str) -> None:
        assert content not in self._world.quarantined

    async def deployment(self, _scope: Any, deployment_id: str) -> Deployment:
        return self._world.known[deployment_id]

    async def deployments(self, _scope: Any, _service: str, environment: str) -> list[Deployment]:
        return [item for item in reversed(self._world.known.values()) if item.environment == environment]

    async def record_instance(self, _scope: Any, deployment: Deployment, instance: Instance) -> None:
        known = self._world.known.setdefault(deployment.deployment_id, deployment)
        if instance not in known.instances:
            instances = (*known.instances, instance)
            self._world.known[deployment.deployment_id] = msgspec.structs.replace(known, instances=instances)

    async def drop_instances(self, _scope: Any, deployment_id: str, instances: Any) -> None:
        known = self._world.known[deployment_id]
        left = tuple(instance for instance in known.instances if instance not in instances)
        self._world.known[deployment_id] = msgspec.structs.replace(known, instances=left)

    async def lead(self, _scope: Any, _service: str, _environment: str, _shares: Any) -> None:
        """Where the leg leads is looked up at the leg."""

    async def change(self, _scope: Any, deployment_id: str, state: Any, _reason: str, **fields: Any) -> None:
        found = self._world.known[deployment_id]
        if not may_become(found.state, state):
            raise Conflict("deployment_state", f"{deployment_id} is {found.state}, it cannot become {state}")
        self._world.known[deployment_id] = msgspec.structs.replace(found, state=state, **fields)

    async def switch(self, scope: Any, _service: str, environment: str, deployment_id: str, reason: str) -> None:
        if deployment_id and self._world.known[deployment_id].state in {"starting", "live"}:
            await self.change(scope, deployment_id, "live", reason)
        self._world.routes[environment] = deployment_id

    async def open(self, _scope: Any, deployment: Deployment, title: str, _evidence: Any) -> Any:
        self._world.incidents[deployment.deployment_id] = title
        return await self.open_for(_scope, deployment.deployment_id)

    async def open_for(self, _scope: Any, deployment_id: str) -> Any:
        title = self._world.incidents.get(deployment_id)
        return SimpleNamespace(incident_id=deployment_id, title=title) if title else None

    async def found_by_run(self, scope: Any, deployment_id: str) -> Any:
        return await self.open_for(scope, deployment_id)

    async def route(self, _scope: Any, _service: str, _environment: str) -> Any:
        """Nobody edits the legs here."""

    async def resolve(self, _scope: Any, incident_id: str, _how: str) -> None:
        del self._world.incidents[incident_id]

    async def quarantine(self, _scope: Any, release: Release, _incident_id: str, _reason: str) -> None:
        self._world.quarantined.append(release.content)


async def _nothing(_context: Any) -> dict[str, Any]:
    return {}
