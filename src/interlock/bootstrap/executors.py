"""The executors of this control plane, by the kind of task that they carry out."""

from interlock.core.clock import Clock
from interlock.delivery.incidents.record import Incidents
from interlock.delivery.judging.probing import Observer
from interlock.delivery.judging.signals import SignalSources
from interlock.delivery.ports import Forwarder
from interlock.delivery.service import Delivery
from interlock.delivery.steps.analysing import Analysing
from interlock.delivery.steps.building import Building
from interlock.delivery.steps.drilling import Drilling
from interlock.delivery.steps.mending import Mending
from interlock.delivery.steps.promoting import Promoting
from interlock.delivery.steps.recovery import Recovery
from interlock.delivery.steps.starting import Starting
from interlock.delivery.steps.traffic import Drain, Traffic
from interlock.delivery.steps.verifying import Verifying
from interlock.delivery.steps.watching import Watching
from interlock.runs.ports import Executor


def executors(
    delivery: Delivery,
    incidents: Incidents,
    observer: Observer,
    sources: SignalSources,
    forwarder: Forwarder,
    clock: Clock,
) -> dict[str, Executor]:
    """Every kind of task that a plan may hold."""
    drain, targets = Drain(forwarder, clock), sources.targets
    building = Building(delivery, clock)
    starting = Starting(delivery, incidents, clock)
    verifying = Verifying(delivery, incidents, targets, clock)
    traffic = Traffic(delivery, incidents, starting, drain)
    watching = Watching(delivery, incidents, observer, clock)
    analysing = Analysing(delivery, incidents, observer, sources, clock)
    recovery = Recovery(delivery, incidents, starting, targets, drain)
    drilling = Drilling(delivery, starting)
    promoting = Promoting(delivery, incidents)
    mending = Mending(delivery, incidents, starting, targets)
    return {
        "delivery.checkout": building.checkout,
        "delivery.discard_build": building.discard,
        "delivery.command": building.command,
        "delivery.image": building.image,
        "delivery.container_command": building.container_command,
        "delivery.push": building.push,
        "delivery.release": building.release,
        "delivery.migrate": building.migrate,
        "delivery.pause": starting.pause,
        "delivery.start": starting.start,
        "delivery.verify": verifying.verify,
        "delivery.smoke": verifying.smoke,
        "delivery.shift": traffic.shift,
        "delivery.switch": traffic.switch,
        "delivery.thin": traffic.thin,
        "delivery.retire": traffic.retire,
        "delivery.analyse": analysing.analyse,
        "delivery.watch": watching.watch,
        "delivery.discard": recovery.discard,
        "delivery.restore": recovery.restore,
        "delivery.settle": recovery.settle,
        "delivery.take_out": recovery.take_out,
        "delivery.drill_check": drilling.check,
        "delivery.drill_start": drilling.start,
        "delivery.drill_end": drilling.end,
        "delivery.confirm": promoting.confirm,
        "delivery.mend": mending.mend,
        "delivery.lead": mending.lead,
        "delivery.clear": mending.clear,
    }
