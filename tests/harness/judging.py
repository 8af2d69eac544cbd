"""A deployment on record with what judges it: real tables, incidents and executors over a host and a forwarder in memory."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from harness.engine import run_of
from interlock.core.addresses import local
from interlock.core.clock import Clock, SystemClock
from interlock.core.errors import Unavailable
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.delivery.drift.observer import UnderWay
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.judging.probing import Observer
from interlock.delivery.judging.signals import SignalSources
from interlock.delivery.model import Deployment, Instance, Release, Shares, evenly
from interlock.delivery.parked import Parked
from interlock.delivery.ports import Leg
from interlock.delivery.service import Delivery
from interlock.delivery.steps.analysing import Analysing
from interlock.delivery.steps.inputs import AnalyseTask, Place, SmokeTask, VerifyTask, WatchTask
from interlock.delivery.steps.verifying import Verifying
from interlock.delivery.steps.watching import Watching
from interlock.delivery.targets import Targets
from interlock.delivery.watcher import Watcher
from interlock.events.service import Events
from interlock.inbox.service import Inbox
from interlock.runs.model import Run
from interlock.sources.model import AnalysisPolicy, Command, HealthCheck, Recipe, SmokeTest, WatchPolicy
from interlock.tenancy.service import Tenancy
from interlock.testing.forwarders import FakeForwarder
from interlock.testing.hosts import FakeHost
from interlock.testing.metrics import FakeMetricPages, FakeMetricSource
from interlock.tools.ports import HttpAnswer, ProcessSpec, ProcessStatus

OLD, NEW = 7001, 7002
QUICK = WatchPolicy(window_s=0.2, interval_s=0.05, min_requests=20, error_rate=0.05, health_failures=3, restarts=3)
HEALTH = HealthCheck(path="/health", timeout_s=1.0)


class Cut(BaseException):
    """The control plane dies."""


class Host(FakeHost):
    """A host in memory that tells who runs under a key where ``identities`` has it, and says nothing of what ``hangs``."""

    def __init__(self) -> None:
        super().__init__()
        self.identities: dict[str, str] = {}
        self.hangs: set[str] = set()

    async def status(self, key: str) -> ProcessStatus:
        if key in self.hangs:
            await asyncio.Event().wait()
        return msgspec.structs.replace(await super().status(key), identity=self.identities.get(key, ""))


@dataclass
class Web:
    """Answers 200 at every port, but where ``says`` has another status."""

    says: dict[int, int] = field(default_factory=dict[int, int])

    async def get(self, url: str, *, timeout_s: float = 5.0) -> HttpAnswer:
        port = int(url.split(":")[2].partition("/")[0])
        return HttpAnswer(status=self.says.get(port, 200), elapsed_ms=1.0)


@dataclass
class Context:
    """What a task is given; ``dies_at`` is the word in a report at which the control plane dies."""

    scope: Scope
    inputs: dict[str, Any]
    answer: str = ""
    dies_at: str = ""
    run: Run = field(default_factory=run_of)
    task_id: str = "task-1"
    attempt: int = 1
    told: list[str] = field(default_factory=list[str])
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    """Tool -> what it gives, or the error that it raises."""

    async def call(self, tool: str, arguments: dict[str, Any], *, name: str = "") -> dict[str, Any]:
        self.calls.append((tool, arguments))
        found = self.answers.get(tool, {})
        if isinstance(found, Exception):
            raise found
        return found

    async def report(self, message: str, **data: Any) -> None:
        self.told.append(message)
        if self.dies_at and self.dies_at in message:
            raise Cut


async def _no_run(_scope: Scope) -> UnderWay:
    return UnderWay()


class Judged:
    """``dep_old`` serves shop in staging at `OLD`; `candidate` puts ``dep_new`` beside it at `NEW`."""

    def __init__(self, database: Database, scope: Scope, clock: Clock | None = None) -> None:
        self.scope = scope
        self.clock = clock or SystemClock()
        self.host, self.forwarder, self.web = Host(), FakeForwarder(), Web()
        self.targets = Targets({"process": self.host})
        self.events = Events(database, self.clock)
        self.inbox = Inbox(database, self.events, self.clock)
        tenancy = Tenancy(database, self.events, self.clock)
        self.delivery = Delivery(database, self.events, tenancy, _NoArtifacts(), self.clock, ("staging",), (6000, 6010))
        self.incidents = Incidents(database, self.events, tenancy, self.inbox, self.clock)
        self.observer = Observer(self.targets, self.forwarder, self.web, self.clock)
        self.pages, self.metrics = FakeMetricPages(), FakeMetricSource()
        sources = SignalSources(metrics=self.metrics, pages=self.pages, targets=self.targets)
        self.watcher = Watcher(self.delivery, self.incidents, self.observer, Parked(self.inbox), self.clock, _no_run)
        self.watching = Watching(self.delivery, self.incidents, self.observer, self.clock)
        self.analysing = Analysing(self.delivery, self.incidents, self.observer, sources, self.clock)
        self.verifying = Verifying(self.delivery, self.incidents, self.targets, self.clock)

    async def begin(self, watch: WatchPolicy = QUICK) -> None:
        """``dep_old`` gets all the traffic."""
        await self.forwarder.ensure()
        await self.delivery.add_service(self.scope, "shop", "/repositories/shop")
        route = await self.delivery.route(self.scope, "shop", "staging")
        self.place = Place(
            service="shop", environment="staging", stable_port=route.stable_port, candidate_port=route.candidate_port
        )
        await self.deploy("old", (OLD,), watch)
        await self.serves("old", evenly([local(OLD)]))
        await self.delivery.change(self.scope, "dep_old", "good", "the watch passed")

    async def deploy(self, name: str, ports: tuple[int, ...], watch: WatchPolicy = QUICK) -> Deployment:
        """A release and its deployment, with an instance at each port; it gets no traffic yet."""
        recipe = Recipe(name="shop", module_type="api", start=Command(text="serve", argv=(("serve",),)), health=HEALTH)
        release = Release(
            release_id=f"rel_{name}", service="shop", version=name, commit="c0", content=name, folder="/", bundle="b0",
            built_at="", built_by="", recipe=recipe,
        )  # fmt: skip
        await self.delivery.record_release(self.scope, release)
        deployment = Deployment(
            deployment_id=f"dep_{name}", service="shop", environment="staging", release_id=f"rel_{name}", version=name,
            state="starting", instances=(), plan_id="pln_1", run_id="run_1", watch=watch, started_at="",
        )  # fmt: skip
        for port in ports:
            spec = ProcessSpec(kind="service", commands=(("serve",),), folder="/", environment={}, port=port)
            key = f"{name}-{port}"
            await self.host.start(key, spec)
            instance = Instance(key=key, port=port, identity=self.host.identities.setdefault(key, f"{key} first"))
            await self.delivery.record_instance(self.scope, deployment, instance)
        return await self.delivery.deployment(self.scope, deployment.deployment_id)

    async def serves(self, name: str, shares: Shares) -> None:
        """Lead the stable leg there, on record and in the forwarder."""
        await self.delivery.lead(self.scope, "shop", "staging", shares)
        await self.forwarder.point(
            Leg(route="shop.staging", kind="stable", port=self.place.stable_port), shares, f"call-{name}"
        )
        await self.delivery.switch(self.scope, "shop", "staging", f"dep_{name}", "it was switched")

    def analysis(self, policy: AnalysisPolicy | None = None, bake_s: float = 0.1) -> AnalyseTask:
        return AnalyseTask(
            place=self.place, deployment_id="dep_new", stable_id="dep_old", percent=10, bake_s=bake_s,
            policy=policy or AnalysisPolicy(), health=HEALTH,
        )  # fmt: skip

    def watch(self) -> WatchTask:
        return WatchTask(place=self.place, health=HEALTH, takes_port=True, deployment_id="dep_new")

    def smoke(self, *tests: SmokeTest) -> SmokeTask:
        return SmokeTask(
            place=self.place, port=self.place.stable_port, tests=list(tests), folder="/", environment={},
            deployment_id="dep_new",
        )  # fmt: skip

    def verify(self, instances: tuple[Instance, ...]) -> VerifyTask:
        return VerifyTask(place=self.place, health=HEALTH, takes_port=True, deployment_id="dep_new", instances=instances)

    def context(self, task: msgspec.Struct, **fields: Any) -> Context:
        return Context(scope=self.scope, inputs=msgspec.to_builtins(task), **fields)


class _NoArtifacts:
    async def check(self, release: Release) -> None:
        """All there."""

    async def missing(self, releases: Any) -> dict[str, str]:
        return {}

    async def remove(self, release: Release) -> bool:
        return False

    async def sweep(self, known: Any, before: Any) -> int:
        return 0


AWAY = Unavailable("host_full", "the host cannot take it now")
