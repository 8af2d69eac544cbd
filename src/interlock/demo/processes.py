"""Processes of this machine by pid and start time, so that a number that was given away again is never mistaken."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Identity(NamedTuple):
    """``start_time`` is in clock ticks since boot, as the kernel gives it."""

    pid: int
    start_time: int

    @property
    def is_alive(self) -> bool:
        return identify(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it is still there."""
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if self.is_alive:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


def identify(pid: int) -> Identity | None:
    """The process that has this pid now; None where there is none, or only its exit code is left."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else Identity(pid, int(fields[19]))


def descendants(pid: int) -> list[Identity]:
    """Everything below a process, at this moment."""
    parents = {int(entry.name): _stat(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal()}
    found, open_pids = list[Identity](), [pid]
    while open_pids:
        above = open_pids.pop()
        for child, fields in parents.items():
            if fields is not None and int(fields[1]) == above:
                found.append(Identity(child, int(fields[19])))
                open_pids.append(child)
    return found


def living_off(folder: Path) -> list[Identity]:
    """Processes whose command line names ``folder`` or whose home is below it, but for this one and those that it came from."""
    pids = {int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()} - _lineage()
    path = str(folder).encode()
    found = [
        identify(pid) for pid in pids if path in _bytes(pid, "cmdline") or b"\0HOME=" + path in b"\0" + _bytes(pid, "environ")
    ]
    return [process for process in found if process is not None]


def has_variable(process: Identity, name: str, value: str) -> bool:
    """Whether a process was started with this environment variable."""
    return f"{name}={value}".encode() in _bytes(process.pid, "environ").split(b"\0")


def _lineage() -> set[int]:
    pid, found = os.getpid(), set[int]()
    while (fields := _stat(pid)) is not None and pid not in found:
        found.add(pid)
        pid = int(fields[1])
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields from the third (the state) on; the second may hold anything."""
    text = _bytes(pid, "stat").decode(errors="replace")
    return text.rpartition(")")[2].split() or None


def _bytes(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
