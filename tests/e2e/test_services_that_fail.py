"""Services on their bad days: a failed candidate never takes the old one down, and nothing that was started stays behind."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.plane import Plane
from harness.ports import free_port
from harness.sample import MODULE, Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMPATIENT = {"health": MODULE["health"] | {"start_timeout": 1}}
FIXED_PORT = {"start": "python3 -I service.py 0"}


def tasks(run: dict[str, Any]) -> dict[str, str]:
    return {task["id"]: task["status"] for task in run["tasks"]}


def task(run: dict[str, Any], task_id: str) -> dict[str, Any]:
    return next(item for item in run["tasks"] if item["id"] == task_id)


async def process_states(plane: Plane, run: dict[str, Any]) -> set[str]:
    """States of all service processes that the run started."""
    keys = [effect["key"] for effect in run["effects"] if effect["tool"] == "process.start"]
    return {(await plane.host.status(key)).state for key in keys}


async def deployment_states(plane: Plane, sample: Sample) -> dict[str, str]:
    found = (await plane.get("/deployments", params={"service": sample.name}))["items"]
    return {item["version"]: item["state"] for item in found}


class TestCandidates:
    async def test_one_that_never_gets_healthy_is_discarded_and_the_old_one_serves_on(
        self, plane: Plane, sample: Sample
    ) -> None:
        sample.release("v1.0.0")
        sample.release("v1.1.0", IMPATIENT, unhealthy=True)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        async with plane.traffic(sample) as answers:
            run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("failed", "not_healthy")
        assert "status 500" in run["error"]["message"]
        assert "started v1.1.0" in run["error"]["tail"]
        assert tasks(run)["discard-staging"] == "completed"
        assert tasks(run)["switch-staging"] == tasks(run)["restore-staging"] == "skipped"
        assert set(answers) == {(200, "v1.0.0")}
        assert await process_states(plane, run) == {"exited"}
        assert await deployment_states(plane, sample) == {"v1.0.0": "good", "v1.1.0": "failed"}
        assert await plane.incidents(sample) == []

    async def test_one_that_exits_at_once_is_discarded_with_its_exit_code(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0")
        sample.release("v1.1.0", exits_at_once=True)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("failed", "not_healthy")
        assert "did not stay up" in run["error"]["message"]
        assert "started v1.1.0" in run["error"]["tail"]
        assert await process_states(plane, run) == {"exited"}
        assert await plane.ask(sample) == (200, "v1.0.0")

    async def test_a_start_command_that_is_no_program_is_said_so(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", {"start": "no-such-program-here {port}"})
        await plane.add(sample)
        run = await plane.do(f"deploy {sample.name} v1.0.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("failed", "not_started")
        assert "no-such-program-here" in run["error"]["message"] + run["error"].get("tail", "")
        assert await plane.serving(sample) is None

    async def test_a_first_deployment_that_fails_its_watch_is_taken_out(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", {"watch": MODULE["watch"] | {"window": "20s"}}, fail_every=2)
        await plane.add(sample)
        run_id = await plane.begin(f"deploy {sample.name} v1.0.0 to staging")
        await plane.task_runs(run_id, "watch-staging")
        async with plane.traffic(sample):
            run = await plane.ended(run_id)
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "threshold_crossed")
        assert await plane.serving(sample) is None
        status, _ = await plane.ask(sample)
        assert status == 503
        assert await process_states(plane, run) == {"exited"}
        (incident,) = await plane.incidents(sample)
        assert incident["state"] == "resolved"
        assert "taken out of traffic" in incident["timeline"][-1][1]
        assert await plane.state(run["plan_id"]) == "rolled_back"

    async def test_one_that_ignores_sigterm_is_killed_after_its_grace(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", ignores_sigterm=True)
        sample.release("v1.1.0")
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        before = await plane.serving(sample)
        assert before is not None
        run = await plane.deploy(sample, "v1.1.0")
        status = await plane.host.status(before["instances"][0]["key"])
        assert (status.state, status.reason) == ("exited", "stopped")
        assert "told to stop" in (await plane.host.log(before["instances"][0]["key"])).text
        assert task(run, "retire-staging")["duration_s"] > 10
        assert await plane.ask(sample) == (200, "v1.1.0")


class TestBreaches:
    """Each with a window that only a breach ends before the test's patience is over."""

    @pytest.mark.parametrize(
        ("watch", "told", "words"),
        [
            ({"error_rate": "20%"}, {"fail_every": 2}, "requests failed"),
            ({"p95_ms": 50}, {"slow_ms": 150}, "95 % of"),
            ({"health_failures": 2}, {"unhealthy": True}, "the health check failed 2 times"),
        ],
        ids=["error-rate", "p95", "health"],
    )
    async def test_a_crossed_threshold_brings_the_old_one_back(
        self, plane: Plane, sample: Sample, watch: dict[str, Any], told: dict[str, Any], words: str
    ) -> None:
        sample.release("v1.0.0")
        sample.release("v1.1.0", {"watch": MODULE["watch"] | {"window": "30s"} | watch})
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        await plane.task_runs(run_id, "watch-staging")
        async with plane.traffic(sample) as answers:
            await plane.behave(sample, **told)
            run = await plane.ended(run_id)
            after = len(answers)
            while len(answers) < after + 5:
                await plane.get("/status")
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "threshold_crossed")
        assert words in run["error"]["message"]
        assert answers[-1] == (200, "v1.0.0")
        assert {status for status, _ in answers} <= {200, 500}
        (incident,) = await plane.incidents(sample)
        crossed = [reading for reading in incident["evidence"]["readings"] if reading["crossed"]]
        assert crossed
        assert all(reading["observed"] >= reading["threshold"] for reading in crossed)
        assert incident["state"] == "resolved"
        assert await plane.state(run["plan_id"]) == "rolled_back"
        assert await deployment_states(plane, sample) == {"v1.0.0": "good", "v1.1.0": "rolled_back"}
        refused = await plane.refusal(f"deploy {sample.name} v1.1.0 to staging")
        assert (refused["code"], refused["details"]["incident_id"]) == ("quarantined", incident["incident_id"])

    async def test_restarts_are_counted(self, plane: Plane, sample: Sample) -> None:
        watch = {"window": "30s", "error_rate": "100%", "health_failures": 1000, "restarts": 2}
        sample.release("v1.0.0")
        sample.release("v1.1.0", {"watch": MODULE["watch"] | watch})
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        await plane.task_runs(run_id, "watch-staging")
        candidate = await plane.serving(sample)
        assert candidate is not None
        async with httpx.AsyncClient(trust_env=False) as http:
            while (await plane.get(f"/runs/{run_id}"))["status"] == "running":
                with suppress(httpx.TransportError):
                    await http.get(f"http://127.0.0.1:{candidate['instances'][0]['port']}/crash")
        run = await plane.ended(run_id)
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "threshold_crossed")
        assert "restarted 2 times" in run["error"]["message"]
        assert (await plane.ask(sample)) == (200, "v1.0.0")

    async def test_failed_smoke_tests_bring_the_old_one_back_and_are_all_named(self, plane: Plane, sample: Sample) -> None:
        smoke = [
            {"name": "right version", "path": "/", "expect_text": "v9"},
            {"name": "right status", "path": "/", "expect_status": 204},
            {"name": "a command", "command": "false"},
        ]
        sample.release("v1.0.0")
        sample.release("v1.1.0", {"smoke_tests": smoke})
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "smoke_tests_failed")
        for name in ("right version", "right status", "a command"):
            assert name in run["error"]["message"]
        assert await plane.ask(sample) == (200, "v1.0.0")
        assert (await plane.refusal(f"deploy {sample.name} v1.1.0 to staging"))["code"] == "quarantined"


class TestRecreate:
    """A service that takes no port."""

    @pytest.fixture
    def module(self) -> dict[str, Any]:
        port = free_port()
        return {"start": f"python3 -I service.py {port}", "port": port}

    async def test_it_says_so_on_the_plan_and_replaces_with_a_short_downtime(
        self, plane: Plane, sample: Sample, module: dict[str, Any]
    ) -> None:
        sample.release("v1.0.0", module)
        sample.release("v1.1.0", module)
        await plane.add(sample)
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        findings = {finding["code"]: finding for finding in plan["findings"]}
        assert "no candidate check" in findings["no_port"]["message"]
        assert "short downtime" in findings["no_port"]["message"]
        await plane.deploy(sample, "v1.0.0")
        before = await plane.serving(sample)
        await plane.deploy(sample, "v1.1.0")
        after = await plane.serving(sample)
        assert before is not None
        assert after is not None
        assert (after["version"], after["observed"]["health"]) == ("v1.1.0", "healthy")
        assert (await plane.host.status(before["instances"][0]["key"])).state == "exited"
        assert await deployment_states(plane, sample) == {"v1.0.0": "retired", "v1.1.0": "good"}

    async def test_the_old_one_comes_back_when_the_new_one_fails(
        self, plane: Plane, sample: Sample, module: dict[str, Any]
    ) -> None:
        sample.release("v1.0.0", module)
        sample.release("v1.1.0", module, exits_at_once=True)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert run["status"] == "rolled_back", run["error"]
        assert tasks(run)["take-out-staging"] == "completed"
        serving = await plane.serving(sample)
        assert serving is not None
        assert (serving["version"], serving["state"], serving["observed"]["health"]) == ("v1.0.0", "good", "healthy")
        states = [
            (item["version"], item["state"])
            for item in (await plane.get("/deployments", params={"service": sample.name}))["items"]
        ]
        assert states == [("v1.0.0", "good"), ("v1.1.0", "failed"), ("v1.0.0", "retired")]
        assert await plane.inbox(sample) == []
        # And what came back is one that the next deployment can build on.
        sample.release("v1.2.0", module)
        await plane.deploy(sample, "v1.2.0")

    async def test_asked_for_it_works_for_a_service_with_a_port_too(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", {"deploy": {"strategy": "recreate"}})
        sample.release("v1.1.0", {"deploy": {"strategy": "recreate"}} | IMPATIENT, unhealthy=True)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert run["status"] == "rolled_back", run["error"]
        assert await plane.ask(sample) == (200, "v1.0.0")
        assert os.path.isdir(Path(plane.home, "bundles", sample.name))
