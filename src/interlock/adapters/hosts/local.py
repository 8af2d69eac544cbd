"""Supervised processes on this machine (Linux): a folder for each key, and in it a supervisor's lock and records."""

import asyncio
import errno
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from interlock.adapters.hosts import procfs, records
from interlock.adapters.hosts.observation import observe, remains
from interlock.adapters.hosts.output import read_output
from interlock.adapters.hosts.spawn import claim, complaint, spawn, wait_until_ready
from interlock.core.errors import Conflict, Invalid, Unavailable
from interlock.tools.masking import patterns_of, read_masked
from interlock.tools.ports import LogChunk, ProcessSpec, ProcessStatus, Sighting

T = TypeVar("T")

_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,100}")
# No key begins with a dot.
_REMOVED = ".removed"
_ENDED = frozenset({"absent", "exited", "lost"})
_START_TIMEOUT_S = 30.0
# How much longer than the grace a supervisor may take to end before it is taken for stuck.
_STOP_MARGIN_S = 5.0
_REMOVE_TIMEOUT_S = 2.0
_POLL_S = 0.02
_LITTLE_BYTES = 65536
_MAKE_ROOM = "see whether the disk is full or the machine overloaded, then ask for it again"


class LocalHost:
    """The `Host` port on this machine. All state is in ``folder``: any number of these, in any processes, may share it.

    Every method raises Invalid ``process_key`` for what is not a key (``[a-z0-9][a-z0-9-]{0,100}``).
    """

    _children: ClassVar[set[int]] = set()
    """Supervisors that this process started and has not collected yet, whichever `LocalHost` it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._over: set[tuple[str, int]] = set()
        """Folders, by name and the time of their last change, whose processes have ended: nothing of that runs again."""

    async def start(self, key: str, spec: ProcessSpec) -> ProcessStatus:
        """As the port says; raises Invalid ``process_spec`` too."""
        _check(spec)
        return await self._in_thread(self._start, self._place(key), spec)

    async def status(self, key: str) -> ProcessStatus:
        return await self._in_thread(observe, self._place(key))

    async def wait(self, key: str, timeout_s: float | None = None) -> ProcessStatus:
        place = self._place(key)
        until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            status = await self.status(key)
            left_s = until - time.monotonic()
            if status.state in _ENDED or left_s <= 0:
                return status
            await _supervisor_end(place, left_s)

    async def stop(self, key: str, grace_s: float | None = None) -> ProcessStatus:
        place = self._place(key)
        status = await self._past_start(key)
        if status.state in _ENDED:
            return status
        grace_s = await self._in_thread(_ask_to_stop, place, grace_s)
        if not await _supervisor_end(place, grace_s + _STOP_MARGIN_S):
            await self._in_thread(_kill_supervisor, place)
        await self._in_thread(_kill_remains, place)
        return await self.wait(key, _STOP_MARGIN_S)

    async def log(self, key: str, offset: int = 0, limit_bytes: int = 65536) -> LogChunk:
        place = self._place(key)
        return await self._in_thread(_log, place, offset, limit_bytes)

    async def list(self) -> dict[str, ProcessStatus]:
        return await self._in_thread(self._list)

    async def survey(self) -> dict[str, Sighting]:
        return await self._in_thread(self._survey)

    async def remove(self, key: str) -> None:
        await self._in_thread(self._remove, self._place(key))

    async def _past_start(self, key: str) -> ProcessStatus:
        """The status, once there is a supervisor that can be told to stop, or none will be."""
        place, until = self._place(key), time.monotonic() + _START_TIMEOUT_S
        while True:
            status = await self.status(key)
            has_supervisor = records.read_record(place, records.SUPERVISOR) is not None
            if status.state != "starting" or has_supervisor or time.monotonic() > until:
                return status
            await asyncio.sleep(_POLL_S)

    def _place(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise Invalid("process_key", f"not a key: {key[:120]!r}", hint="use a-z, 0-9 and '-', at most 101 of them")
        return str(self._folder / key)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        self._reap()
        return await asyncio.to_thread(function, *arguments)

    def _reap(self) -> None:
        """Collect the supervisors that have ended, at every call: at most the last ones stay defunct, until the next call."""
        for pid in tuple(self._children):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                self._children.discard(pid)

    def _start(self, place: str, spec: ProcessSpec) -> ProcessStatus:
        try:
            lock = claim(place)
            try:
                pid, ready = spawn(place, spec, lock)
            finally:
                os.close(lock)
        except OSError as error:
            message = f"a process cannot be started now: {error}"
            raise Unavailable("host_unavailable", message, where=place, hint=_MAKE_ROOM) from error
        self._children.add(pid)
        wait_until_ready(ready, _START_TIMEOUT_S)
        status = _once_begun(place)
        if status.state == "absent":
            why = os.strerror(errno.ENOSPC) if _is_full(place) else complaint(place)
            raise Unavailable("host_unavailable", f"the supervisor gave up: {why}", where=place, hint=_MAKE_ROOM)
        return status

    def _list(self) -> dict[str, ProcessStatus]:
        names = sorted(os.listdir(self._folder)) if self._folder.is_dir() else []
        statuses = {name: observe(self._place(name)) for name in names if _KEY.fullmatch(name)}
        return {name: status for name, status in statuses.items() if status.state != "absent"}

    def _survey(self) -> dict[str, Sighting]:
        if not self._folder.is_dir():
            return {}
        with os.scandir(self._folder) as entries:
            found = {(entry.name, entry.stat().st_ctime_ns) for entry in entries if _KEY.fullmatch(entry.name)}
        self._over &= found
        sightings: dict[str, Sighting] = {}
        for name, changed in sorted(found - self._over):
            place = self._place(name)
            state = observe(place).state
            if state in {"exited", "lost"}:
                self._over.add((name, changed))
            elif state != "absent":
                supervisor = records.read_record(place, records.SUPERVISOR) or {}
                identity = f"process {supervisor.get('pid', '?')} begun at tick {supervisor.get('start_time', '?')}"
                sightings[name] = Sighting(identity=identity)
        return sightings

    def _remove(self, place: str) -> None:
        until = time.monotonic() + _REMOVE_TIMEOUT_S
        while os.path.isdir(place):
            if observe(place).state not in _ENDED or time.monotonic() > until:
                raise Conflict("process_running", "the process still runs", where=place, hint="stop it first")
            # Held for another moment by a supervisor that has written its result and is about to end.
            if (lock := records.take_lock(place)) is None:
                time.sleep(_POLL_S)
                continue
            try:
                self._discard(place)
            finally:
                os.close(lock)

    def _discard(self, place: str) -> None:
        """Out of sight in one step, then file by file, with what an earlier removal did not finish."""
        removed = self._folder / _REMOVED
        removed.mkdir(mode=0o700, exist_ok=True)
        os.rename(place, removed / f"{os.path.basename(place)}.{secrets.token_hex(4)}")
        for folder in removed.iterdir():
            shutil.rmtree(folder, ignore_errors=True)


def _once_begun(place: str) -> ProcessStatus:
    """The status of what was just started. A supervisor that gives up lives for another moment, without a process on record."""
    until = time.monotonic() + _STOP_MARGIN_S
    while (status := observe(place)).state == "starting" and not records.has_run(place) and time.monotonic() < until:
        time.sleep(_POLL_S)
    return status


def _is_full(place: str) -> bool:
    """Whether there is so little room that a supervisor could not write down why it gave up."""
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize < _LITTLE_BYTES


def _check(spec: ProcessSpec) -> None:
    texts = [spec.folder, *(word for command in spec.commands for word in command)]
    texts += [part for entry in spec.environment.items() for part in entry]
    faults = {
        "there is no command": not spec.commands or not all(spec.commands),
        "the folder is not an absolute path": not os.path.isabs(spec.folder),
        "a text holds a NUL character": any("\0" in text for text in texts),
        "the name of an environment variable is empty or holds '='": any(not name or "=" in name for name in spec.environment),
        "a limit is negative, or none is left of the output": min(spec.grace_s, spec.restart_delay_s, spec.max_restarts) < 0
        or spec.output_limit_bytes < 1,
    }
    if found := [fault for fault, is_there in faults.items() if is_there]:
        raise Invalid("process_spec", "; ".join(found))


async def _supervisor_end(place: str, timeout_s: float) -> bool:
    """Wait for the end of the supervisor; whether it came. Where none is to be seen, wait for a moment."""
    pidfd = procfs.open_pidfd(records.read_record(place, records.SUPERVISOR))
    if pidfd is None:
        await asyncio.sleep(min(_POLL_S, timeout_s))
        return True
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(None if timeout_s == float("inf") else timeout_s):
            await ended.wait()
    except TimeoutError:
        return False
    else:
        return True
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


def _ask_to_stop(place: str, grace_s: float | None) -> float:
    """SIGTERM to the supervisor; the longest grace that it will give."""
    request = records.SPEC
    if grace_s is not None:
        # On a full disk the grace of the specification is given instead.
        with suppress(OSError):
            records.write_record(place, records.STOP, {"grace_s": grace_s})
            request = records.STOP
    _signal_supervisor(place, signal.SIGTERM)
    return float((records.read_record(place, request) or {"grace_s": 0.0})["grace_s"])


def _signal_supervisor(place: str, number: signal.Signals) -> None:
    pidfd = procfs.open_pidfd(records.read_record(place, records.SUPERVISOR))
    if pidfd is not None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)
        os.close(pidfd)


def _kill_supervisor(place: str) -> None:
    """End a supervisor that does not answer, and everything below it."""
    # Frozen, not killed, at first: as long as it lives, orphans come back to its tree, where they are found.
    _signal_supervisor(place, signal.SIGSTOP)
    until = time.monotonic() + _STOP_MARGIN_S
    while (tree := _live_tree(records.read_record(place, records.SUPERVISOR))) and time.monotonic() < until:
        _kill(tree)
        time.sleep(_POLL_S)
    _signal_supervisor(place, signal.SIGKILL)


def _live_tree(supervisor: dict[str, Any] | None) -> list[procfs.Process]:
    if supervisor is None or not procfs.is_alive(supervisor):
        return []
    return [process for process in procfs.descendants(supervisor["pid"]) if not process.has_ended]


def _kill_remains(place: str) -> None:
    _kill(remains(place))


def _kill(found: list[procfs.Process]) -> None:
    for process in found:
        now = procfs.read_process(process.pid)
        if now is not None and now.start_time == process.start_time:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _log(place: str, offset: int, limit_bytes: int) -> LogChunk:
    """A piece of the output without the values of secrets: what a service prints of them must not travel further."""
    spec = records.read_record(place, records.SPEC) or {}
    patterns = patterns_of(spec["environment"].get(name, "") for name in spec.get("secret_variables", ()))

    def read(offset: int, limit_bytes: int) -> tuple[int, bytes]:
        return read_output(place, offset, limit_bytes)

    return read_masked(read, patterns, offset, limit_bytes, lambda: not records.is_locked(place))
