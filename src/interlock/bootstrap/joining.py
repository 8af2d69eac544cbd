"""The one place that joins settings, adapters, slices and faces."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from interlock.adapters.caddy.forwarder import CaddyForwarder
from interlock.adapters.git.git import GitProgram
from interlock.adapters.hosts.local import LocalHost
from interlock.adapters.http.client import HttpxClient
from interlock.adapters.keys.files import KeyFiles
from interlock.audit.service import Audit
from interlock.bootstrap.control_plane import ControlPlane
from interlock.bootstrap.executors import executors
from interlock.core.clock import Clock, SystemClock
from interlock.core.scope import Scope, system_scope
from interlock.db.database import Database
from interlock.delivery.contracts import IncidentOpened, IncidentResolved
from interlock.delivery.drills import Drills
from interlock.delivery.incidents import Incidents
from interlock.delivery.probing import Observer
from interlock.delivery.retention import Retention
from interlock.delivery.service import Delivery
from interlock.delivery.targets import Targets
from interlock.delivery.tools import PointForwarder
from interlock.delivery.watcher import Watcher
from interlock.events.service import Events
from interlock.faces.http.services import Services
from interlock.inbox.contracts import ItemAnswered
from interlock.inbox.service import Inbox
from interlock.plans.approval import ApprovalRules
from interlock.plans.contracts import PlanApproved, PlanChanged, PlanRefused
from interlock.plans.drilled import DrillHandlers
from interlock.plans.gathering import Gathering
from interlock.plans.handlers import PlanHandlers
from interlock.plans.launching import Launching
from interlock.plans.pinned import PinnedWayBack
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
from interlock.runs.service import Runs
from interlock.settings import Settings
from interlock.sources.model import WatchPolicy
from interlock.sources.service import Sources
from interlock.tenancy.service import Tenancy
from interlock.tenancy.submissions import Submissions
from interlock.tools.checkout import Checkout, RemoveCheckout
from interlock.tools.http import HttpCheck
from interlock.tools.process import process_tools
from interlock.tools.service import Toolbox


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
    targets = Targets({"process": host})
    observer = Observer(targets, forwarder, http, clock)

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
        executors=executors(delivery, incidents, observer, targets, forwarder, clock),
        toolbox=toolbox,
        clock=clock,
        scope=scope,
    )
    driver = LocalDriver(equipment, owner_name(clock, os.getpid()), settings.max_concurrent_workflows)
    runs = Runs(database, driver)
    followers.append(runs)

    gathering = Gathering(
        sources,
        delivery,
        incidents,
        home / "bundles",
        _watch_policy(settings),
        float(settings.task_timeout_s),
        PinnedWayBack(database),
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
    drills = Drills(database, events, inbox)
    _subscribe_drills(events, journal_feed, DrillHandlers(plans, drills))

    services = Services(
        tenancy=Tenancy(database, clock),
        submissions=Submissions(database, clock),
        plans=plans,
        runs=runs,
        delivery=delivery,
        incidents=incidents,
        drills=drills,
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
    return ControlPlane(
        settings=settings,
        database=database,
        services=services,
        driver=driver,
        watcher=watcher,
        events=events,
        forwarder=forwarder,
        retention=retention,
        scope=scope,
    )


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


def _subscribe_drills(events: Events, journal: JournalFeed, drills: DrillHandlers) -> None:
    events.subscribe("drills.finished", drills.run_finished, RunEnded, feed=journal)
    events.subscribe("drills.refused", drills.plan_refused, PlanRefused)


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


def _watch_policy(settings: Settings) -> WatchPolicy:
    names = WatchPolicy.__struct_fields__
    return WatchPolicy(**{name: getattr(settings, f"watch_{name}") for name in names})


def _base_environment(home: Path, inherit: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """What every build and service sees beneath its own variables: a home of its own, and what the settings let through."""
    own = {"HOME": str(home / "sandbox"), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    return own | {name: environ[name] for name in inherit if name in environ}


def _secret_variable(name: str) -> str:
    return "INTERLOCK_SECRET_" + name.upper().replace("-", "_").replace(".", "_")
