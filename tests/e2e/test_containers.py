"""Releases that run in containers: built, sent to a registry, rolled out, watched and taken back on a real engine."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio

from e2e.conftest import environment
from harness.containers import TestEngine, docker
from harness.plane import Plane, until
from harness.sample import MODULE, Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTAINER = {"runtime": "python", "deploy": {"target": "container", "drain": "2s"}}


def contained(**fields: Any) -> dict[str, Any]:
    """A module that runs in containers; ``fields`` of ``deploy`` are added to its own."""
    deploy = CONTAINER["deploy"] | fields.pop("deploy", {})  # type: ignore[operator]
    return CONTAINER | {"deploy": deploy} | fields


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(container_engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    """A control plane that has the engine and the registry of the tests."""
    python = await asyncio.to_thread(container_engine.python)
    settings = {
        "container_engine": container_engine.url,
        "container_registry": container_engine.registry,
        "container_python_image": python,
    }
    secret = {"INTERLOCK_SECRET_GREETING": "open-sesame"}
    made = Plane(tmp_path_factory.mktemp("plane"), environment() | secret, **settings)
    await made.start()
    yield made
    containers = made.inside.services.targets.of("container")
    for key in await containers.list():
        await containers.stop(key, 0)
        await containers.remove(key)
    await made.stop()
    await made.clear()


@pytest.fixture
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    return Sample(tmp_path / "repositories", f"box{crc32(request.node.name.encode()) % 10**6}")


def inspect(engine: TestEngine, sample: Sample) -> list[dict[str, Any]]:
    """The engine's own words about the service's containers that run."""
    ids = docker(engine.url, "ps", "--quiet", "--no-trunc", "--filter", f"label=interlock.service={sample.name}").stdout.split()
    return json.loads(docker(engine.url, "inspect", *ids).stdout) if ids else []


def jobs(engine: TestEngine, sample: Sample) -> list[dict[str, Any]]:
    """The engine's own words about the service's containers that ran to their end."""
    filters = [f"--filter=label=interlock.service={sample.name}", "--filter=label=interlock.kind=job"]
    ids = docker(engine.url, "ps", "--all", "--quiet", "--no-trunc", *filters).stdout.split()
    return json.loads(docker(engine.url, "inspect", *ids).stdout) if ids else []


class TestRollOut:
    async def test_it_is_built_sent_to_the_registry_and_runs_closed_but_for_what_is_said(
        self, plane: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        limits = {"cpu": 0.5, "memory_mb": 128, "pids": 64}
        sample.release("v1.0.0", contained(secrets={"GREETING": "greeting"}, resources=limits))
        await plane.add(sample)
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        assert "open-sesame" not in json.dumps(plan)
        await plane.approve(plan)
        run = await plane.ended(await plane.run_of(plan["plan_id"]), 120)
        assert run["status"] == "completed", run["error"]
        assert (await plane.ask(sample)) == (200, "v1.0.0")
        (release,) = (await plane.get("/releases", params={"service": sample.name}))["items"]
        assert release["reference"].startswith(f"{container_engine.registry}/interlock/{sample.name}@sha256:")
        (found,) = await asyncio.to_thread(inspect, container_engine, sample)
        assert found["Image"] == release["image"]
        assert found["Config"]["User"] not in {"", "0", "root"}
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        assert found["HostConfig"]["CapDrop"] == ["ALL"]
        assert (found["HostConfig"]["Memory"], found["HostConfig"]["PidsLimit"]) == (128 * 1024 * 1024, 64)
        bindings = [binding for port in found["HostConfig"]["PortBindings"].values() for binding in port]
        assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]
        labels = found["Config"]["Labels"]
        assert (labels["interlock.release"], labels["interlock.environment"]) == (release["release_id"], "staging")
        assert labels["interlock.run"] == run["run_id"]
        (deployment,) = (await plane.get("/deployments", params={"service": sample.name}))["items"]
        assert [instance["identity"] for instance in deployment["instances"]] == [found["Id"]]
        assert "open-sesame" not in json.dumps([run, release, await plane.get("/deployments")])
        assert "GREETING=open-sesame" in found["Config"]["Env"]

    async def test_its_log_is_read_like_a_process_s(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", contained())
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        log = await plane.get(f"/services/{sample.name}/environments/staging/logs")
        assert "started v1.0.0" in log["pieces"][0]["text"]

    async def test_one_takes_over_from_another_and_is_taken_back_and_nothing_is_lost(
        self, plane: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        sample.release("v1.0.0", contained())
        sample.release("v1.1.0", contained())
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        async with plane.traffic(sample) as answers:
            await plane.deploy(sample, "v1.1.0")
            run = await plane.do(f"roll back {sample.name} in staging")
            await asyncio.sleep(0.2)
        assert run["status"] == "completed", run["error"]
        assert {status for status, _ in answers} == {200}
        assert answers[-1] == (200, "v1.0.0")
        assert len(await asyncio.to_thread(inspect, container_engine, sample)) == 1

    async def test_a_canary_in_a_container_that_fails_is_aborted(self, plane: Plane, sample: Sample) -> None:
        deploy = {"strategy": "canary", "steps": [{"percent": 50, "bake": 2}], "analysis": {"min_requests": 4}}
        sample.release("v1.0.0", contained(deploy=deploy))
        sample.release("v1.1.0", contained(deploy=deploy), fail_every=2)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        async with plane.traffic(sample, pause_s=0.002):
            run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "analysis_failed")
        assert (await plane.ask(sample)) == (200, "v1.0.0")

    async def test_commands_of_smoke_tests_run_in_the_image_beside_the_service_and_within_its_limits(
        self, plane: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        ask = (
            "import os, pathlib, urllib.request;"
            "print(urllib.request.urlopen(os.environ['SERVICE_URL'] + '/').read().decode(),"
            " pathlib.Path('/sys/fs/cgroup/pids.max').read_text() if pathlib.Path('/sys/fs/cgroup/pids.max').exists() else '',"
            " os.getuid() != 0, pathlib.Path('/.dockerenv').exists(), {port})"
        )
        smoke = [{"name": "asks", "command": ["python3", "-c", ask], "expect_text": "v1.0.0"}]
        module = contained(smoke_tests=smoke, replicas=2, resources={"pids": 64})
        sample.release("v1.0.0", module)
        await plane.add(sample)
        run = await plane.deploy(sample, "v1.0.0")
        assert next(task for task in run["tasks"] if task["id"] == "smoke-staging")["output"] == {"passed": ["asks"]}
        (job,) = await asyncio.to_thread(jobs, container_engine, sample)
        (server, _) = sorted(await asyncio.to_thread(inspect, container_engine, sample), key=lambda each: each["Created"])
        assert job["HostConfig"]["NetworkMode"] == f"container:{server['Id']}"
        assert (job["HostConfig"]["PidsLimit"], job["HostConfig"]["ReadonlyRootfs"]) == (64, True)
        assert job["Image"] == server["Image"]

    async def test_a_smoke_command_that_fails_in_the_image_takes_the_release_back(self, plane: Plane, sample: Sample) -> None:
        smoke = [{"name": "is there", "command": "python3 -c 'raise SystemExit(\"not here\")'"}]
        sample.release("v1.0.0", contained())
        sample.release("v1.1.0", contained(smoke_tests=smoke))
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("rolled_back", "smoke_tests_failed")
        assert (await plane.ask(sample)) == (200, "v1.0.0")

    async def test_a_dockerfile_of_the_repository_is_used_as_it_is(
        self, plane: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        python = await asyncio.to_thread(container_engine.python)
        lines = [f"FROM {python}", "WORKDIR /srv", "COPY . .", "ENV HOST=0.0.0.0", 'CMD ["python3", "service.py", "7000"]']
        sample.write("Dockerfile", "\n".join(lines))
        module = contained(port=7000, deploy={"dockerfile": "Dockerfile"})
        sample.release(
            "v1.0.0", json.dumps({"name": sample.name} | {k: v for k, v in (MODULE | module).items() if k != "start"})
        )
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        assert (await plane.ask(sample)) == (200, "v1.0.0")

    async def test_a_base_image_is_pinned_by_the_plan_and_another_one_under_its_name_is_refused(
        self, plane: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        base, python = f"tests/{sample.name}:1", await asyncio.to_thread(container_engine.python)
        sample.write("Dockerfile", f"FROM {base}\nRUN true\n")
        sample.release("v1.0.0", contained(port=7000, deploy={"dockerfile": "Dockerfile"}))
        await plane.add(sample)
        unpinned = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        assert ("base_unpinned", "Dockerfile") in [(found["code"], found["where"]) for found in unpinned["findings"]]
        await asyncio.to_thread(docker, container_engine.url, "tag", python, base)
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        assert "base_unpinned" not in [found["code"] for found in plan["findings"]]
        content = await plane.get(f"/plans/{plan['plan_id']}/content")
        (pinned,) = [task["inputs"]["bases"] for task in content["graph"]["tasks"] if task["id"] == "image"]
        assert list(pinned) == [base]
        await asyncio.to_thread(docker, container_engine.url, "rmi", base)
        await plane.approve(plan)
        run = await plane.ended(await plane.run_of(plan["plan_id"]))
        assert (run["status"], run["error"]["code"], run["error"]["where"]) == ("failed", "base_changed", base)

    async def test_a_dockerfile_that_the_engine_cannot_build_is_an_error_of_the_plan(
        self, plane: Plane, sample: Sample
    ) -> None:
        sample.write("Dockerfile", "FROM scratch\nRUN --mount=type=cache,target=/x true\n")
        sample.release("v1.0.0", contained(port=7000, deploy={"dockerfile": "Dockerfile"}))
        await plane.add(sample)
        plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
        first = plan["findings"][0]
        assert (first["severity"], first["code"], first["where"]) == ("error", "needs_buildkit", "Dockerfile:2")

    async def test_a_build_that_fails_says_why_and_leaves_nothing(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", contained(build="python3 -c 'raise SystemExit(\"no such luck\")'"))
        await plane.add(sample)
        run = await plane.do(f"deploy {sample.name} v1.0.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("failed", "build_failed")
        assert "no such luck" in json.dumps(run["error"])
        assert not (await plane.get("/releases", params={"service": sample.name}))["items"]

    async def test_tests_that_fail_in_the_image_leave_neither_folder_nor_image_nor_container(
        self, plane: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        sample.release("v1.0.0", contained(test="python3 -c 'raise SystemExit(\"no such luck\")'"))
        await plane.add(sample)
        run = await plane.do(f"deploy {sample.name} v1.0.0 to staging")
        assert (run["status"], run["error"]["code"]) == ("failed", "command_failed")
        assert _tasks(run)["discard"] == "completed"
        assert "no such luck" in (await plane.get(f"/runs/{run['run_id']}/tasks/test/log"))["text"]
        assert await asyncio.to_thread(left_of, container_engine, plane, sample, run["run_id"]) == []

    async def test_testing_alone_ends_well_and_leaves_nothing_but_the_output(
        self, plane: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        sample.release("v1.0.0", contained(test=["python3 -c 'print(6)'", "python3 -c 'print(7)'"]))
        await plane.add(sample)
        run = await plane.do(f"test {sample.name} v1.0.0")
        assert run["status"] == "completed", run["error"]
        assert _tasks(run)["clean-up"] == "completed"
        assert (await plane.get(f"/runs/{run['run_id']}/tasks/test-2/log"))["text"] == "7\n"
        assert await asyncio.to_thread(left_of, container_engine, plane, sample, run["run_id"]) == []

    async def test_the_folder_goes_even_where_somebody_else_uses_the_image(
        self, plane: Plane, sample: Sample, container_engine: TestEngine
    ) -> None:
        sample.release("v1.0.0", contained(test="python3 -c 'import time; time.sleep(3); raise SystemExit(1)'"))
        await plane.add(sample)
        run_id = await plane.begin(f"deploy {sample.name} v1.0.0 to staging")
        await plane.task_runs(run_id, "test")
        (image,) = await asyncio.to_thread(_images, container_engine, sample)
        stranger = (await asyncio.to_thread(docker, container_engine.url, "create", image)).stdout.strip()
        run = await plane.ended(run_id)
        left = await asyncio.to_thread(left_of, container_engine, plane, sample, run_id)
        await asyncio.to_thread(docker, container_engine.url, "rm", stranger)
        await asyncio.to_thread(docker, container_engine.url, "rmi", "--force", image)
        assert _tasks(run)["discard"] == "failed"
        assert left == [image]


class TestMigrations:
    async def test_they_run_in_the_image_with_the_secrets_of_the_service(self, plane: Plane, sample: Sample) -> None:
        says = "import os; print(os.environ['GREETING'][:4], os.environ['INTERLOCK_ENVIRONMENT'], os.getuid())"
        sample.write("migrate.py", says)
        migrate = [{"run": "python3 migrate.py", "one_way": "it only says what it sees"}]
        sample.release("v1.0.0", contained(migrate=migrate, secrets={"GREETING": "greeting"}))
        await plane.add(sample)
        run = await plane.deploy(sample, "v1.0.0")
        log = await plane.get(f"/runs/{run['run_id']}/tasks/migrate-staging-1/log")
        assert log["text"].split()[:2] == ["open", "staging"]
        assert log["text"].split()[2] != "0"


class TestBadDays:
    @pytest.mark.parametrize("how", ["kill", "stop", "pause"])
    async def test_a_container_ended_or_frozen_by_hand_is_noticed_and_is_no_fault_of_the_release(
        self, plane: Plane, sample: Sample, container_engine: TestEngine, how: str
    ) -> None:
        sample.release("v1.0.0", contained())
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        (found,) = await asyncio.to_thread(inspect, container_engine, sample)
        await asyncio.to_thread(docker, container_engine.url, how, found["Id"])
        (incident,) = await until(lambda: plane.incidents(sample), "it is noticed")
        assert incident["found_by"] == "host"
        assert sample.name not in {item["service"] for item in (await plane.get("/quarantine"))["items"]}


def left_of(engine: TestEngine, plane: Plane, sample: Sample, run_id: str) -> list[str]:
    """What a build has left: images, containers of the run, folders."""
    containers = docker(engine.url, "ps", "--all", "--quiet", "--filter", f"label=interlock.run={run_id}").stdout.split()
    folders = [str(folder) for folder in (plane.home / "bundles" / sample.name).glob("*")]
    return [*_images(engine, sample), *containers, *folders]


def _images(engine: TestEngine, sample: Sample) -> list[str]:
    wanted = ("--no-trunc", "--quiet", "--filter", f"label=interlock.service={sample.name}")
    return list(dict.fromkeys(docker(engine.url, "images", *wanted).stdout.split()))


def _tasks(run: dict[str, Any]) -> dict[str, str]:
    return {task["id"]: task["status"] for task in run["tasks"]}
