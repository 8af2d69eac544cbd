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


def mentioning(text: str) -> list[Identity]:
    """Processes with ``text`` in their command line or environment, this one left out."""
    pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal() and int(entry.name) != os.getpid()]
    found = [identify(pid) for pid in pids if any(text.encode() in _bytes(pid, name) for name in ("cmdline", "environ"))]
    return [process for process in found if process is not None]


def _stat(pid: int) -> list[str] | None:
    """The fields from the third (the state) on; the second may hold anything."""
    text = _bytes(pid, "stat").decode(errors="replace")
    return text.rpartition(")")[2].split() or None


def _bytes(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
