"""The one place that joins settings, adapters, slices and faces."""

import asyncio
import contextlib
import importlib
import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI

from interlock.adapters.caddy.forwarder import CaddyForwarder
from interlock.adapters.git.git import GitProgram
from interlock.adapters.hosts.local import LocalHost
from interlock.adapters.http.client import HttpxClient
from interlock.adapters.keys.files import KeyFiles
from interlock.audit.service import Audit
from interlock.core.clock import Clock, SystemClock
from interlock.core.scope import Scope, system_scope
from interlock.db.database import CONTROL, Database
from interlock.db.migrate import migrate
from interlock.delivery.building import Building
from interlock.delivery.contracts import IncidentOpened, IncidentResolved
from interlock.delivery.incidents import Incidents
from interlock.delivery.probing import Observer
from interlock.delivery.recovery import Recovery
from interlock.delivery.retention import Retention
from interlock.delivery.rollout import Rollout
from interlock.delivery.service import Delivery
from interlock.delivery.tools import PointForwarder
from interlock.delivery.watcher import Watcher
from interlock.events.service import Events
from interlock.faces.http.app import create_app
from interlock.faces.http.services import Services
from interlock.faces.ws.runs import live_router
from interlock.inbox.contracts import ItemAnswered
from interlock.inbox.service import Inbox
from interlock.plans.approval import ApprovalRules
from interlock.plans.contracts import PlanApproved, PlanChanged
from interlock.plans.gathering import Gathering
from interlock.plans.handlers import PlanHandlers
from interlock.plans.launching import Launching
from interlock.plans.proposing import Proposing
from interlock.plans.service import Plans
from interlock.plans.wayback import WayBack
from interlock.runs.active import Equipment
from interlock.runs.contracts import RunBegan, RunEnded, TaskAsks
from interlock.runs.driver import LocalDriver, owner_name
from interlock.runs.feed import JournalFeed
from interlock.runs.handlers import RunHandlers
from interlock.runs.journal import DatabaseJournal
from interlock.runs.model import Limits
from interlock.runs.ports import Executor
from interlock.runs.service import Runs
from interlock.settings import Settings
from interlock.sources.model import WatchPolicy
from interlock.sources.service import Sources
from interlock.tenancy.service import OWNER, Tenancy
from interlock.tenancy.submissions import Submissions
from interlock.tools.checkout import Checkout, RemoveCheckout
from interlock.tools.http import HttpCheck
from interlock.tools.process import process_tools
from interlock.tools.service import Toolbox

log = structlog.get_logger(__name__)

TOKEN_FILE = "owner.token"  # noqa: S105 - the name of the file, not a token
FORWARDER_CHECK_S = 5.0
TIDY_S = 600.0


@dataclass(slots=True)
class ControlPlane:
    """One control plane on one data folder: `start` it inside a running loop, `stop` it before the loop ends."""

    settings: Settings
    database: Database
    services: Services
    driver: LocalDriver
    watcher: Watcher
    events: Events
    forwarder: CaddyForwarder
    retention: Retention
    scope: Scope
    _background: list[asyncio.Task[None]]

    async def start(self) -> None:
        """Make the databases and the owner's token, adopt what was under way, begin to dispatch and to watch."""
        await asyncio.to_thread(migrate, self.database.file(CONTROL), "control")
        await asyncio.to_thread(migrate, self.database.file(self.scope.tenant), "tenant")
        await self.services.tenancy.ensure_tenant(self.scope)
        await self._ensure_token()
        await self.driver.recover()
        works = (self.events.dispatch(self.scope), self.watcher.run(self.scope), self._keep_forwarder(), self._tidy())
        self._background.append(asyncio.create_task(asyncio.to_thread(_load_what_requests_need)))
        for work in works:
            self._background.append(asyncio.create_task(work))

    async def stop(self) -> None:
        """Stop working. Processes, the forwarder and traffic stay; what was under way goes on at the next start."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.driver.close()
        await self.database.close()

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncGenerator[None]:
        """`start` and `stop` around the server's life."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def app(self) -> FastAPI:
        """The server over this control plane."""
        router = live_router(self.services.tenancy, self.services.runs)
        return create_app(self.services, self.lifespan, [router])

    async def _ensure_token(self) -> None:
        file = self.settings.home / TOKEN_FILE
        if file.exists():
            with contextlib.suppress(Exception):
                await self.services.tenancy.authenticate(file.read_text().strip(), "internal")
                return
        token = await self.services.tenancy.issue_token(self.scope, OWNER)
        await asyncio.to_thread(_write_token, file, token)

    async def _keep_forwarder(self) -> None:
        """Bring the forwarder back, with the configuration it had, whenever something is meant to be reached through it."""
        while True:
            try:
                if any(route.deployment_id for route in await self.services.delivery.routes(self.scope)):
                    await self.forwarder.ensure()
            except Exception as error:
                log.warning("forwarder.down", error=str(error))
            await asyncio.sleep(FORWARDER_CHECK_S)

    async def _tidy(self) -> None:
        """Expire plans that nobody decided on, and remove what nobody needs any more."""
        while True:
            try:
                await self.services.plans.expire_overdue(self.scope)
                await self.retention.sweep(self.scope)
            except Exception as error:
                log.warning("tidying.failed", error=str(error))
            await asyncio.sleep(TIDY_S)


def build(settings: Settings, clock: Clock | None = None, environ: Mapping[str, str] = os.environ) -> ControlPlane:
    """Join everything for one data folder; nothing is started or written yet."""
    clock = clock or SystemClock()
    home = settings.home
    scope = system_scope("control-plane")
    database = Database(home)
    signer = KeyFiles(home / "keys")
    events = Events(database, clock)
    journal_feed = JournalFeed(database)
    audit = Audit(database, clock, signer, {events.feed.name: events.feed, journal_feed.name: journal_feed})
    database.before_commit(audit.seal)
    inbox = Inbox(database, events, clock)

    host = LocalHost(home / "processes")
    forwarder = CaddyForwarder(host, home / "forwarder")
    http = HttpxClient(clock)
    git = GitProgram()
    sources = Sources(git, home / "repositories")

    delivery = Delivery(database, events, clock, settings.environments, (settings.first_port, settings.last_port + 1))
    incidents = Incidents(database, events, inbox, clock)
    observer = Observer(host, forwarder, http, clock)
    rollout = Rollout(delivery, incidents, observer, host, clock)
    recovery = Recovery(delivery, incidents, rollout, host, clock)
    building = Building(delivery, clock)

    base = _base_environment(home, settings.inherit, environ)
    toolbox = Toolbox(
        [
            *process_tools(host, base, lambda name: environ.get(_secret_variable(name))),
            Checkout(git),
            RemoveCheckout(git),
            HttpCheck(http),
            PointForwarder(forwarder),
        ]
    )
    followers: list[Runs] = []

    def on_commit(run_ids: set[str]) -> None:
        events.wake()
        for runs in followers:
            runs.committed(run_ids)

    equipment = Equipment(
        journal=DatabaseJournal(database, scope, on_commit),
        executors=_executors(building, rollout, recovery),
        toolbox=toolbox,
        clock=clock,
        scope=scope,
    )
    driver = LocalDriver(equipment, owner_name(clock, os.getpid()), settings.max_concurrent_workflows)
    runs = Runs(database, driver)
    followers.append(runs)

    gathering = Gathering(
        sources, delivery, incidents, home / "bundles", _watch_policy(settings), float(settings.task_timeout_s)
    )
    proposing = Proposing(sources, delivery, gathering, clock, timedelta(hours=settings.plan_lifetime_hours))
    rules = ApprovalRules(sources, delivery, incidents, signer, clock)
    plans = Plans(database, events, inbox, runs, proposing, rules, clock)
    limits = Limits(max_concurrent_tasks=settings.max_concurrent_tasks_per_workflow, timeout_s=settings.run_timeout_s)
    launching = Launching(runs, limits)
    plan_handlers = PlanHandlers(plans, runs, launching, delivery, incidents)
    way_back = WayBack(database, plans, runs, launching, delivery, incidents, inbox)
    _subscribe(events, journal_feed, plan_handlers, RunHandlers(database, inbox, runs))
    _subscribe_way_back(events, way_back)

    services = Services(
        tenancy=Tenancy(database, clock),
        submissions=Submissions(database, clock),
        plans=plans,
        runs=runs,
        delivery=delivery,
        incidents=incidents,
        observer=observer,
        sources=sources,
        inbox=inbox,
        audit=audit,
        events=events,
        host=host,
        components=_components(database, scope, driver, forwarder, delivery, events),
    )
    watcher = Watcher(delivery, incidents, observer, clock)
    retention = Retention(delivery, host, clock, settings.keep_releases, timedelta(days=settings.keep_processes_days))
    return ControlPlane(settings, database, services, driver, watcher, events, forwarder, retention, scope, [])


def _load_what_requests_need() -> None:
    """Load, once the server is up, what it left out to start fast: so that the first request does not wait for it."""
    for module in ("interlock.plans.words.parser", "interlock.sources.module_file", "interlock.faces.http.querying"):
        importlib.import_module(module)


def _executors(building: Building, rollout: Rollout, recovery: Recovery) -> dict[str, Executor]:
    return {
        "delivery.checkout": building.checkout,
        "delivery.discard_build": building.discard,
        "delivery.command": building.command,
        "delivery.release": building.release,
        "delivery.pause": rollout.pause,
        "delivery.start": rollout.start,
        "delivery.verify": rollout.verify,
        "delivery.switch": rollout.switch,
        "delivery.smoke": rollout.smoke,
        "delivery.watch": rollout.watch,
        "delivery.retire": rollout.retire,
        "delivery.discard": recovery.discard,
        "delivery.restore": recovery.restore,
        "delivery.settle": recovery.settle,
        "delivery.take_out": recovery.take_out,
    }


def _subscribe(events: Events, journal: JournalFeed, plans: PlanHandlers, runs: RunHandlers) -> None:
    events.subscribe("plans.run", plans.plan_approved, PlanApproved)
    events.subscribe("plans.started", plans.run_started, RunBegan, feed=journal)
    events.subscribe("plans.finished", plans.run_finished, RunEnded, feed=journal)
    events.subscribe("runs.question", runs.task_asks, TaskAsks, feed=journal)
    events.subscribe("runs.answer", runs.item_answered, ItemAnswered)
    events.subscribe("runs.finished", runs.run_finished, RunEnded, feed=journal)


def _subscribe_way_back(events: Events, way_back: WayBack) -> None:
    events.subscribe("wayback.incident", way_back.incident_opened, IncidentOpened)
    events.subscribe("wayback.place", way_back.plan_changed, PlanChanged)
    events.subscribe("wayback.resolved", way_back.incident_resolved, IncidentResolved)
    events.subscribe("wayback.answer", way_back.item_answered, ItemAnswered)


def _components(
    database: Database, scope: Scope, driver: LocalDriver, forwarder: CaddyForwarder, delivery: Delivery, events: Events
) -> dict[str, Any]:
    async def storage() -> dict[str, Any]:
        if driver.storage_error:
            return {"ok": False, "problem": "the journal cannot be written; runs stand still and go on by themselves"}
        await delivery.services(scope)
        return {"ok": True}

    async def engine() -> dict[str, Any]:
        return {"ok": True, "active_runs": driver.active_runs()}

    async def traffic() -> dict[str, Any]:
        """Optional: without a deployment there is no forwarder, and it comes back by itself."""
        if not any(route.deployment_id for route in await delivery.routes(scope)):
            return {"ok": True, "optional": True, "legs": 0}
        try:
            return {"ok": True, "optional": True, "legs": len(await forwarder.list())}
        except Exception as error:
            return {"ok": False, "optional": True, "problem": type(error).__name__}

    async def dispatch() -> dict[str, Any]:
        return {"ok": True, "dead_letters": await events.dead_letter_count(scope)}

    return {"storage": storage, "engine": engine, "forwarder": traffic, "events": dispatch}


def _write_token(file: Path, token: str) -> None:
    """Readable by the owner of the data folder alone, from the first moment on."""
    aside = file.with_suffix(".new")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(token + "\n")
    aside.rename(file)


def _watch_policy(settings: Settings) -> WatchPolicy:
    names = WatchPolicy.__struct_fields__
    return WatchPolicy(**{name: getattr(settings, f"watch_{name}") for name in names})


def _base_environment(home: Path, inherit: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """What every build and service sees beneath its own variables: a home of its own, and what the settings let through."""
    own = {"HOME": str(home / "sandbox"), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    return own | {name: environ[name] for name in inherit if name in environ}


def _secret_variable(name: str) -> str:
    return "INTERLOCK_SECRET_" + name.upper().replace("-", "_").replace(".", "_")
