"""However a supervised process ends, nothing of it is left, and the reason is on record."""

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from interlock.adapters.hosts import local, procfs
from interlock.adapters.hosts.local import LocalHost
from interlock.testing.hosts import FAILS, SAYS, STAYS, job, service

PATIENCE_S = 20.0

# Forks twice and leads a session of its own, as daemons do; then does what its caller says.
DAEMON = (
    "import os, time, signal\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        {then}\n    os._exit(0)\n"
)


def python(text: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", text)


def shell(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


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


async def until_marked(mark: str, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(marked(mark)) < count:
            await asyncio.sleep(0.01)


async def until_log(host: LocalHost, key: str, text: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while text not in (await host.log(key)).text:
            await asyncio.sleep(0.01)


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


@pytest.fixture
def environment(mark: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "MARK": mark}


async def test_a_timeout_ends_daemons_too(host: LocalHost, mark: str, environment: dict[str, str]) -> None:
    hang = DAEMON.format(then="time.sleep(600)") + "time.sleep(600)"
    await host.start("hang", job(python(hang), timeout_s=1.0, environment=environment))
    await until_marked(mark, 2)
    ended = await host.wait("hang", PATIENCE_S)
    assert (ended.reason, ended.exit_code) == ("timeout", -9)
    assert "1 s" in ended.message
    assert not marked(mark)


async def test_the_timeout_is_over_all_commands(host: LocalHost) -> None:
    await host.start("slow", job(("/bin/sleep", "0.3"), ("/bin/sleep", "600"), timeout_s=0.5))
    assert (await host.wait("slow", PATIENCE_S)).reason == "timeout"


async def test_a_job_leaves_nothing_behind(host: LocalHost, mark: str, environment: dict[str, str]) -> None:
    daemon = DAEMON.format(then="signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)")
    await host.start("job", job(shell("sleep 600 & echo done"), python(daemon), environment=environment))
    ended = await host.wait("job", PATIENCE_S)
    assert (ended.reason, ended.exit_code) == ("completed", 0)
    assert not marked(mark)


async def test_a_job_can_use_in_its_next_command_what_runs_in_the_background(host: LocalHost, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    commands = (shell(f"sleep 600 & echo $! > {pidfile}"), shell(f"kill -0 $(cat {pidfile}) && echo there"))
    await host.start("job", job(*commands))
    assert (await host.wait("job", PATIENCE_S)).reason == "completed"
    assert (await host.log("job")).text == "there\n"


async def test_a_build_with_hundreds_of_processes_ends_whole(host: LocalHost, mark: str, environment: dict[str, str]) -> None:
    many = "for i in $(seq 200); do sleep 600 & done; echo forked; wait"
    await host.start("build", job(shell(many), environment=environment))
    await until_log(host, "build", "forked")
    await until_marked(mark, 201)
    assert (await host.stop("build", 0)).reason == "stopped"
    assert not marked(mark)


async def test_processes_that_flee_are_caught(host: LocalHost, mark: str, environment: dict[str, str]) -> None:
    """Each child leads a session, forks the next and ends: no process lives for long, and no two share a group."""
    runner = "import os, time\nwhile True:\n    if os.fork(): os._exit(0)\n    os.setsid()\n    time.sleep(0.002)\n"
    await host.start("runner", job(shell('"$0" "$@" & sleep 600') + python(runner), environment=environment))
    await until_marked(mark, 3)
    assert (await host.stop("runner", 0)).reason == "stopped"
    assert not marked(mark)


async def test_a_service_may_end_in_good_order(host: LocalHost, mark: str, environment: dict[str, str]) -> None:
    polite = (
        "import signal, sys, time\n"
        "def leave(*_):\n    time.sleep(0.1); print('bye', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave); print('up', flush=True)\ntime.sleep(600)\n"
    )
    # The shell ends at once; what it started is given the grace nevertheless.
    await host.start("api", service(shell('"$0" "$@" & wait') + python(polite), environment=environment))
    await until_log(host, "api", "up")
    ended = await host.stop("api")
    assert (ended.reason, ended.exit_code) == ("stopped", -15)
    assert (await host.log("api")).text == "up\nbye\n"
    assert not marked(mark)


async def test_a_daemon_of_a_service_is_asked_to_end_too(host: LocalHost, mark: str, environment: dict[str, str]) -> None:
    daemon = DAEMON.format(then="print('up', flush=True); time.sleep(600)") + "time.sleep(600)"
    await host.start("api", service(python(daemon), environment=environment, grace_s=60.0))
    await until_log(host, "api", "up")
    async with asyncio.timeout(PATIENCE_S):
        assert (await host.stop("api")).reason == "stopped"
    assert not marked(mark)


async def test_a_second_stop_can_shorten_the_grace(host: LocalHost) -> None:
    await host.start("api", service(shell("trap '' TERM; echo up; while :; do sleep 600; done")))
    await until_log(host, "api", "up")
    patient = asyncio.create_task(host.stop("api", 600))
    await asyncio.sleep(0.1)
    assert not patient.done()
    assert (await host.stop("api", 0)).exit_code == -9
    assert (await patient).reason == "stopped"


async def test_a_frozen_supervisor_is_put_aside(
    host: LocalHost, folder: Path, mark: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_STOP_MARGIN_S", 0.3)
    daemon = DAEMON.format(then="time.sleep(600)") + "time.sleep(600)"
    await host.start("api", service(python(daemon), environment=environment))
    await until_marked(mark, 2)
    os.kill(json.loads((folder / "api" / "supervisor.json").read_text())["pid"], signal.SIGSTOP)
    assert (await host.stop("api", 0)).state == "lost"
    assert not marked(mark)


async def test_a_service_that_ends_is_started_again(host: LocalHost, mark: str, environment: dict[str, str]) -> None:
    first = await host.start("api", service(shell("sleep 600 & exec sleep 600"), environment=environment))
    await until_marked(mark, 2)
    assert first.pid is not None
    old = set(marked(mark))
    os.kill(first.pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        while (again := await host.status("api")).state != "running" or again.pid == first.pid:
            await asyncio.sleep(0.01)
    assert again.restarts == 1
    assert not old & set(marked(mark))


async def test_restarts_come_later_and_later_until_it_is_given_up(host: LocalHost, folder: Path) -> None:
    await host.start("loop", service(FAILS, max_restarts=3, restart_delay_s=0.05))
    ended = await host.wait("loop", PATIENCE_S)
    assert (ended.reason, ended.restarts, ended.exit_code) == ("gave_up", 3, 3)
    assert "exit code 3" in ended.message
    lines = [json.loads(line) for line in (folder / "loop" / "exits.jsonl").read_text().splitlines()]
    assert [line["exit_code"] for line in lines] == [3, 3, 3, 3]
    assert len({line["pid"] for line in lines}) == 4
    moments = [(datetime.fromisoformat(line["started_at"]), datetime.fromisoformat(line["ended_at"])) for line in lines]
    delays_s = [(next_start - end).total_seconds() for (_, end), (next_start, _) in pairwise(moments)]
    assert all(delay >= least for delay, least in zip(delays_s, (0.049, 0.099, 0.199), strict=True))


async def test_a_service_can_be_stopped_between_restarts(host: LocalHost) -> None:
    await host.start("loop", service(FAILS, restart_delay_s=600.0))
    async with asyncio.timeout(PATIENCE_S):
        while (between := await host.status("loop")).state != "starting":
            await asyncio.sleep(0.01)
    assert between.pid is None
    ended = await host.stop("loop")
    assert (ended.state, ended.reason, ended.exit_code) == ("exited", "stopped", 3)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - whatever is listened on counts
async def test_a_taken_port_is_not_served_beside(host: LocalHost, tmp_path: Path, address: str) -> None:
    witness = tmp_path / "witness"
    with socket.create_server((address, 0)) as other:
        port = other.getsockname()[1]
        await host.start("api", service(shell(f"touch {witness}"), STAYS, port=port))
        ended = await host.wait("api", PATIENCE_S)
        assert (ended.state, ended.reason) == ("exited", "port_taken")
        assert str(port) in ended.message
        assert not witness.exists()
    assert (await host.start("next", service(STAYS, port=port))).state == "running"


@pytest.mark.parametrize("case", ["not there", "not executable", "a folder", "no interpreter", "no program", "no folder"])
async def test_what_cannot_be_executed_is_named(host: LocalHost, tmp_path: Path, case: str) -> None:
    program = tmp_path / "program"
    if case == "a folder":
        program.mkdir()
    elif case != "not there":
        program.write_text("#!/nonexistent/interpreter\n" if case == "no interpreter" else "\x7fnothing")
        program.chmod(0o644 if case == "not executable" else 0o755)
    command = SAYS if case == "no folder" else ("./program",)
    where = str(tmp_path / "nowhere") if case == "no folder" else str(tmp_path)
    ended = await host.start("job", job(command, folder=where))
    assert (ended.state, ended.reason, ended.exit_code) == ("exited", "not_executable", None)
    assert (where if case == "no folder" else "program") in ended.message


async def test_a_program_is_looked_for_on_the_path_it_was_given(host: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "hello").chmod(0o755)
    await host.start("job", job(("hello",), environment={"PATH": f"/nonexistent:{tmp_path}"}))
    assert (await host.wait("job", PATIENCE_S)).reason == "completed"
    assert (await host.start("other", job(("hello",), environment={"PATH": "/bin"}))).reason == "not_executable"
