"""What a process and everything below it use, from /proc; servers that put themselves into the background included."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")


def keep_orphans() -> None:
    """From now on a process below this one that loses its parent becomes a child of this one, and so stays below it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def below(pid: int) -> Iterator[int]:
    """The processes below ``pid``, children before their own children."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    waiting = list(children.get(pid, ()))
    while waiting:
        found = waiting.pop(0)
        yield found
        waiting += children.get(found, ())


def cpu_s() -> float:
    """The processor time that this process, those below it, and those that they have waited for have used so far."""
    pid = os.getpid()
    ticks = [int(value) for value in _stat(pid)[13:15]]
    ticks += [int(value) for one in below(pid) for value in _stat(one)[11:15]]
    return time.process_time() + sum(ticks) / _TICKS


def memory_mb(pid: int) -> float:
    """The memory of the process and those below it; what several share is shared out among them."""
    return sum(_proportional_kb(one) for one in (pid, *below(pid))) / 1024


def end(pid: int, patience_s: float = 10.0) -> None:
    """End the child ``pid`` and everything below it; whoever does not go when asked is killed."""
    keep = os.getpid()
    for one in (pid, *below(pid)):
        _send(one, signal.SIGTERM)
    until = time.monotonic() + patience_s
    while time.monotonic() < until and list(_living(keep)):
        _reap()
        time.sleep(0.05)
    while left := list(_living(keep)):
        for one in left:
            _send(one, signal.SIGKILL)
        _reap()
        time.sleep(0.05)
    _reap()


def _living(pid: int) -> Iterator[int]:
    return (one for one in below(pid) if (fields := _stat(one)) and fields[0] != "Z")


def _send(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _stat(pid: int) -> list[str]:
    """The fields behind the name: state, parent, …; empty once the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def _proportional_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
