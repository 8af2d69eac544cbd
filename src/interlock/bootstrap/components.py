"""What ``/ready`` asks: each part tells whether it works."""

import asyncio
from typing import Any

from interlock.adapters.caddy.forwarder import CaddyForwarder
from interlock.adapters.prometheus.source import PrometheusSource
from interlock.core.errors import InterlockError
from interlock.core.scope import Scope
from interlock.delivery.service import Delivery
from interlock.events.service import Events
from interlock.runs.driver import LocalDriver
from interlock.settings import Settings
from interlock.tools.containers.ports import ContainerEngine

PING_S = 5.0


def components(
    scope: Scope, driver: LocalDriver, forwarder: CaddyForwarder, delivery: Delivery, events: Events
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


def containers_component(scope: Scope, delivery: Delivery, containers: ContainerEngine) -> dict[str, Any]:
    async def engine() -> dict[str, Any]:
        """Optional: without it no container can be seen, started or stopped, and everything else goes on."""
        _, serving = await delivery.standing(scope)
        used = sum(len(item.instances) for item in serving.values() if item.target == "container")
        told = {"optional": True, "containers": used}
        if not used:
            return told | {"ok": True}
        try:
            async with asyncio.timeout(PING_S):
                await containers.ping()
        except (InterlockError, TimeoutError):
            return told | {"ok": False, "problem": "no answer"}
        return told | {"ok": True}

    return {"containers": engine}


def metrics_component(settings: Settings, metrics: PrometheusSource) -> dict[str, Any]:
    async def prometheus() -> dict[str, Any]:
        """Optional: without Prometheus only the checks that query it are inconclusive."""
        measured = await metrics.query("vector(1)")
        return (
            {"ok": True, "optional": True} if measured.value == 1 else {"ok": False, "optional": True, "problem": "no answer"}
        )

    return {"prometheus": prometheus} if settings.prometheus_url else {}
