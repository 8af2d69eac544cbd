"""Processes as Linux shows them in /proc, told apart by more than a number that is soon used again.

Standard library only: the supervisor imports this.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

_ENDED = frozenset("ZXx")


class Process:
    """One line of /proc/PID/stat. ``start_time`` is in clock ticks since the machine was booted."""

    __slots__ = ("group", "has_ended", "parent", "pid", "session", "start_time")

    def __init__(self, stat: str) -> None:
        # The second field, the program's name, may itself hold blanks and parentheses.
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        self.pid = int(head.split(" ", 1)[0])
        self.has_ended = fields[0] in _ENDED
        self.parent, self.group, self.session = (int(field) for field in fields[1:4])
        self.start_time = int(fields[19])


def read_process(pid: int) -> Process | None:
    """The process with that number now, ended and not yet reaped ones included; None where there is none."""
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return Process(stat.read())
    return None


def processes() -> Iterator[Process]:
    """Every process of this machine (of this PID namespace), as it was when the iterator came by."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (process := read_process(int(entry))):
            yield process


def descendants(pid: int) -> list[Process]:
    """The children of ``pid``, their children, and so on."""
    children: dict[int, list[Process]] = {}
    for process in processes():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    pending = [pid]
    while pending:
        born = children.pop(pending.pop(), [])
        found.extend(born)
        pending.extend(process.pid for process in born)
    return found


def members(session: int, group: int) -> list[Process]:
    """The live processes of one process group in one session."""
    return [each for each in processes() if each.session == session and each.group == group and not each.has_ended]


def boot_id() -> str:
    """Changes with every boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def identity(pid: int) -> dict[str, int | str]:
    """What names a process for good: ``pid``, ``start_time`` and ``boot_id``. Raises ProcessLookupError."""
    process = read_process(pid)
    if process is None:
        raise ProcessLookupError(pid)
    return {"pid": pid, "start_time": process.start_time, "boot_id": boot_id()}


def is_alive(record: Mapping[str, object] | None) -> bool:
    """Whether the very process of which ``record`` holds the identity still runs."""
    if record is None or record["boot_id"] != boot_id():
        return False
    process = read_process(int(str(record["pid"])))
    return process is not None and process.start_time == record["start_time"] and not process.has_ended


def open_pidfd(record: Mapping[str, object] | None) -> int | None:
    """A descriptor that stands for the very process of ``record``, also after its number went to another; None if it ended."""
    if record is None:
        return None
    try:
        descriptor = os.pidfd_open(int(str(record["pid"])))
    except ProcessLookupError:
        return None
    # Looked at after the descriptor was opened: what is alive now is what the descriptor stands for.
    if is_alive(record):
        return descriptor
    os.close(descriptor)
    return None
