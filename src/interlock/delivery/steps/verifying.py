"""Executors that check a deployment from outside: is it healthy, do its smoke tests pass."""

import asyncio
from typing import Any

from interlock.core.clock import Clock
from interlock.core.errors import Conflict, InterlockError, Unavailable
from interlock.delivery.incidents.record import Incidents, verdict_of
from interlock.delivery.model import Deployment, Instance, addresses_of, evenly
from interlock.delivery.service import Delivery
from interlock.delivery.steps.inputs import SmokeTask, VerifyTask, read
from interlock.delivery.steps.traffic import point
from interlock.delivery.targets import Targets
from interlock.runs.ports import TaskContext
from interlock.sources.model import Command, SmokeTest

STABLE_S = 3.0
"""How long a service without a port has to run before it counts as started."""
POLL_S = 0.2


class Verifying:
    """``delivery.verify`` and ``delivery.smoke``."""

    def __init__(self, delivery: Delivery, incidents: Incidents, targets: Targets, clock: Clock) -> None:
        self._delivery = delivery
        self._incidents = incidents
        self._targets = targets
        self._clock = clock

    # --- verify ---

    async def verify(self, context: TaskContext) -> dict[str, Any]:
        """Wait until each instance of the candidate is healthy behind the candidate leg, which leads to all of them then.

        Raises Conflict ``not_healthy`` with what was seen.
        """
        task: VerifyTask = read(VerifyTask, context.inputs)
        if not task.instances or task.deployment_id is None:
            return {"checked": "nothing"}
        deployment = await self._delivery.deployment(context.scope, task.deployment_id)
        for number, instance in enumerate(task.instances, 1):
            restarts = await self._restarts_so_far(deployment, instance)
            if instance.port is None:
                await self._verify_by_staying(context, deployment, instance, restarts)
            else:
                await point(
                    context, task.place, "candidate", evenly(addresses_of([instance])), name=f"point-candidate-{number}"
                )
                await self._verify_by_asking(context, task, deployment, instance, restarts)
        if len(task.instances) > 1:
            await point(context, task.place, "candidate", evenly(addresses_of(task.instances)), name="point-candidate-all")
        path = task.health.path if task.health else "/"
        asked = f"GET {path} through port {task.place.candidate_port}"
        return {"checked": asked if deployment.addresses else f"ran for {STABLE_S:g} s"}

    async def _verify_by_asking(
        self, context: TaskContext, task: VerifyTask, deployment: Deployment, instance: Instance, restarts: int
    ) -> None:
        health = task.health
        needed, interval_s = (health.healthy_after, health.interval_s) if health else (1, POLL_S)
        deadline = self._clock.monotonic() + (health.start_timeout_s if health else 60.0)
        good, seen = 0, "no answer yet"
        while good < needed:
            good, seen = await self._look(context, task, good)
            await self._check_alive(deployment, instance, restarts)
            if good == 0 and self._clock.monotonic() > deadline:
                tail = (await self._targets.of(deployment.target).log(instance.key, -2000)).text
                raise Conflict("not_healthy", f"the candidate did not get healthy: {seen}", where=context.task_id, tail=tail)
            if good < needed:
                await asyncio.sleep(min(interval_s, POLL_S) if good == 0 else interval_s)
        await context.report(f"healthy behind the candidate leg ({good} good answers in a row)")

    async def _look(self, context: TaskContext, task: VerifyTask, good: int) -> tuple[int, str]:
        path, timeout_s = (task.health.path, task.health.timeout_s) if task.health else ("/", 2.0)
        arguments: dict[str, Any] = {"url": task.place.url("candidate", path), "timeout_s": timeout_s}
        try:
            await context.call("http.check", arguments)
        except Conflict as error:
            is_good = _is_good(error.details.get("status", 0), has_check=task.health is not None)
            return (good + 1, "healthy") if is_good else (0, error.message)
        return good + 1, "healthy"

    async def _restarts_so_far(self, deployment: Deployment, instance: Instance) -> int:
        """A candidate must not have been restarted at all; one that has served before may have been, some time."""
        if deployment.state in {"starting", "drilling"}:
            return 0
        return (await self._targets.of(deployment.target).status(instance.key)).restarts

    async def _check_alive(self, deployment: Deployment, instance: Instance, restarts: int) -> None:
        workloads = self._targets.of(deployment.target)
        status = await workloads.status(instance.key)
        if status.state == "unknown":
            # Nothing is said of the candidate: it is looked at again.
            message = f"the candidate cannot be observed: {status.message}"
            raise Unavailable("not_observed", message, where=instance.key)
        if status.state not in {"running", "starting"} or status.restarts > restarts:
            tail = (await workloads.log(instance.key, -2000)).text
            ending = status.message or status.reason or f"it ended and was restarted {status.restarts} times"
            raise Conflict("not_healthy", f"the candidate did not stay up: {ending}", tail=tail, exit_code=status.exit_code)

    async def _verify_by_staying(self, context: TaskContext, deployment: Deployment, instance: Instance, restarts: int) -> None:
        deadline = self._clock.monotonic() + STABLE_S
        while self._clock.monotonic() < deadline:
            await self._check_alive(deployment, instance, restarts)
            await asyncio.sleep(POLL_S)
        await context.report(f"it takes no port; it has run for {STABLE_S:g} s")

    # --- smoke tests ---

    async def smoke(self, context: TaskContext) -> dict[str, Any]:
        """Run all smoke tests, then fail with all that failed, so that one repair can mend them. Raises Conflict
        ``smoke_tests_failed``, and Unavailable where one could not be run, which says nothing of the release."""
        task: SmokeTask = read(SmokeTask, context.inputs)
        if task.deployment_id and (incident := await self._incidents.found_by_run(context.scope, task.deployment_id)):
            raise verdict_of(incident, "smoke_tests_failed", context.task_id)
        failures: list[str] = []
        not_run: Unavailable | None = None
        for test in task.tests:
            try:
                await self._smoke_one(context, task, test)
                await context.report(f"smoke test passed: {test.name}")
            except Unavailable as error:
                not_run = not_run or error
                await context.report(f"smoke test could not be run: {test.name}", error=error.as_dict())
            except InterlockError as error:
                failures.append(f"{test.name}: {error.message}")
                await context.report(f"smoke test failed: {test.name}", error=error.as_dict())
        if not_run is not None and not failures:
            raise not_run
        if not failures:
            return {"passed": [test.name for test in task.tests]}
        reason = "; ".join(failures)
        if task.deployment_id:
            deployment = await self._delivery.deployment(context.scope, task.deployment_id)
            title = f"{deployment.place}: smoke tests failed: {reason}"
            await self._incidents.open(context.scope, deployment, title, {"smoke_tests": failures})
        raise Conflict("smoke_tests_failed", reason, where=context.task_id)

    async def _smoke_one(self, context: TaskContext, task: SmokeTask, test: SmokeTest) -> None:
        if test.path is not None:
            arguments: dict[str, Any] = {"url": f"http://127.0.0.1:{task.port}{test.path}", "expect_status": test.expect_status}
            await context.call("http.check", arguments | ({"expect_text": test.expect_text} if test.expect_text else {}))
        elif test.command is not None:
            tool, arguments = _command(task, test.command)
            output = await context.call(tool, arguments, name=f"smoke-{task.tests.index(test) + 1}")
            if test.expect_text and test.expect_text not in output["tail"]:
                raise Conflict("check_failed", f"{test.expect_text!r} is not in its output")


def _is_good(status: int, *, has_check: bool) -> bool:
    """A health check is answered 2xx. Without a declared one any answer of the service itself will do; 502 and 503 are the
    forwarder's own, and 0 is none."""
    return 200 <= status < 300 if has_check else status not in {0, 502, 503}


def _command(task: SmokeTask, command: Command) -> tuple[str, dict[str, Any]]:
    """The call that runs a command: beside a process on the host, beside a container in its image and its network."""
    port = task.inside.port or task.port if task.inside else task.port
    commands = [list(argv) for argv in command.on_port(port)]
    common: dict[str, Any] = {"commands": commands, "environment": task.environment, "timeout_s": 300.0}
    if task.inside is None:
        return "command.run", common | {"folder": task.folder}
    inside = {name: getattr(task.inside, name) for name in ("image", "limits", "writable", "labels")}
    return "container.run", common | inside | {"joins": task.inside.instances[0].key}
