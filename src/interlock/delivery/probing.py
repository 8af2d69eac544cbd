"""Looking at a deployment: its process, its health check, the forwarder's numbers."""

from interlock.core.clock import Clock
from interlock.core.errors import Unavailable
from interlock.delivery.model import Deployment, Observed, judge_health
from interlock.delivery.ports import Forwarder, LegCounters
from interlock.delivery.watch import Sample
from interlock.sources.model import HealthCheck
from interlock.tools.ports import Host, HttpClient


class Observer:
    """Reads the world; changes nothing."""

    def __init__(self, host: Host, forwarder: Forwarder, http: HttpClient, clock: Clock) -> None:
        self._host = host
        self._forwarder = forwarder
        self._http = http
        self._clock = clock

    async def sample(self, route: str, process: str, port: int | None, health: HealthCheck | None) -> Sample:
        """One look at a serving deployment."""
        status = await self._host.status(process)
        counters = await self._counters(route) if port is not None else None
        # What was not stopped by its own fault says nothing against the release.
        is_lost = status.state in {"lost", "absent"} or (status.state == "exited" and status.reason == "stopped")
        seen = status.state != "unknown" and not is_lost
        return Sample(
            at_s=self._clock.monotonic(),
            counters=counters,
            healthy=await self._answers(port, health),
            is_running=status.state in {"running", "starting"} if seen else None,
            restarts=status.restarts if seen else None,
            is_lost=is_lost,
        )

    async def observe(self, deployment: Deployment, health: HealthCheck | None) -> Observed:
        """What is true of a deployment now, whatever its record says."""
        status = await self._host.status(deployment.process)
        answers = await self._answers(deployment.port, health) if status.state == "running" else None
        verdict, reason = judge_health(process=status.state, answers=answers, has_check=health is not None)
        try:
            leg = await self._forwarder.read(f"{deployment.service}.{deployment.environment}", "stable")
        except Unavailable as error:
            leg, verdict, reason = None, "unknown", f"the forwarder does not answer: {error.message}"
        routed = deployment.port is None or (leg is not None and leg.upstream_port == deployment.port)
        return Observed(health=verdict, process=status.state, restarts=status.restarts, routed=routed, reason=reason)

    async def _answers(self, port: int | None, health: HealthCheck | None) -> bool | None:
        if port is None or health is None:
            return None
        answer = await self._http.get(f"http://127.0.0.1:{port}{health.path}", timeout_s=health.timeout_s)
        return 200 <= answer.status < 300

    async def _counters(self, route: str) -> LegCounters | None:
        try:
            return await self._forwarder.measure(route, "stable")
        except Unavailable:
            return None
