"""One workload on one engine, in this process; what was measured goes to ``row.json`` in the folder.

    python -m engine.one ENGINE WORKLOAD SCALE FOLDER

The file ``began`` in the folder says that the engine is ready and the clock runs, and what the engine is.
"""

import asyncio
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from engine.bodies import FILE, executions, waits_ms
from engine.catalogue import ENGINES
from engine.port import Engine
from engine.processes import cpu_s, keep_orphans, memory_mb
from engine.workloads import WORKLOADS, Workload, warm_up


def make(name: str) -> Engine:
    entry = ENGINES[name]
    return importlib.import_module(f"engine.adapters.{entry.module}").Engine(*entry.arguments)


async def measure(name: str, workload: Workload, folder: Path) -> dict[str, Any]:
    begun = time.monotonic()
    engine = make(name)
    await engine.start(folder)
    try:
        startup_s = time.monotonic() - begun
        await engine.define(warm_up())
        await engine.run(warm_up())
        await engine.define(workload)
        row: dict[str, Any] = {"version": engine.version, "durability": engine.durability, "startup_s": round(startup_s, 4)}
        _write(folder / "began", row)
        cpu, started = cpu_s(), time.monotonic()
        found = await engine.run(workload)
        seconds = time.monotonic() - started
        cpu = cpu_s() - cpu
        row |= {"seconds": round(seconds, 6), "tasks_per_s": round(workload.tasks / seconds, 1)}
        row |= {"cpu_ms_per_task": round(cpu * 1000 / workload.tasks, 3), "peak_memory_mb": round(memory_mb(os.getpid()), 1)}
        return row | {"tasks_done": workload.tasks} | check(workload, found, folder / "notes")
    finally:
        await engine.stop()


def check(workload: Workload, found: list[tuple[int, ...]], notes: Path) -> dict[str, Any]:
    """Whether the engine came to the right results, and how long tasks waited that could have begun."""
    wrong = sum(tuple(got) != wanted for got, wanted in zip(found, workload.end_results(), strict=True))
    counts = executions(notes, workload)
    missing = workload.tasks - len(counts)
    problems = [f"{wrong} of {workload.runs} runs came to a wrong result"] if wrong else []
    problems += [f"{missing} tasks were never carried out"] if missing else []
    row: dict[str, Any] = {"result_checked": not problems, "problem": "; ".join(problems)}
    row["carried_out_again"] = counts.total() - len(counts)
    waits = waits_ms(notes, workload)
    for percent in (50, 99):
        row[f"ready_to_start_p{percent}_ms"] = round(waits[round(percent / 100 * (len(waits) - 1))], 3) if waits else None
    return row


def main() -> None:
    name, workload, scale, folder = sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4])
    os.environ[FILE] = str(folder / "notes")
    keep_orphans()
    row = asyncio.run(measure(name, WORKLOADS[workload](scale), folder))
    _write(folder / "row.json", row)


def _write(file: Path, row: dict[str, Any]) -> None:
    """Whole or not at all: somebody waits for it."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(row))
    part.rename(file)


if __name__ == "__main__":
    main()
