"""A world in memory in which the real executors carry out a plan: a host, a forwarder, and the records of delivery.

Every call of a tool is checked against the grants of the plan, and every change of a deployment against its state machine.
"""

from types import SimpleNamespace
from typing import Any, cast

import msgspec

from interlock.bootstrap.executors import executors
from interlock.core.errors import Conflict
from interlock.core.scope import system_scope
from interlock.delivery.model import Deployment, Instance, Release, may_become
from interlock.delivery.ports import LegCounters
from interlock.delivery.targets import Targets
from interlock.delivery.tools import PointForwarder
from interlock.delivery.watch import NO_TRAFFIC, Sample
from interlock.plans.blueprints.layout import lay_out
from interlock.plans.facts import Facts
from interlock.runs.graph import TaskGraph, TaskSpec, resolve
from interlock.testing.clocks import ManualClock
from interlock.testing.forwarders import FakeForwarder
from interlock.tools.checkout import Checkout, RemoveCheckout
from interlock.tools.grants import Grant, check_call
from interlock.tools.http import HttpCheck
from interlock.tools.process import RunCommand, StartProcess, StopProcess
from interlock.tools.service import defaults
from unit.plan_facts import deployment, release

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
        self.legs: dict[tuple[str, str], set[int]] = {}
        self.running: set[str] = set()
        self.routes: dict[str, str] = {}
        self.known: dict[str, Deployment] = {}
        self.releases: dict[str, Release] = {}
        self.incidents: dict[str, str] = {}
        self.quarantined: list[str] = []
        self._settle_in(old_has_ended=old_has_ended)
        monkeypatch.setattr("interlock.delivery.traffic.asyncio.sleep", self._sleep)
        ports = iter(range(30001, 31000))
        monkeypatch.setattr("interlock.delivery.starting.any_free_port", lambda: next(ports))
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
            if serving.ports:
                self.legs[environment.place.route, "stable"] = set(serving.ports)
            if not old_has_ended:
                self.running |= {instance.key for instance in serving.instances}
            if environment.fallback is not None:
                self.releases[environment.fallback.release_id] = environment.fallback

    def _join(self) -> dict[str, Any]:
        records: Any = Records(self)
        observer: Any = SimpleNamespace(sample=self._sample, counters=self._counters)
        targets: Any = Targets({"process": cast("Any", SimpleNamespace(status=self._status))})
        bodies = executors(records, records, observer, targets, FakeForwarder(), self.clock)
        # Sealing a release is work on files, without a tool.
        return bodies | {"delivery.release": _nothing}

    async def walk(self, *going_wrong: str) -> "World":
        """Carry out the tasks as a run does; those in ``going_wrong`` fail when all they do is done."""
        outputs: dict[str, dict[str, Any]] = {}
        for spec in self.graph:
            before = {self.ended[need] for need in spec.needs}
            due = "failed" in before if spec.when == "failed" else before <= {"completed"}
            self.ended[spec.id] = "skipped"
            if due:
                inputs = resolve(spec.inputs, outputs)
                context: Any = Context(self, spec, inputs)
                output = await self.bodies[spec.kind](context)
                self.ended[spec.id] = "failed" if spec.id in going_wrong else "completed"
                outputs |= {} if spec.id in going_wrong else {spec.id: output}
                blames = inputs.get("deployment_id") and spec.kind in {"delivery.smoke", "delivery.watch"}
                if spec.id in going_wrong and blames:
                    self.incidents[inputs["deployment_id"]] = f"{spec.id} went wrong"
        return self

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
        if tool == "forwarder.point":
            self.legs[arguments["route"], arguments["kind"]] = {share["port"] for share in arguments["shares"]}
        return {"key": "k", "reason": "stopped", "tail": "it is fine", "output_bytes": 0, "dropped_bytes": 0}

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

    async def change(self, _scope: Any, deployment_id: str, state: Any, _reason: str) -> None:
        found = self._world.known[deployment_id]
        if not may_become(found.state, state):
            raise Conflict("deployment_state", f"{deployment_id} is {found.state}, it cannot become {state}")
        self._world.known[deployment_id] = msgspec.structs.replace(found, state=state)

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

    async def resolve(self, _scope: Any, incident_id: str, _how: str) -> None:
        del self._world.incidents[incident_id]

    async def quarantine(self, _scope: Any, release: Release, _incident_id: str, _reason: str) -> None:
        self._world.quarantined.append(release.content)


async def _nothing(_context: Any) -> dict[str, Any]:
    return {}
