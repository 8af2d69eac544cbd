"""Builds on their bad days: what they printed is shown, what they left is removed, and they take nothing with them."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from harness.plane import Plane
from harness.sample import Sample
from interlock.adapters.hosts.local import LocalHost
from interlock.core.errors import Conflict
from interlock.core.scope import system_scope
from interlock.tools.model import Call
from interlock.tools.process import CommandInput, RunCommand

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORM = """
import os, sys, time
for _ in range(30):
    if os.fork() == 0:
        if _ % 2:
            os.setsid()
        time.sleep(600)
        os._exit(0)
print("forked", flush=True)
if sys.argv[1] == "fail":
    sys.exit(5)
time.sleep(600 if sys.argv[1] == "hang" else 0)
"""


def processes_with(mark: str) -> list[int]:
    """Processes whose command line holds ``mark``."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in words:
                found.append(int(entry.name))
    return found


def none_with(mark: str) -> bool:
    deadline = time.monotonic() + 5
    while processes_with(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def build_folders(plane: Plane, sample: Sample) -> list[Path]:
    folder = plane.home / "bundles" / sample.name
    return list(folder.iterdir()) if folder.exists() else []


async def test_a_build_that_fails_shows_its_end_and_leaves_no_folder(plane: Plane, sample: Sample) -> None:
    sample.write("build.py", "print('line\\n' * 5000)\nprint('the reason')\nraise SystemExit(3)\n")
    sample.release("v1.0.0", {"build": ["python3 -I build.py"]})
    await plane.add(sample)
    run = await plane.do(f"deploy {sample.name} v1.0.0 to staging")
    assert (run["status"], run["error"]["code"]) == ("failed", "command_failed")
    assert run["error"]["exit_code"] == 3
    assert run["error"]["tail"].endswith("the reason\n")
    assert len(run["error"]["tail"]) <= 4000
    assert build_folders(plane, sample) == []
    log = await plane.get(f"/runs/{run['run_id']}/tasks/build/log", params={"offset": -20})
    assert log["text"].endswith("the reason\n")
    assert (await plane.get("/releases", params={"service": sample.name}))["items"] == []
    # Nothing of it stands in the way of the next try.
    sample.write("build.py", "print('fine')\n")
    sample.release("v1.0.1", {"build": ["python3 -I build.py"]})
    await plane.deploy(sample, "v1.0.1")


async def test_tests_that_fail_stop_the_deployment(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0", {"test": "false"})
    await plane.add(sample)
    run = await plane.do(f"deploy {sample.name} v1.0.0 to staging")
    assert (run["status"], run["error"]["task"]) == ("failed", "test")
    assert await plane.serving(sample) is None
    run = await plane.do(f"test {sample.name} v1.0.0")
    assert (run["status"], run["error"]["task"]) == ("failed", "test")
    assert build_folders(plane, sample) == []


@pytest.mark.parametrize("end", ["fail", "succeed"])
async def test_a_fork_storm_leaves_nobody_behind(plane: Plane, sample: Sample, end: str) -> None:
    mark = uuid4().hex
    sample.write("build.py", STORM)
    sample.release("v1.0.0", {"build": [f"python3 -I build.py {end} {mark}"]})
    await plane.add(sample)
    run = await plane.do(f"build {sample.name} v1.0.0")
    assert run["status"] == ("failed" if end == "fail" else "completed"), run["error"]
    assert none_with(f"{end}\0{mark}")


async def test_a_flood_is_bounded_and_counted(plane: Plane, sample: Sample) -> None:
    sample.write("build.py", "import sys\nfor _ in range(12):\n    sys.stdout.write('x' * 1024 * 1024)\nprint('the end')\n")
    sample.release("v1.0.0", {"build": ["python3 -I build.py"]})
    await plane.add(sample)
    run = await plane.do(f"build {sample.name} v1.0.0")
    assert run["status"] == "completed"
    output = next(task["output"] for task in run["tasks"] if task["id"] == "build")
    assert output["output_bytes"] + output["dropped_bytes"] == 12 * 1024 * 1024 + len("the end\n")
    assert output["output_bytes"] <= 5 * 1024 * 1024
    assert len(output["tail"]) <= 4000
    kept = sum(file.stat().st_size for file in (plane.home / "processes" / output["key"]).rglob("*") if file.is_file())
    assert kept <= 6 * 1024 * 1024


async def test_the_limit_of_a_command_comes_from_the_settings(make_plane, sample: Sample) -> None:
    plane: Plane = await make_plane(task_timeout_s=77)
    sample.release("v1.0.0", {"build": "true"})
    await plane.add(sample)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    build = next(task for task in plan["content"]["graph"]["tasks"] if task["id"] == "build")
    assert build["inputs"]["timeout_s"] == 77
    assert build["timeout_s"] > 77


class TestHanging:
    """At the tool, where the limit can be short."""

    @pytest.fixture
    async def host(self, tmp_path: Path) -> AsyncIterator[LocalHost]:
        host = LocalHost(tmp_path / "processes")
        yield host
        for key in await host.list():
            await host.stop(key, 0)

    async def test_it_is_ended_with_all_that_it_started(self, host: LocalHost, tmp_path: Path) -> None:
        mark = uuid4().hex
        (tmp_path / "build.py").write_text(STORM)
        tool = RunCommand(host, {"PATH": "/usr/bin:/bin:" + str(Path(__import__("sys").executable).parent)}, lambda _name: None)
        call = Call(scope=system_scope("tests"), run_id="run_1", task_id="build", key="hang-1")
        commands = [["python3", "-I", "build.py", "hang", mark]]
        arguments = CommandInput(commands=commands, folder=str(tmp_path), environment={}, timeout_s=1.0)
        with pytest.raises(Conflict) as caught:
            await tool.act(call, arguments)
        assert caught.value.code == "command_timeout"
        assert "was ended after 1 s" in caught.value.message
        assert caught.value.details["tail"] == "forked\n"
        assert none_with(mark)
