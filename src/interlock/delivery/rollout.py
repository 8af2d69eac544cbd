"""Executors that bring a release into service: start, verify, switch, smoke-test, watch, retire.

The candidate is verified behind the forwarder's candidate leg before traffic moves; a failed candidate never takes the old
one down.
"""

import asyncio
from typing import Any

import msgspec

from interlock.core.canonical import digest
from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, InterlockError
from interlock.core.signals import NeedsApproval
from interlock.delivery.evidence import told
from interlock.delivery.incidents import Incidents
from interlock.delivery.inputs import (
    Place,
    ProcessPlan,
    SmokeTask,
    Started,
    StartTask,
    StopTask,
    SwitchTask,
    VerifyTask,
    WatchTask,
    read,
)
from interlock.delivery.model import Deployment
from interlock.delivery.naming import any_free_port
from interlock.delivery.ports import LegCounters
from interlock.delivery.probing import Observer
from interlock.delivery.service import Delivery
from interlock.delivery.watch import Judgement, Sample, Thresholds, judge, merge
from interlock.runs.ports import TaskContext
from interlock.sources.model import SmokeTest
from interlock.tools.ports import Host

PORT_TRIES = 5
STABLE_S = 3.0
"""How long a service without a port has to run before it counts as started."""
POLL_S = 0.2
NO_TRAFFIC = LegCounters(generation="none", requests=0, server_errors=0, buckets={})
UNWATCHABLE_LIMIT = 5
"""Looks in a row without a verdict at the end of a watch before a person is asked."""


class Rollout:
    """The executors of a roll-out, on one host."""

    def __init__(self, delivery: Delivery, incidents: Incidents, observer: Observer, host: Host, clock: Clock) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._observer = observer
        self._host = host
        self._clock = clock

    # --- start ---

    async def _check_expected(self, context: TaskContext, place: Place, expects: str) -> None:
        serving = await self._delivery.serving(context.scope, place.service, place.environment)
        if (serving.deployment_id if serving else "") != expects:
            now = f"{serving.version} ({serving.deployment_id})" if serving else "nothing"
            raise Conflict("environment_changed", f"{now} serves in {place.environment} by now", hint="make a new plan")

    async def pause(self, context: TaskContext) -> dict[str, Any]:
        """Recreate: stop what serves before the new one starts. It stays on the record as what a failure goes back to."""
        task: StopTask = read(StopTask, context.inputs)
        await self._check_expected(context, task.place, task.expects)
        if task.deployment_id is not None:
            # Said first: nobody may take the end of its process for a failure.
            await self._delivery.change(context.scope, task.deployment_id, "paused", "another one is to take its place")
            await self.stop_process(context, task.deployment_id)
        return {"stopped": task.deployment_id}

    async def start(self, context: TaskContext) -> dict[str, Any]:
        """Start the candidate beside what serves. Refuses when the environment is no longer what the plan was made against."""
        task: StartTask = read(StartTask, context.inputs)
        await self._check_expected(context, task.place, task.expects)
        release = await self._delivery.release(context.scope, task.release_id)
        await self._incidents.check_not_quarantined(context.scope, release.service, release.content)
        started = await self.start_process(context, task.release_id, task.process)
        deployment = Deployment(
            deployment_id=started.deployment_id,
            service=task.place.service,
            environment=task.place.environment,
            release_id=release.release_id,
            version=release.version,
            state="starting",
            process=started.process,
            port=started.port,
            plan_id=context.run.plan_id,
            run_id=context.run.run_id,
            watch=task.watch,
            started_at=to_text(self._clock.now()),
        )
        # Recorded even when the run is cancelled in this moment: what runs has to be found by whoever brings things back.
        await asyncio.shield(self._delivery.record_deployment(context.scope, deployment))
        return msgspec.to_builtins(started)

    async def candidate(self, context: TaskContext, place: Place, deployment_id: str | None) -> Deployment | None:
        """The deployment with this id; without one, what this run has started in the place and never led traffic to."""
        if deployment_id is not None:
            return await self._delivery.deployment(context.scope, deployment_id)
        recent = await self._delivery.deployments(context.scope, place.service, place.environment)
        return next((item for item in recent if item.run_id == context.run.run_id and item.state == "starting"), None)

    async def start_process(self, context: TaskContext, release_id: str, process: ProcessPlan) -> Started:
        """Start a release on a port that is free, trying others when somebody is quicker."""
        release = await self._delivery.release(context.scope, release_id)
        await self._delivery.check_intact(release)
        # Derived, so that the same task names the same deployment when it is repeated after a crash.
        deployment_id = "dep_" + digest([context.run.run_id, context.task_id])[7:19]
        for number in range(1, PORT_TRIES + 1):
            arguments: dict[str, Any] = {
                "commands": process.commands,
                "folder": process.folder,
                "environment": process.environment,
                "secrets": process.secrets,
                "port": any_free_port() if process.takes_port else None,
            }
            try:
                output = await context.call("process.start", arguments, name=f"start-{number}")
            except Conflict as error:
                if error.code != "port_taken" or number == PORT_TRIES:
                    raise
                await context.report(f"{error.message}; trying another port")
                continue
            return Started(deployment_id=deployment_id, process=output["key"], port=output["port"])
        raise AssertionError("unreachable")

    # --- verify ---

    async def verify(self, context: TaskContext) -> dict[str, Any]:
        """Wait until the candidate is healthy behind the candidate leg. Raises Conflict ``not_healthy`` with what was seen."""
        task: VerifyTask = read(VerifyTask, context.inputs)
        if task.process is None:
            return {"checked": "nothing"}
        restarts = await self._restarts_so_far(context, task)
        if task.port is None:
            return await self._verify_by_staying(context, task.process, restarts)
        await self._point(context, task.place, "candidate", task.port)
        health = task.health
        path = health.path if health else "/"
        needed, interval_s = (health.healthy_after, health.interval_s) if health else (1, POLL_S)
        deadline = self._clock.monotonic() + (health.start_timeout_s if health else 60.0)
        good, seen = 0, "no answer yet"
        while good < needed:
            good, seen = await self._look(context, task, path, good, is_strict=health is not None)
            await self._check_alive(task.process, restarts)
            if good == 0 and self._clock.monotonic() > deadline:
                tail = (await self._host.log(task.process, -2000)).text
                raise Conflict("not_healthy", f"the candidate did not get healthy: {seen}", where=context.task_id, tail=tail)
            if good < needed:
                await asyncio.sleep(min(interval_s, POLL_S) if good == 0 else interval_s)
        await context.report(f"healthy behind the candidate leg ({good} good answers in a row)")
        return {"checked": f"GET {path} through port {task.place.candidate_port}"}

    async def _look(self, context: TaskContext, task: VerifyTask, path: str, good: int, *, is_strict: bool) -> tuple[int, str]:
        timeout_s = task.health.timeout_s if task.health else 2.0
        arguments: dict[str, Any] = {"url": task.place.url("candidate", path), "timeout_s": timeout_s}
        try:
            await context.call("http.check", arguments)
        except Conflict as error:
            # Without a declared check any answer of the service itself will do; 502 and 503 are the forwarder's own.
            is_answer = (
                not is_strict
                and "status" in error.message
                and not any(f"status {code}" in error.message for code in (502, 503))
            )
            return (good + 1, error.message) if is_answer else (0, error.message)
        return good + 1, "healthy"

    async def _restarts_so_far(self, context: TaskContext, task: VerifyTask) -> int:
        """A candidate must not have been restarted at all; one that has served before may have been, some time."""
        if task.process is None or task.deployment_id is None:
            return 0
        deployment = await self._delivery.deployment(context.scope, task.deployment_id)
        return 0 if deployment.state == "starting" else (await self._host.status(task.process)).restarts

    async def _check_alive(self, process: str, restarts: int) -> None:
        status = await self._host.status(process)
        if status.state not in {"running", "starting"} or status.restarts > restarts:
            tail = (await self._host.log(process, -2000)).text
            ending = status.message or status.reason or f"it ended and was restarted {status.restarts} times"
            raise Conflict("not_healthy", f"the candidate did not stay up: {ending}", tail=tail, exit_code=status.exit_code)

    async def _verify_by_staying(self, context: TaskContext, process: str, restarts: int) -> dict[str, Any]:
        deadline = self._clock.monotonic() + STABLE_S
        while self._clock.monotonic() < deadline:
            await self._check_alive(process, restarts)
            await asyncio.sleep(POLL_S)
        await context.report(f"it takes no port; it has run for {STABLE_S:g} s")
        return {"checked": f"ran for {STABLE_S:g} s"}

    # --- switch ---

    async def switch(self, context: TaskContext) -> dict[str, Any]:
        """Lead the traffic to a verified deployment, or to nothing. What it leaves keeps running."""
        task: SwitchTask = read(SwitchTask, context.inputs)
        if task.stays:
            return {}
        if task.fallback:
            await self._delivery.check_intact(await self._delivery.release(context.scope, task.fallback))
        target = task.deployment_id or ""
        serving = await self._delivery.serving(context.scope, task.place.service, task.place.environment)
        # Its own earlier try may have switched already; anybody else's change is not what was approved.
        if task.expects is not None and (serving.deployment_id if serving else "") != target:
            await self._check_expected(context, task.place, task.expects)
        if task.takes_port:
            await self._point(context, task.place, "stable", task.port)
        await self._delivery.switch(context.scope, task.place.service, task.place.environment, target, "traffic was led to it")
        await context.report(f"traffic goes to {target or 'nothing'}", url=task.place.url("stable"))
        return {"url": task.place.url("stable")}

    async def _point(self, context: TaskContext, place: Place, kind: str, port: int | None) -> None:
        arguments: dict[str, Any] = {
            "route": place.route,
            "kind": kind,
            "listen_port": place.stable_port if kind == "stable" else place.candidate_port,
            "upstream_port": port,
        }
        await context.call("forwarder.point", arguments, name=f"point-{kind}")

    # --- smoke tests ---

    async def smoke(self, context: TaskContext) -> dict[str, Any]:
        """Run all smoke tests, then fail with all that failed, so that one repair can mend them."""
        task: SmokeTask = read(SmokeTask, context.inputs)
        failures: list[str] = []
        for test in task.tests:
            try:
                await self._smoke_one(context, task, test)
                await context.report(f"smoke test passed: {test.name}")
            except InterlockError as error:
                failures.append(f"{test.name}: {error.message}")
                await context.report(f"smoke test failed: {test.name}", error=error.as_dict())
        if failures:
            if task.deployment_id:
                deployment = await self._delivery.deployment(context.scope, task.deployment_id)
                await self._incidents.open(context.scope, deployment, "smoke tests failed", {"smoke_tests": failures})
            raise Conflict("smoke_tests_failed", "; ".join(failures), where=context.task_id)
        return {"passed": [test.name for test in task.tests]}

    async def _smoke_one(self, context: TaskContext, task: SmokeTask, test: SmokeTest) -> None:
        if test.path is not None:
            arguments: dict[str, Any] = {"url": f"http://127.0.0.1:{task.port}{test.path}", "expect_status": test.expect_status}
            await context.call("http.check", arguments | ({"expect_text": test.expect_text} if test.expect_text else {}))
        elif test.command is not None:
            commands = [list(argv) for argv in test.command.on_port(task.port)]
            arguments = {"commands": commands, "folder": task.folder, "environment": task.environment, "timeout_s": 300.0}
            output = await context.call("command.run", arguments, name=f"smoke-{task.tests.index(test) + 1}")
            if test.expect_text and test.expect_text not in output["tail"]:
                raise Conflict("check_failed", f"{test.expect_text!r} is not in its output")

    # --- watch ---

    async def watch(self, context: TaskContext) -> dict[str, Any]:
        """Watch until the window is over. Raises Conflict ``threshold_crossed`` and opens an incident when it turns bad; asks a
        person where it cannot be told."""
        task: WatchTask = read(WatchTask, context.inputs)
        deployment = await self._delivery.deployment(context.scope, task.deployment_id)
        thresholds = merge(deployment.watch)
        samples: list[Sample] = []
        end = self._clock.monotonic() + thresholds.window_s
        unclear = 0
        while True:
            samples.append(await self._observer.sample(task.place.route, task.process, task.port, task.health))
            judgement = self._judge(samples, thresholds, task)
            if judgement.verdict == "breach":
                raise await self._breach(context, deployment, judgement, samples)
            is_over = self._clock.monotonic() >= end
            unclear = unclear + 1 if is_over and judgement.verdict == "inconclusive" else 0
            if is_over and judgement.verdict == "pass":
                return await self._passed(context, deployment, judgement)
            if unclear >= UNWATCHABLE_LIMIT:
                if context.answer == "continue":
                    return await self._passed(context, deployment, judgement)
                raise self._stopped_or_asks(context, judgement)
            await asyncio.sleep(thresholds.interval_s)

    def _judge(self, samples: list[Sample], thresholds: Thresholds, task: WatchTask) -> Judgement:
        # A service without a port has no counters, and that is known, not unclear.
        relevant = samples if task.port is not None else [msgspec.structs.replace(s, counters=NO_TRAFFIC) for s in samples]
        return judge(relevant, thresholds, has_health_check=task.health is not None and task.port is not None)

    def _stopped_or_asks(self, context: TaskContext, judgement: Judgement) -> Exception:
        evidence = msgspec.to_builtins(judgement)
        if context.answer == "stop":
            return Conflict("stopped_by_person", f"a person stopped here: {judgement.reason()}", evidence=evidence)
        return NeedsApproval(f"The watch cannot tell: {judgement.reason()}. Go on?", ("continue", "stop"), evidence)

    async def _passed(self, context: TaskContext, deployment: Deployment, judgement: Judgement) -> dict[str, Any]:
        await self._delivery.change(context.scope, deployment.deployment_id, "good", "the watch passed")
        traffic = f"{judgement.requests} requests" if judgement.requests else "no traffic; judged by process and health alone"
        await context.report(f"the watch passed ({traffic})", judgement=msgspec.to_builtins(judgement))
        return {"judgement": msgspec.to_builtins(judgement)}

    async def _breach(
        self, context: TaskContext, deployment: Deployment, judgement: Judgement, samples: list[Sample]
    ) -> Exception:
        evidence = msgspec.to_builtins(judgement)
        title = f"{deployment.service} {deployment.version} in {deployment.environment}: {judgement.reason()}"
        incident = await self._incidents.open(context.scope, deployment, title, evidence | {"samples": told(samples)})
        await context.report(f"incident {incident.incident_id}: {judgement.reason()}", judgement=evidence)
        return Conflict(
            "threshold_crossed", judgement.reason(), where=context.task_id, incident_id=incident.incident_id, evidence=evidence
        )

    # --- retire ---

    async def retire(self, context: TaskContext) -> dict[str, Any]:
        """Stop a deployment that traffic has left, and free the candidate leg."""
        task: StopTask = read(StopTask, context.inputs)
        if task.takes_port:
            await self._point(context, task.place, "candidate", None)
        if task.deployment_id is None:
            return {"stopped": None}
        await asyncio.sleep(task.drain_s)
        await self.stop_process(context, task.deployment_id)
        state: Any = task.state
        await self._delivery.change(context.scope, task.deployment_id, state, task.reason)
        incident = await self._incidents.open_for(context.scope, task.deployment_id)
        if incident is not None:
            await self._incidents.resolve(context.scope, incident.incident_id, task.reason)
        return {"stopped": task.deployment_id}

    async def stop_process(self, context: TaskContext, deployment_id: str) -> None:
        """Stop the process of a deployment, if it ever had one."""
        deployment = await self._delivery.deployment(context.scope, deployment_id)
        if deployment.process:
            output = await context.call("process.stop", {"key": deployment.process}, name="stop")
            await context.report(f"{deployment.version} stopped ({output['reason'] or 'ended before'})")
