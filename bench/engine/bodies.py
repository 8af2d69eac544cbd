"""The body that every task has in every engine: it computes its number and notes when it ran.

The notes go to a file, one write of 24 bytes each and no fsync, which costs the same everywhere. All processes of an engine
append to the same file, so what was done is known also when an engine did not come to its end; the clock is the machine's
monotonic one, the same for all processes.
"""

import os
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from engine.workloads import Workload, result

FILE = "INTERLOCK_BENCH_NOTES"
"""The environment variable that names the file."""

_NOTE = struct.Struct("=IIdd")


def body(run: int, task: int, values: Sequence[int]) -> int:
    """What `task` comes to, given the results of its needs in their order."""
    started = time.monotonic()
    found = result(run, task, values)
    os.write(_file(), _NOTE.pack(run, task, started, time.monotonic()))
    return found


@cache
def _file() -> int:
    return os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def notes(file: Path, workload: Workload) -> Iterator[tuple[int, int, float, float]]:
    """Run, task, start and end of each body of the workload that ended."""
    content = file.read_bytes() if file.exists() else b""
    for note in _NOTE.iter_unpack(content[: len(content) // _NOTE.size * _NOTE.size]):
        if note[0] in workload.numbers:
            yield note


def executions(file: Path, workload: Workload) -> Counter[tuple[int, int]]:
    """How often each task of each run was carried out."""
    return Counter((run, task) for run, task, _, _ in notes(file, workload))


def waits_ms(file: Path, workload: Workload) -> list[float]:
    """For each task with needs the time between the end of its last need and its own start, in order of length."""
    times = {(run, task): (started, ended) for run, task, started, ended in notes(file, workload)}
    found: list[float] = []
    for (run, task), (started, _) in times.items():
        ends = [times[run, need][1] for need in workload.needs[task] if (run, need) in times]
        if ends:
            found.append((started - max(ends)) * 1000)
    return sorted(found)
