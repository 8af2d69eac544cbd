"""The one place that joins settings, adapters, slices and faces."""

import functools
import os
from collections.abc import Mapping
from datetime import timedelta

from interlock.adapters.keys.files import KeyFiles
from interlock.audit.service import Audit
from interlock.bootstrap.components import components, containers_component, metrics_component
from interlock.bootstrap.control_plane import ControlPlane
from interlock.bootstrap.executors import executors
from interlock.bootstrap.notifying import join_notifications
from interlock.bootstrap.outside import reach, toolbox
from interlock.bootstrap.reacting import (
    subscribe_drills,
    subscribe_facts,
    subscribe_healing,
    subscribe_plans,
    subscribe_way_back,
)
from interlock.core.clock import Clock, SystemClock
from interlock.core.scope import Scope, system_scope
from interlock.db.database import Database
from interlock.db.sqlite import SqliteFiles
from interlock.delivery.artifacts import StoredArtifacts
from interlock.delivery.drift.observer import DriftObserver
from interlock.delivery.drift.record import DriftRecord
from interlock.delivery.drills import Drills
from interlock.delivery.environments import Environments
from interlock.delivery.incidents.capturing import Capturing
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.judging.probing import Observer
from interlock.delivery.judging.signals import SignalSources
from interlock.delivery.logs.reading import Logs
from interlock.delivery.logs.tasks import TaskLogs
from interlock.delivery.parked import Parked
from interlock.delivery.retention import Retention
from interlock.delivery.service import Delivery
from interlock.delivery.targets import Targets
from interlock.delivery.watcher import Watcher
from interlock.events.service import Events
from interlock.faces.http.services import Services
from interlock.inbox.service import Inbox
from interlock.plans.answering import Answering
from interlock.plans.deciding.approval import ApprovalRules
from interlock.plans.deciding.queue import Queue
from interlock.plans.drafting.containing import Containing
from interlock.plans.drafting.gathering import Gathering
from interlock.plans.drafting.pinned import PinnedWayBack
from interlock.plans.drafting.proposing import Proposing
from interlock.plans.drift.healing import Healing
from interlock.plans.drift.questions import DriftQuestions
from interlock.plans.drift.runs import HealingRuns, under_way
from interlock.plans.drilled import DrillHandlers
from interlock.plans.handlers import PlanHandlers
from interlock.plans.launching import Launching
from interlock.plans.service import Plans
from interlock.plans.shelf import Shelf
from interlock.plans.wayback import WayBack
from interlock.runs.active import Equipment
from interlock.runs.driver import LocalDriver, owner_name
from interlock.runs.feed import JournalFeed
from interlock.runs.handlers import RunHandlers
from interlock.runs.journal import DatabaseJournal
from interlock.runs.model import Limits
from interlock.runs.ports import Executor
from interlock.runs.service import Runs
from interlock.settings import Settings
from interlock.sources.dockerfile import BaseImages
from interlock.sources.model import WatchPolicy
from interlock.sources.service import Sources
from interlock.tenancy.service import Tenancy
from interlock.tenancy.submissions import Submissions
from interlock.tools.containers.ports import ContainerEngine
from interlock.tools.service import Toolbox


def build(settings: Settings, clock: Clock | None = None, environ: Mapping[str, str] = os.environ) -> ControlPlane:
    """Join everything for one data folder; nothing is started or written yet."""
    clock = clock or SystemClock()
    home = settings.home
    scope = system_scope("control-plane")
    database = Database(SqliteFiles(home))
    signer = KeyFiles(home / "keys")
    events = Events(database, clock)
    journal_feed = JournalFeed(database)
    audit = Audit(database, clock, signer, {events.feed.name: events.feed, journal_feed.name: journal_feed})
    database.before_commit(audit.seal)
    inbox = Inbox(database, events, clock)
    tenancy = Tenancy(database, events, clock)

    outside = reach(settings, clock, signer, scope.tenant, environ)
    sources = Sources(outside.git, home / "repositories")
    artifacts = StoredArtifacts(outside.containers)
    ports = (settings.first_port, settings.last_port + 1)
    delivery = Delivery(database, events, tenancy, artifacts, clock, settings.environments, ports)
    environments = Environments(database, events, tenancy, clock, settings.environments)
    incidents = Incidents(database, events, tenancy, inbox, clock)
    targets = Targets({"process": outside.host, "container": outside.containers})
    signals = SignalSources(metrics=outside.prometheus, pages=outside.pages, targets=targets)
    observer = Observer(targets, outside.forwarder, outside.http, clock)

    bodies = executors(delivery, incidents, observer, signals, outside.forwarder, clock)
    driver, runs = _engine(settings, database, events, scope, clock, bodies, toolbox(outside, settings, environ))

    gathering = _gathering(settings, database, sources, delivery, incidents, outside.containers)
    proposing = Proposing(sources, delivery, gathering, clock, timedelta(hours=settings.plan_lifetime_hours))
    rules = ApprovalRules(sources, delivery, incidents, environments, tenancy, signer, clock)
    shelf = Shelf(database, events, inbox)
    plans = Plans(database, events, inbox, runs, proposing, rules, shelf)
    queue = Queue(database, events, shelf, rules)
    limits = Limits(max_concurrent_tasks=settings.max_concurrent_tasks_per_workflow, timeout_s=settings.run_timeout_s)
    launching = Launching(runs, limits)
    drift = DriftRecord(database, events, clock)
    is_under_way = functools.partial(under_way, plans)
    drift_observer = DriftObserver(delivery, drift, targets, outside.forwarder, artifacts, clock, is_under_way)
    healing = Healing(
        delivery,
        environments,
        incidents,
        drift_observer,
        drift,
        HealingRuns(plans, runs, launching, drift),
        DriftQuestions(database, inbox),
        clock,
    )
    notifying = join_notifications(settings, database, events, journal_feed, inbox, tenancy, clock, outside.secret)
    capturing = Capturing(database, events, delivery, incidents, targets, sources.history, clock)
    drills = Drills(database, events, inbox)
    subscribe_plans(
        events,
        journal_feed,
        PlanHandlers(plans, queue, runs, launching, delivery, incidents),
        RunHandlers(database, inbox, runs),
    )
    subscribe_way_back(events, WayBack(database, plans, runs, launching, delivery, incidents, inbox))
    subscribe_drills(events, journal_feed, DrillHandlers(plans, drills))
    subscribe_healing(events, journal_feed, healing)
    subscribe_facts(events, capturing)
    services = Services(
        tenancy=tenancy,
        submissions=Submissions(database, clock),
        plans=plans,
        runs=runs,
        delivery=delivery,
        environments=environments,
        incidents=incidents,
        capturing=capturing,
        drills=drills,
        drift=drift,
        drift_observer=drift_observer,
        observer=observer,
        logs=Logs(delivery, targets, clock),
        sources=sources,
        inbox=inbox,
        answering=Answering(inbox, plans, shelf, runs, rules, environments, tenancy, clock),
        notifications=notifying.service,
        audit=audit,
        events=events,
        targets=targets,
        task_logs=TaskLogs(targets, outside.build_logs),
        components=components(scope, driver, outside.forwarder, delivery, events)
        | containers_component(scope, delivery, outside.containers)
        | metrics_component(settings, outside.prometheus),
    )
    retention = Retention(
        delivery, artifacts, targets, clock, settings.keep_releases, timedelta(days=settings.keep_processes_days)
    )
    return ControlPlane(
        settings=settings,
        database=database,
        services=services,
        driver=driver,
        watcher=Watcher(delivery, incidents, observer, Parked(inbox), clock, is_under_way),
        queue=queue,
        healing=healing,
        events=events,
        forwarder=outside.forwarder,
        retention=retention,
        courier=notifying.courier,
        scope=scope,
    )


def _watch_policy(settings: Settings) -> WatchPolicy:
    names = WatchPolicy.__struct_fields__
    return WatchPolicy(**{name: getattr(settings, f"watch_{name}") for name in names})


def _engine(
    settings: Settings,
    database: Database,
    events: Events,
    scope: Scope,
    clock: Clock,
    bodies: Mapping[str, Executor],
    tools: Toolbox,
) -> tuple[LocalDriver, Runs]:
    """The run engine; whoever follows a run, and the dispatch of events, are told of each commit."""
    followers: list[Runs] = []

    def on_commit(run_ids: set[str]) -> None:
        events.wake()
        for runs in followers:
            runs.committed(run_ids)

    journal = DatabaseJournal(database, scope, on_commit)
    equipment = Equipment(journal=journal, executors=bodies, toolbox=tools, clock=clock, scope=scope)
    driver = LocalDriver(equipment, owner_name(clock, os.getpid()), settings.max_concurrent_workflows)
    runs = Runs(database, driver, clock)
    followers.append(runs)
    return driver, runs


def _gathering(
    settings: Settings,
    database: Database,
    sources: Sources,
    delivery: Delivery,
    incidents: Incidents,
    engine: ContainerEngine,
) -> Gathering:
    images = BaseImages(python=settings.container_python_image, node=settings.container_node_image)
    return Gathering(
        sources=sources,
        delivery=delivery,
        incidents=incidents,
        containing=Containing(sources, images, engine, settings.container_registry, settings.container_address),
        bundles=settings.home / "bundles",
        watch=_watch_policy(settings),
        command_timeout_s=float(settings.task_timeout_s),
        pinned=PinnedWayBack(database),
    )
