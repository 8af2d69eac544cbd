"""Supervised processes outlive the control plane, and the records tell the truth whatever was killed."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.adapters.hosts import procfs
from interlock.adapters.hosts.local import LocalHost
from interlock.core.errors import Conflict
from interlock.testing.hosts import FAILS, SAYS, STAYS, job, service

PATIENCE_S = 20.0

# A control plane in small: starts a process under a key, says what came of it, and stays.
CONTROL = """
import asyncio, sys, time
from pathlib import Path
from interlock.adapters.hosts.local import LocalHost
from interlock.core.errors import Conflict
from interlock.testing.hosts import service

async def main(folder, moment, *command):
    time.sleep(max(0, float(moment) - time.time()))
    try:
        print((await LocalHost(Path(folder)).start("api", service(command))).state, flush=True)
    except Conflict as error:
        print(error.code, flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


def control(folder: Path, *command: str, at: float = 0.0) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CONTROL, str(folder), str(at), *command]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    os.killpg(process.pid, number)
    process.wait(PATIENCE_S)
    assert process.stdout is not None
    process.stdout.close()


def marked(mark: str) -> list[int]:
    """The live processes that carry the mark in their environment."""
    found: list[int] = []
    for process in procfs.processes():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in environment and not process.has_ended:
            found.append(process.pid)
    return found


async def until_gone(mark: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while marked(mark):
            await asyncio.sleep(0.01)


def record(folder: Path, key: str, name: str) -> dict[str, object]:
    return json.loads((folder / key / f"{name}.json").read_text())


def supervisor_pid(folder: Path, key: str) -> int:
    return int(str(record(folder, key, "supervisor")["pid"]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "processes"


@pytest.fixture
async def host(folder: Path) -> AsyncIterator[LocalHost]:
    host = LocalHost(folder)
    yield host
    await asyncio.gather(*(host.stop(key, 0) for key in await host.list()))


@pytest.fixture
def mark() -> str:
    return f"mark-{secrets.token_hex(8)}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_a_service_survives_the_end_of_the_control_plane(host: LocalHost, folder: Path, number: signal.Signals) -> None:
    plane = control(folder, *STAYS)
    assert said(plane) == "running"
    before = await host.status("api")
    end(plane, number)
    assert await host.status("api") == before
    assert before.pid is not None
    os.kill(before.pid, 0)
    assert (await host.stop("api")).reason == "stopped"


async def test_two_control_planes_start_one_process(host: LocalHost, folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    command = ("/bin/sh", "-c", f"echo x >> {witness}; exec sleep 600")
    moment = time.time() + 0.7
    planes = [control(folder, *command, at=moment) for _ in range(3)]
    assert sorted(said(plane) for plane in planes) == ["process_exists", "process_exists", "running"]
    for plane in planes:
        end(plane, signal.SIGKILL)
    assert (await host.stop("api", 0)).reason == "stopped"
    assert witness.read_text() == "x\n"


async def test_a_killed_supervisor_takes_its_process_along(host: LocalHost, folder: Path, mark: str) -> None:
    await host.start("api", service(STAYS, environment={"MARK": mark}))
    assert len(marked(mark)) == 1
    os.kill(supervisor_pid(folder, "api"), signal.SIGKILL)
    lost = await host.wait("api", PATIENCE_S)
    assert (lost.state, lost.pid) == ("lost", None)
    assert not marked(mark)
    with pytest.raises(Conflict) as refusal:
        await host.start("api", service(STAYS))
    assert refusal.value.code == "process_exists"
    assert (await host.stop("api")).state == "lost"
    await host.remove("api")
    assert (await host.status("api")).state == "absent"


async def test_workers_left_by_a_killed_supervisor_are_seen_and_stopped(host: LocalHost, folder: Path, mark: str) -> None:
    await host.start("api", service(("/bin/sh", "-c", "sleep 600 & sleep 600 & wait"), environment={"MARK": mark}))
    async with asyncio.timeout(PATIENCE_S):
        while len(marked(mark)) < 3:
            await asyncio.sleep(0.01)
    os.kill(supervisor_pid(folder, "api"), signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        while len(marked(mark)) > 2:
            await asyncio.sleep(0.01)
    seen = await host.status("api")
    assert seen.state == "unknown"
    assert all(str(pid) in seen.message for pid in marked(mark))
    with pytest.raises(Conflict):
        await host.remove("api")
    assert (await host.stop("api")).state == "lost"
    assert not marked(mark)


async def test_numbers_that_went_to_others_are_left_alone(host: LocalHost, folder: Path) -> None:
    """The records name processes that run, but of another start time, and then of another boot."""
    await host.start("api", service(STAYS))
    os.kill(supervisor_pid(folder, "api"), signal.SIGKILL)
    await host.wait("api", PATIENCE_S)
    bystander = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    now = procfs.identity(bystander.pid)
    try:
        for other in ({"start_time": 1}, {"boot_id": "another"}):
            for name in ("supervisor", "process"):
                changed = record(folder, "api", name) | now | other | {"session": bystander.pid}
                (folder / "api" / f"{name}.json").write_text(json.dumps(changed))
            if "boot_id" in other:
                assert (await host.status("api")).state == "lost"
                assert (await host.stop("api", 0)).state == "lost"
            else:
                assert not procfs.is_alive(record(folder, "api", "supervisor"))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("argument", [(), ("-I",)])
async def test_a_second_supervisor_changes_nothing(host: LocalHost, folder: Path, argument: tuple[str, ...]) -> None:
    command = [sys.executable, *argument, "-m", "interlock.adapters.hosts.supervisor", str(folder / "api")]
    await host.start("api", service(STAYS))
    before = {path.name: path.read_bytes() for path in (folder / "api").iterdir()}
    assert subprocess.run(command, timeout=PATIENCE_S, check=False).returncode == 75
    assert {path.name: path.read_bytes() for path in (folder / "api").iterdir()} == before
    ended = await host.stop("api", 0)
    assert subprocess.run(command, timeout=PATIENCE_S, check=False).returncode == 75
    assert await host.status("api") == ended


async def test_a_supervisor_can_be_started_by_hand(host: LocalHost, folder: Path) -> None:
    await host.start("model", job(SAYS))
    await host.wait("model", PATIENCE_S)
    (folder / "hand").mkdir(mode=0o700)
    shutil.copy(folder / "model" / "spec.json", folder / "hand")
    command = [sys.executable, "-m", "interlock.adapters.hosts.supervisor", str(folder / "hand")]
    assert subprocess.run(command, timeout=PATIENCE_S, check=False).returncode == 0
    assert (await host.status("hand")).reason == "completed"


@pytest.mark.parametrize("crashed_after", ["mkdir", "spec", "spawn"])
async def test_a_start_that_was_cut_off_can_be_made_again(host: LocalHost, folder: Path, crashed_after: str) -> None:
    """What a crash leaves before a process was recorded means that nothing ran."""
    place = folder / "api"
    place.mkdir(parents=True)
    if crashed_after != "mkdir":
        (place / "spec.json.next").write_text('{"commands": [["/bin/fal')
        (place / "lock").touch()
    if crashed_after == "spawn":
        dead = procfs.identity(os.getpid()) | {"start_time": 1, "session": 1}
        (place / "supervisor.json").write_text(json.dumps(dead))
    assert (await host.status("api")).state == "absent"
    assert await host.list() == {}
    assert (await host.start("api", service(STAYS))).state == "running"


async def test_ended_supervisors_are_collected(host: LocalHost) -> None:
    def children() -> set[int]:
        return {each.pid for each in procfs.descendants(os.getpid()) if each.parent == os.getpid()}

    others = children()
    for index in range(5):
        await host.start(f"job-{index}", job(FAILS))
    async with asyncio.timeout(PATIENCE_S):
        while children() - others:
            await host.list()
            await asyncio.sleep(0.01)


async def test_hundreds_of_keys_are_listed(host: LocalHost, folder: Path) -> None:
    await host.start("job-0", job(SAYS))
    await host.wait("job-0", PATIENCE_S)
    for index in range(1, 400):
        shutil.copytree(folder / "job-0", folder / f"job-{index}")
    async with asyncio.timeout(PATIENCE_S):
        listed = await host.list()
    assert len(listed) == 400
    assert {status.reason for status in listed.values()} == {"completed"}


async def test_a_program_gets_what_it_was_given_and_no_more(host: LocalHost, folder: Path, tmp_path: Path) -> None:
    look = (
        "import json, os, signal; status = open('/proc/self/status').read(); print(json.dumps({"
        "'environment': dict(os.environ),"
        "'descriptors': sorted(os.listdir('/proc/self/fd'))[:-1], 'stdin': os.readlink('/proc/self/fd/0'),"
        "'folder': os.getcwd(),"
        "'leads': os.getpgrp() == os.getpid(), 'ignored': status.split('SigIgn:')[1].split()[0],"
        "'blocked': status.split('SigBlk:')[1].split()[0]}))"
    )
    environment = {"PATH": "/usr/bin", "SECRET": "s3cret-ünd", "LC_ALL": "C.UTF-8"}
    await host.start("look", job((sys.executable, "-I", "-c", look), environment=environment, folder=str(tmp_path)))
    assert (await host.wait("look", PATIENCE_S)).reason == "completed"
    seen = json.loads((await host.log("look")).text)
    assert seen["environment"] == environment
    assert seen["descriptors"] == ["0", "1", "2"]
    assert (seen["stdin"], seen["folder"], seen["leads"]) == ("/dev/null", str(tmp_path), True)
    # Python itself ignores SIGPIPE and SIGXFSZ; 32 and 33 belong to the C library.
    beside = sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGXFSZ, 32, 33))
    assert int(seen["ignored"], 16) & ~beside == 0
    assert int(seen["blocked"], 16) == 0


async def test_secrets_stay_in_the_folder_of_their_owner(host: LocalHost, folder: Path) -> None:
    await host.start("api", service(STAYS, environment={"PASSWORD": "hunter2"}))
    pid = supervisor_pid(folder, "api")
    for name in ("cmdline", "environ"):
        assert b"hunter2" not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert (folder / "api").stat().st_mode & 0o777 == 0o700
    for path in (folder / "api").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
