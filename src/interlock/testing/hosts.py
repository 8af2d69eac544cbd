"""Hosts: what every implementation of the port `Host` does, and one that lives in memory.

A subclass of `HostBehaviour` gives a fixture ``host``; pytest then runs the suite against it.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from interlock.core.clock import Clock, SystemClock, to_text
from interlock.core.errors import Conflict, InterlockError, Invalid
from interlock.tools.masking import patterns_of, read_masked
from interlock.tools.ports import Host, LogChunk, ProcessSpec, ProcessStatus, Sighting

_KEY_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_KEPT_FILES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a command does on a `FakeHost`: ``exit_code`` None means that it stays until something ends it."""

    output: str = ""
    exit_code: int | None = 0
    is_executable: bool = True
    ignores_sigterm: bool = False


@dataclass(slots=True)
class _Process:
    spec: ProcessSpec
    status: ProcessStatus
    output: bytes = b""
    begin: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = field(default_factory=itertools.count(1).__next__)
    ignores_sigterm: bool = False

    def read(self, offset: int, limit_bytes: int) -> tuple[int, bytes]:
        """At most so many bytes from ``offset`` on, and where they really begin."""
        end = self.begin + len(self.output)
        begin = min(max(end + offset if offset < 0 else offset, self.begin), end)
        return begin, self.output[begin - self.begin :][:limit_bytes]


class FakeHost:
    """Processes that are only said to run. Everything that takes no waiting has happened when `start` returns.

    ``scripts`` says what commands do; others end at once with 0, but the last one of a service stays. Restarts have no delay.
    ``taken_ports`` are those on which something else listens. `end` and `lose` make things happen later.
    """

    def __init__(self, scripts: Mapping[tuple[str, ...], Script] | None = None, clock: Clock | None = None) -> None:
        self.taken_ports: set[int] = set()
        self.started: list[tuple[str, ProcessSpec]] = []
        self._scripts = scripts or {}
        self._clock = clock or SystemClock()
        self._processes: dict[str, _Process] = {}
        self._next_pid = 1000

    async def start(self, key: str, spec: ProcessSpec) -> ProcessStatus:
        _check(key)
        if not spec.commands or not all(spec.commands):
            raise Invalid("process_spec", "there is no command")
        if key in self._processes:
            raise Conflict("process_exists", "a process was started under this key before", where=key)
        self.started.append((key, spec))
        process = _Process(spec, ProcessStatus(state="running", started_at=to_text(self._clock.now())))
        self._processes[key] = process
        self._run(process)
        if process.status.state == "running" and spec.kind == "job" and spec.timeout_s is not None:
            asyncio.get_running_loop().call_later(spec.timeout_s, self._finish, process, "timeout", -9)
        return process.status

    async def status(self, key: str) -> ProcessStatus:
        _check(key)
        process = self._processes.get(key)
        return process.status if process else ProcessStatus(state="absent")

    async def wait(self, key: str, timeout_s: float | None = None) -> ProcessStatus:
        _check(key)
        if process := self._processes.get(key):
            try:
                async with asyncio.timeout(timeout_s):
                    await process.ended.wait()
            except TimeoutError:
                return process.status
        return await self.status(key)

    async def stop(self, key: str, grace_s: float | None = None) -> ProcessStatus:
        _check(key)
        process = self._processes.get(key)
        if process is None or process.status.state != "running":
            return await self.status(key)
        if process.ignores_sigterm:
            await asyncio.sleep(process.spec.grace_s if grace_s is None else grace_s)
        self._finish(process, "stopped", -9 if process.ignores_sigterm else -15)
        return process.status

    async def log(self, key: str, offset: int = 0, limit_bytes: int = 65536) -> LogChunk:
        _check(key)
        process = self._processes.get(key)
        if process is None:
            return LogChunk(text="", begin=0, next_offset=0)
        patterns = patterns_of(process.spec.environment.get(name, "") for name in process.spec.secret_variables)
        return read_masked(process.read, patterns, offset, limit_bytes, lambda: process.status.state != "running")

    async def list(self) -> dict[str, ProcessStatus]:
        return {key: self._processes[key].status for key in sorted(self._processes)}

    async def survey(self) -> dict[str, Sighting]:
        live = {key: each for key, each in self._processes.items() if not each.ended.is_set()}
        return {key: Sighting(identity=f"process {each.number}") for key, each in sorted(live.items())}

    async def remove(self, key: str) -> None:
        _check(key)
        process = self._processes.get(key)
        if process is not None and process.status.state == "running":
            raise Conflict("process_running", "the process still runs", where=key, hint="stop it first")
        self._processes.pop(key, None)

    def end(self, key: str, exit_code: int) -> ProcessStatus:
        """The running process ends by itself: a job for good, a service until it has used up its restarts."""
        process = self._processes[key]
        spec, status = process.spec, process.status
        if spec.kind == "job":
            self._finish(process, "failed" if exit_code else "completed", exit_code)
        elif status.restarts < spec.max_restarts:
            self._observe(process, restarts=status.restarts + 1, pid=self._new_pid())
        else:
            self._finish(process, "gave_up", exit_code)
        return process.status

    def lose(self, key: str) -> None:
        """The supervisor is killed, and the process with it."""
        process = self._processes[key]
        self._observe(process, state="lost", pid=None, ended_at=to_text(self._clock.now()))
        process.ended.set()

    def print(self, key: str, text: str) -> None:
        """The process writes something."""
        process = self._processes[key]
        data, limit_bytes = text.encode(), process.spec.output_limit_bytes
        dropped_bytes = process.status.dropped_bytes
        process.output += data
        if process.spec.kind == "job":
            dropped_bytes += max(0, len(process.output) - limit_bytes)
            process.output = process.output[:limit_bytes]
        while len(process.output) > _KEPT_FILES * limit_bytes:
            process.output, process.begin = process.output[limit_bytes:], process.begin + limit_bytes
        output_bytes = process.begin + len(process.output)
        self._observe(process, output_bytes=output_bytes, dropped_bytes=dropped_bytes)

    def _run(self, process: _Process) -> None:
        spec = process.spec
        key = next(key for key, each in self._processes.items() if each is process)
        if spec.kind == "service" and spec.port is not None and self._is_taken(spec.port, process):
            self._finish(process, "port_taken", None)
            return
        for index, command in enumerate(spec.commands):
            stays = spec.kind == "service" and index == len(spec.commands) - 1
            script = self._scripts.get(command, Script(exit_code=None if stays else 0))
            if not script.is_executable:
                self._finish(process, "not_executable", None, f"the program '{command[0]}' was not found")
                return
            self._observe(process, pid=self._new_pid())
            process.ignores_sigterm = script.ignores_sigterm
            self.print(key, script.output)
            if script.exit_code is None:
                return
            if stays:
                while self.end(key, script.exit_code).state == "running":
                    self.print(key, script.output)
            elif script.exit_code:
                self._finish(process, "failed", script.exit_code)
                return
        if process.status.state == "running":
            self._finish(process, "completed", 0)

    def _is_taken(self, port: int, but: _Process) -> bool:
        listening = {each.spec.port for each in self._processes.values() if each is not but and each.status.state == "running"}
        return port in self.taken_ports | listening

    def _finish(self, process: _Process, reason: str, exit_code: int | None, message: str = "") -> None:
        if process.status.state == "running":
            ended = {"state": "exited", "pid": None, "ended_at": to_text(self._clock.now())}
            self._observe(process, reason=reason, exit_code=exit_code, message=message, **ended)
            process.ended.set()

    def _observe(self, process: _Process, **changes: Any) -> None:
        process.status = msgspec.structs.replace(process.status, **changes)

    def _new_pid(self) -> int:
        self._next_pid += 1
        return self._next_pid


def _check(key: str) -> None:
    if not key or not set(key) <= _KEY_LETTERS or key.startswith("-") or len(key) > 101:
        raise Invalid("process_key", f"not a key: {key[:120]!r}")


# The commands of the suite, each a real one, with what a `FakeHost` is told of it.
SAYS = ("/bin/sh", "-c", "echo hello")
SAYS_MORE = ("/bin/sh", "-c", "echo again >&2")
FAILS = ("/bin/sh", "-c", "echo no; exit 3")
STAYS = ("/bin/sleep", "600")
STUBBORN = ("/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done")
WRITES_1000 = ("/bin/sh", "-c", "printf '%01000d' 7")
MISSING = ("/nonexistent/program",)
TWO_LINES = "hunter2-hunter2\nsecond-line"
_LEAKED = f"token {TWO_LINES}, line by line: hunter2-hunter2 and second-line\n"
LEAKS = ("/usr/bin/printf", "%s", _LEAKED)

SUITE_SCRIPTS: Mapping[tuple[str, ...], Script] = {
    SAYS: Script(output="hello\n"),
    SAYS_MORE: Script(output="again\n"),
    FAILS: Script(output="no\n", exit_code=3),
    STAYS: Script(exit_code=None),
    STUBBORN: Script(output="ready\n", exit_code=None, ignores_sigterm=True),
    WRITES_1000: Script(output=f"{7:01000d}"),
    MISSING: Script(is_executable=False),
    LEAKS: Script(output=_LEAKED),
}

_PATIENCE_S = 20.0


def job(*commands: tuple[str, ...], **fields: Any) -> ProcessSpec:
    """A job in the root folder with an ordinary search path."""
    return _spec("job", commands, fields)


def service(*commands: tuple[str, ...], **fields: Any) -> ProcessSpec:
    """A service in the root folder with an ordinary search path, quick to restart and to be killed."""
    return _spec("service", commands, {"restart_delay_s": 0.01, "grace_s": 5.0} | fields)


def _spec(kind: str, commands: tuple[tuple[str, ...], ...], fields: dict[str, Any]) -> ProcessSpec:
    defaults = {"kind": kind, "commands": commands, "folder": "/", "environment": {"PATH": "/usr/bin:/bin"}}
    return msgspec.convert(defaults | fields, ProcessSpec)


@contextmanager
def refused(kind: type[InterlockError], code: str) -> Generator[list[InterlockError]]:
    """What is inside has to be refused so; the error is in the list afterwards."""
    found: list[InterlockError] = []
    try:
        yield found
    except kind as error:
        if error.code == code:
            found.append(error)
            return
        raise
    raise AssertionError(f"not refused as {code}")


@asynccontextmanager
async def _started(host: Host, key: str, spec: ProcessSpec) -> AsyncGenerator[ProcessStatus]:
    try:
        yield await host.start(key, spec)
    finally:
        await host.stop(key, 0)


async def _until_log(host: Host, key: str, text: str) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while text not in (await host.log(key)).text:  # noqa: ASYNC110 - the port has no event for output
            await asyncio.sleep(0.01)


class HostBehaviour:
    """What the port `Host` promises. The commands are the constants above; no test waits for more than it must."""

    async def test_a_job_runs_its_commands_in_order_and_ends(self, host: Host) -> None:
        started = await host.start("job", job(SAYS, SAYS_MORE))
        assert started.state in {"running", "exited"}
        ended = await host.wait("job", _PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code) == ("exited", "completed", 0)
        assert ended.started_at.endswith("Z")
        assert ended.ended_at >= ended.started_at
        assert (await host.log("job")).text == "hello\nagain\n"
        assert (ended.output_bytes, ended.dropped_bytes) == (12, 0)

    async def test_a_job_stops_at_the_first_command_that_fails(self, host: Host) -> None:
        await host.start("job", job(SAYS, FAILS, SAYS_MORE))
        ended = await host.wait("job", _PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code) == ("exited", "failed", 3)
        assert (await host.log("job")).text == "hello\nno\n"

    async def test_a_key_is_used_once(self, host: Host) -> None:
        async with _started(host, "once", service(STAYS)):
            with refused(Conflict, "process_exists"):
                await host.start("once", service(STAYS))
        with refused(Conflict, "process_exists"):
            await host.start("once", job(SAYS))

    async def test_of_many_starts_under_one_key_one_wins(self, host: Host) -> None:
        outcomes = await asyncio.gather(*(host.start("race", service(STAYS)) for _ in range(5)), return_exceptions=True)
        try:
            assert sum(isinstance(outcome, ProcessStatus) for outcome in outcomes) == 1
            assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 4
        finally:
            await host.stop("race", 0)

    async def test_a_key_nobody_used_is_absent(self, host: Host) -> None:
        assert (await host.status("nobody")).state == "absent"
        assert (await host.wait("nobody", 1)).state == "absent"
        assert (await host.stop("nobody")).state == "absent"
        assert await host.log("nobody") == LogChunk(text="", begin=0, next_offset=0)
        await host.remove("nobody")

    async def test_what_is_not_a_key_is_refused(self, host: Host) -> None:
        for key in ("", "..", "../up", "a/b", "-a", "A", "a b", "a\n", "a" * 102):
            with refused(Invalid, "process_key"):
                await host.start(key, job(SAYS))
            with refused(Invalid, "process_key"):
                await host.status(key)

    async def test_a_specification_without_a_command_is_refused(self, host: Host) -> None:
        for commands in ((), ((),)):
            with refused(Invalid, "process_spec"):
                await host.start("empty", job(*commands))
        assert (await host.status("empty")).state == "absent"

    async def test_a_program_that_is_not_there_is_named(self, host: Host) -> None:
        await host.start("missing", job(SAYS, MISSING))
        ended = await host.wait("missing", _PATIENCE_S)
        assert (ended.state, ended.reason) == ("exited", "not_executable")
        assert MISSING[0] in ended.message

    async def test_a_job_that_takes_too_long_is_killed(self, host: Host) -> None:
        await host.start("slow", job(SAYS, STAYS, timeout_s=0.2))
        ended = await host.wait("slow", _PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code) == ("exited", "timeout", -9)

    async def test_waiting_can_end_before_the_process_does(self, host: Host) -> None:
        async with _started(host, "long", service(STAYS)) as status:
            assert status.state == "running"
            assert await host.wait("long", 0.05) == await host.status("long")
            assert (await host.status("long")).pid == status.pid

    async def test_stopping_a_service_twice_is_stopping_it(self, host: Host) -> None:
        await host.start("service", service(STAYS))
        first = await host.stop("service")
        assert (first.state, first.reason, first.exit_code, first.pid) == ("exited", "stopped", -15, None)
        assert await host.stop("service") == first == await host.status("service")

    async def test_a_service_that_ignores_the_request_is_killed_after_the_grace(self, host: Host) -> None:
        await host.start("stubborn", service(STUBBORN))
        await _until_log(host, "stubborn", "ready")
        ended = await host.stop("stubborn", 0.1)
        assert (ended.state, ended.reason, ended.exit_code) == ("exited", "stopped", -9)

    async def test_a_service_that_keeps_ending_is_given_up(self, host: Host) -> None:
        await host.start("loop", service(FAILS, max_restarts=0))
        assert (await host.wait("loop", _PATIENCE_S)).reason == "gave_up"
        await host.start("crash", service(SAYS, FAILS, max_restarts=2))
        # A command before the last one is a step like a job's; only the last one is the service.
        ended = await host.wait("crash", _PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code, ended.restarts) == ("exited", "gave_up", 3, 2)
        assert (await host.log("crash")).text == "hello\n" + "no\n" * 3

    async def test_a_service_whose_preparation_fails_is_not_served(self, host: Host) -> None:
        await host.start("unprepared", service(FAILS, STAYS))
        ended = await host.wait("unprepared", _PATIENCE_S)
        assert (ended.state, ended.reason, ended.exit_code) == ("exited", "failed", 3)

    async def test_output_beyond_the_limit_is_counted(self, host: Host) -> None:
        await host.start("flood", job(WRITES_1000, WRITES_1000, output_limit_bytes=1500))
        ended = await host.wait("flood", _PATIENCE_S)
        assert (ended.output_bytes, ended.dropped_bytes) == (1500, 500)
        assert (await host.log("flood")).next_offset == 1500

    async def test_a_service_keeps_its_latest_output(self, host: Host) -> None:
        await host.start("chatty", service(WRITES_1000, max_restarts=5, output_limit_bytes=700))
        ended = await host.wait("chatty", _PATIENCE_S)
        assert (ended.output_bytes, ended.dropped_bytes) == (6000, 0)
        first = await host.log("chatty", 0)
        assert len(first.text) < 6000
        assert first.next_offset == 6000
        # Told, so that a reader can tell what it missed.
        assert first.begin == 6000 - len(first.text)
        assert (await host.log("chatty", 5990)).text == "0000000007"

    async def test_the_value_of_a_secret_is_masked_however_the_output_is_cut(self, host: Host) -> None:
        environment = {"PATH": "/usr/bin:/bin", "TOKEN": TWO_LINES}
        await host.start("leaky", job(LEAKS, environment=environment, secret_variables=("TOKEN",)))
        await host.wait("leaky", _PATIENCE_S)
        end = (await host.status("leaky")).output_bytes
        assert (await host.log("leaky")).text == "token ***, line by line: *** and ***\n"
        for begin in range(end):
            for size in range(1, end - begin + 1):
                text = (await host.log("leaky", begin, size)).text
                assert not any(piece in text for piece in ("hunter", "unter2", "second", "econd-"))

    async def test_a_secret_torn_by_the_rotation_is_masked(self, host: Host) -> None:
        environment = {"PATH": "/usr/bin:/bin", "TOKEN": TWO_LINES.splitlines()[0]}
        torn = {"secret_variables": ("TOKEN",), "output_limit_bytes": 10, "max_restarts": 2}
        await host.start("torn", service(LEAKS, environment=environment, **torn))
        await host.wait("torn", _PATIENCE_S)
        chunk = await host.log("torn")
        assert chunk.begin > 0
        assert not any(piece in chunk.text for piece in ("hunter", "unter2", "nter2-"))

    async def test_output_is_read_from_an_offset_on(self, host: Host) -> None:
        await host.start("log", job(SAYS, SAYS_MORE))
        await host.wait("log", _PATIENCE_S)
        assert await host.log("log", 2, 3) == LogChunk(text="llo", begin=2, next_offset=5)
        assert await host.log("log", -6) == LogChunk(text="again\n", begin=6, next_offset=12)
        assert await host.log("log", -100, 5) == LogChunk(text="hello", begin=0, next_offset=5)
        assert await host.log("log", 12) == LogChunk(text="", begin=12, next_offset=12)
        assert await host.log("log", 500) == LogChunk(text="", begin=12, next_offset=12)

    async def test_every_key_is_listed_with_its_status(self, host: Host) -> None:
        await host.start("b", job(SAYS))
        await host.wait("b", _PATIENCE_S)
        async with _started(host, "a", service(STAYS)):
            assert {key: status.state for key, status in (await host.list()).items()} == {"a": "running", "b": "exited"}

    async def test_a_survey_has_what_runs_and_tells_one_from_another(self, host: Host) -> None:
        await host.start("b", job(SAYS))
        await host.wait("b", _PATIENCE_S)
        async with _started(host, "a", service(STAYS)):
            first = await host.survey()
            assert list(first) == ["a"]
            assert await host.survey() == first
        assert await host.survey() == {}
        await host.remove("a")
        async with _started(host, "a", service(STAYS)):
            assert (await host.survey())["a"].identity != first["a"].identity

    async def test_only_what_has_ended_can_be_removed(self, host: Host) -> None:
        async with _started(host, "gone", service(STAYS)):
            with refused(Conflict, "process_running"):
                await host.remove("gone")
        await host.remove("gone")
        await host.remove("gone")
        assert (await host.status("gone")).state == "absent"
        assert "gone" not in await host.list()
        await host.start("gone", job(SAYS))
        assert (await host.wait("gone", _PATIENCE_S)).reason == "completed"
