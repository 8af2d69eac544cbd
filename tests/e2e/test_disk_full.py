"""The data folder, or a part of it, has no room left: everybody is told, nothing is half done, and it goes on once there is."""

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness.disks import fill, free
from harness.plane import until
from harness.sample import Sample
from harness.server import SERVE, Server
from interlock.demo.targets import process_folders, upstream_ports

pytestmark = pytest.mark.asyncio(loop_scope="module")

Mount = Callable[[str], Path]

GATED = "import pathlib, time\nwhile not pathlib.Path({!r}).exists():\n    time.sleep(0.02)\n"


@pytest.fixture
def mounted() -> Iterator[ExitStack]:
    """What is to be unmounted: behind the end of everything that runs from there."""
    with ExitStack() as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path, mounted: ExitStack) -> AsyncIterator[Server]:
    own = Server(tmp_path / "home")
    yield own
    await own.clear()


@pytest.fixture
def mount(server: Server, mounted: ExitStack) -> Mount:
    """Puts a file system of its own, of 32 MB, where the data folder or a folder in it is to be; returns the place."""

    def make(part: str) -> Path:
        place = server.home / part
        place.mkdir(parents=True, mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=0700", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        # Lazily: a supervisor that has just ended may hold a file for another moment.
        mounted.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
        return place

    return make


async def proposed(server: Server, sample: Sample, gate: Path) -> dict[str, Any]:
    """v1.0.0 serves; the plan for v1.1.0, which is built until there is ``gate``."""
    sample.release("v1.0.0")
    sample.write("build.py", GATED.format(str(gate)))
    sample.release("v1.1.0", {"build": ["python3 -I build.py"]})
    await server.start()
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    return await server.plan(f"deploy {sample.name} v1.1.0 to staging")


async def under_way(server: Server, plan: dict[str, Any]) -> str:
    """The id of the run of the plan, which is approved now, once its build runs."""
    await server.approve(plan)

    async def builds() -> bool:
        return any("-build-" in key and status.state == "running" for key, status in (await server.host.list()).items())

    await until(builds, "the build runs")
    return await server.run_of(plan["plan_id"])


async def storage_fails(server: Server) -> str:
    """What readiness says of a storage that does not take anything; empty while it does."""
    answer = await server.http.get("/ready")
    storage = answer.json()["components"]["storage"]
    assert (answer.status_code == 503) is (not storage["ok"])
    return storage.get("problem", "")


async def trouble(server: Server, run_id: str, task: str) -> dict[str, Any] | None:
    """Why an attempt at the task has failed, once one has."""
    events = await server.events(run_id)
    found = (
        event["error"] for event in events if event["type"] in {"TaskRetryScheduled", "TaskFailed"} and event["task"] == task
    )
    return next(found, None)


def processes(server: Server, sample: Sample) -> dict[str, str]:
    """The services' processes, and how each ended; empty for one that runs."""
    folders = [folder for folder in process_folders(server.home, "run-") if "-start-" in folder.key and folder.log]
    return {folder.log.split()[1]: folder.result.get("reason", "") for folder in folders}


async def check_is_untouched(server: Server, sample: Sample, answers: list[tuple[int, str]]) -> None:
    """v1.0.0 serves as it did; the record holds what it held, and can be read."""
    await until(partial(more_than, answers, len(answers) + 10), "traffic goes on")
    assert set(answers) == {(200, "v1.0.0")}
    serving = await server.serving(sample)
    assert serving is not None
    assert (serving["version"], serving["state"], serving["observed"]["health"]) == ("v1.0.0", "good", "healthy")
    assert upstream_ports(server.home, f"{sample.name}.staging.stable") == {serving["instances"][0]["port"]}
    verified = await server.get("/audit/verify")
    assert verified["ok"] is True, verified


async def more_than(answers: list[Any], count: int) -> bool:
    return len(answers) > count


async def check_is_done(server: Server, sample: Sample, run_id: str, answers: list[tuple[int, str]]) -> None:
    """v1.1.0 took over: by one start, each task completed once, with no request lost, and nothing is left to mend."""
    run = await server.ended(run_id)
    assert run["status"] == "completed", run["error"]
    events = await server.events(run_id)
    completed = Counter(event["task"] for event in events if event["type"] == "TaskCompleted")
    assert completed == {task["id"]: 1 for task in run["tasks"] if task["status"] == "completed"}
    assert processes(server, sample) == {"v1.0.0": "stopped", "v1.1.0": ""}
    assert await server.ask(sample) == (200, "v1.1.0")
    assert set(answers) <= {(200, "v1.0.0"), (200, "v1.1.0")}
    assert await storage_fails(server) == ""
    verified = await server.get("/audit/verify")
    assert verified["ok"] is True, verified
    ready = (await server.http.get("/ready")).json()
    assert ready["components"]["events"]["dead_letters"] == 0


async def start_in_vain(server: Server) -> str:
    """Start on a full disk, which must be refused in plain words; returns them."""
    done = await asyncio.to_thread(
        subprocess.run, SERVE, env=server.environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"interlock serve: {server.home}"), last
    assert "free disk space" in last
    return last


@pytest.mark.parametrize("part", ["", "tenants"])
async def test_a_run_stands_still_and_goes_on_by_itself(
    server: Server, sample: Sample, mount: Mount, tmp_path: Path, part: str
) -> None:
    disk, gate = mount(part), tmp_path / "gate"
    run_id = await under_way(server, await proposed(server, sample, gate))
    async with server.traffic(sample) as answers:
        fill(disk)
        gate.touch()
        said = await until(partial(storage_fails, server), "readiness tells that nothing can be written")
        assert "stand still and go on by themselves" in said
        # Whoever wants something is told what happened, where, and what next.
        for path, body in (
            ("/commands/parse", {"text": f"deploy {sample.name} v1.1.0 to production"}),
            ("/services", {"name": "other", "repository": str(sample.path)}),
        ):
            refused = await server.post(path, body, 503)
            assert refused["code"] == "storage"
            assert refused["where"] == str(server.database_file)
            assert "free disk space" in refused["hint"]
        refused = await server.post(f"/runs/{run_id}/cancel", status=503)
        assert refused["code"] == "run_suspended"
        assert "goes on by itself" in refused["title"]
        # What can be looked at can still be looked at, and what serves serves.
        assert (await server.get(f"/runs/{run_id}"))["status"] == "running"
        assert processes(server, sample) == {"v1.0.0": ""}
        await check_is_untouched(server, sample, answers)
        free(disk)
        await check_is_done(server, sample, run_id, answers)


async def test_killed_meanwhile_it_goes_on_after_the_start(
    server: Server, sample: Sample, mount: Mount, tmp_path: Path
) -> None:
    disk, gate = mount(""), tmp_path / "gate"
    run_id = await under_way(server, await proposed(server, sample, gate))
    async with server.traffic(sample) as answers:
        fill(disk)
        gate.touch()
        await until(partial(storage_fails, server), "readiness tells that nothing can be written")
        await server.kill()
        count = len(answers)
        await start_in_vain(server)
        assert len(answers) > count
        assert set(answers) == {(200, "v1.0.0")}
        free(disk)
        await server.start()
        await check_is_done(server, sample, run_id, answers)
    run = await server.get(f"/runs/{run_id}")
    assert run["adoptions"] == 1


async def test_a_log_that_cannot_be_written_ends_nothing(server: Server, sample: Sample) -> None:
    server.environment["INTERLOCK_LOG_LEVEL"] = "DEBUG"
    server.log = Path("/dev/full")
    sample.release("v1.0.0")
    sample.release("v1.1.0", exits_at_once=True)
    await server.start()
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    run = await server.do(f"deploy {sample.name} v1.1.0 to staging")
    assert run["status"] == "failed", run["error"]
    assert (await server.http.get("/ready")).status_code == 200
    assert await server.terminate() == 0
    await server.start()
    assert await server.ask(sample) == (200, "v1.0.0")


async def test_without_any_room_it_does_not_begin(server: Server, sample: Sample, mount: Mount) -> None:
    disk = mount("")
    fill(disk)
    assert "No space left" in await start_in_vain(server)
    free(disk)
    sample.release("v1.0.0")
    await server.start()
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")


@pytest.mark.parametrize(
    ("part", "task"), [("bundles", "checkout"), ("processes", "start-staging"), ("forwarder", "verify-staging")]
)
async def test_an_effect_without_room_is_tried_again(
    server: Server, sample: Sample, mount: Mount, tmp_path: Path, part: str, task: str
) -> None:
    disk, gate = mount(part), tmp_path / "gate"
    plan = await proposed(server, sample, gate)
    async with server.traffic(sample) as answers:
        if task == "checkout":
            fill(disk)
            await server.approve(plan)
            run_id = await server.run_of(plan["plan_id"])
        else:
            run_id = await under_way(server, plan)
            fill(disk)
        gate.touch()
        error = await until(partial(trouble, server, run_id, task), f"{task} has failed")
        assert error["kind"] == "unavailable"
        assert "No space left" in error["message"]
        place = f"{error.get('where', '')}: {error['message']}"
        assert str(disk) in place or f"{sample.name}.staging: the forwarder's files" in place
        assert "disk" in error["hint"]
        await check_is_untouched(server, sample, answers)
        free(disk)
        await check_is_done(server, sample, run_id, answers)


async def test_given_up_at_last_it_leaves_no_trace_and_can_be_asked_for_again(
    server: Server, sample: Sample, mount: Mount, tmp_path: Path
) -> None:
    disk, gate = mount("processes"), tmp_path / "gate"
    run_id = await under_way(server, await proposed(server, sample, gate))
    async with server.traffic(sample) as answers:
        fill(disk)
        gate.touch()
        run = await server.ended(run_id)
        assert (run["status"], run["error"]["code"], run["error"]["task"]) == ("failed", "host_unavailable", "start-staging")
        assert str(disk) in run["error"]["where"]
        assert "No space left" in run["error"]["message"]
        await check_is_untouched(server, sample, answers)
        assert processes(server, sample) == {"v1.0.0": ""}
        free(disk)
        again = await server.deploy(sample, "v1.1.0")
        await check_is_done(server, sample, again["run_id"], answers)


async def test_what_cannot_be_fetched_is_told(server: Server, sample: Sample, mount: Mount) -> None:
    disk = mount("repositories")
    sample.release("v1.0.0")
    await server.start()
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    fill(disk)
    sample.release("v1.1.0")
    async with server.traffic(sample) as answers:
        refused = await server.post("/commands/parse", {"text": f"deploy {sample.name} v1.1.0 to staging"}, 503)
        assert refused["code"] == "storage"
        assert "No space left" in refused["title"]
        assert str(disk) in refused["where"]
        assert "free disk space" in refused["hint"]
        await check_is_untouched(server, sample, answers)
        free(disk)
        again = await server.deploy(sample, "v1.1.0")
        await check_is_done(server, sample, again["run_id"], answers)
