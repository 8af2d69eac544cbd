"""Measures every engine with every workload, one after the other; writes ``bench/results/engine.json``, prints a table."""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from figures import RESULTS, about_here

from engine.bodies import executions
from engine.catalogue import ENGINES
from engine.environments import NotMade, python_of
from engine.processes import end, keep_orphans, memory_mb
from engine.workloads import WORKLOADS, Workload

BENCH = Path(__file__).parents[1]
CACHE = Path("~/.cache/interlock-bench").expanduser()
# A folder on a disk: what /tmp holds is in memory on many machines, and there a commit waits for nothing.
DATA = Path("/var/tmp")
STARTUP_LIMIT_S = 180.0
LOOK_S = 0.05
LOOKS_A_MEMORY_LOOK = 20
ERROR = re.compile(r"[\w.]*(Error|Exception)\b.*: ")
TOLD_TO_NOBODY = {"DO_NOT_TRACK": "1", "LANGSMITH_TRACING": "false", "RESTATE_DISABLE_TELEMETRY": "true"}
COLUMNS = {
    "engine": "engine",
    "workload": "workload",
    "tasks/s": "tasks_per_s",
    "seconds": "seconds",
    "ready to start p50 ms": "ready_to_start_p50_ms",
    "p99 ms": "ready_to_start_p99_ms",
    "CPU ms a task": "cpu_ms_per_task",
    "memory MiB": "peak_memory_mb",
    "start s": "startup_s",
    "checked": "result_checked",
    "problem": "problem",
}


def main(options: argparse.Namespace) -> None:
    keep_orphans()
    rows: list[dict[str, Any]] = []
    about = about_here()
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for name in options.engines:
        for workload in options.workloads:
            rows.append(measure(name, WORKLOADS[workload](options.scale), options) | about)
            print("| " + " | ".join(_cell(rows[-1].get(field)) for field in COLUMNS.values()) + " |", flush=True)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=2) + "\n")
    print("\nWhat is on the disk when a task counts as done:\n")
    for name, words in {row["engine"]: f"({row['version']}): {row['durability']}" for row in rows if row["version"]}.items():
        print(f"- {name} {words}")


def measure(name: str, workload: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """One row; a peer that cannot be started or does not come to an end says so in it."""
    row: dict[str, Any] = {"engine": name, "version": "", "workload": workload.name, "scale": options.scale}
    row |= {"tasks": workload.tasks, "runs": workload.runs, "durability": "", "result_checked": False, "problem": ""}
    try:
        python = python_of(ENGINES[name].environment, options.cache.expanduser())
    except NotMade as error:
        return row | {"problem": f"not installed: {error}"}
    folder = Path(tempfile.mkdtemp(prefix=f"interlock-bench-{name}-", dir=options.data))
    folder.chmod(0o755)
    try:
        return row | watched(python, name, workload, folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def watched(python: Path, name: str, workload: Workload, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Let ``one.py`` work in a process of its own, look at its memory now and then, and end it when it takes too long."""
    command = [str(python), "-m", "engine.one", name, workload.name, str(options.scale), str(folder)]
    environment = os.environ | TOLD_TO_NOBODY | {"PYTHONPATH": str(BENCH)}
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        peak_mb = _wait(child, folder, options.limit)
        row: dict[str, Any] = json.loads((folder / "row.json").read_text())
        return row | {"peak_memory_mb": max(row["peak_memory_mb"], round(peak_mb, 1))}
    except TimeoutError:
        return unfinished(workload, folder, options.limit)
    except OSError:
        if options.verbose:
            print((folder / "log").read_text(errors="replace"), file=sys.stderr)
        return {"problem": last_words(folder / "log") or f"ended with {child.returncode} and without a word"}
    finally:
        end(child.pid)


def _wait(child: subprocess.Popen[bytes], folder: Path, limit_s: float) -> float:
    """Returns the most memory that was seen, once the child has ended. Raises TimeoutError."""
    deadline, began, looks, peak_mb = time.monotonic() + STARTUP_LIMIT_S, False, 0, 0.0
    while child.poll() is None and not (folder / "row.json").exists():
        if not began and (folder / "began").exists():
            began, deadline = True, time.monotonic() + limit_s
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(LOOK_S)
        looks += 1
        if looks % LOOKS_A_MEMORY_LOOK == 0:
            peak_mb = max(peak_mb, memory_mb(child.pid))
    # The engine stops by itself, as far as it does that in time.
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(10)
    return peak_mb


def last_words(log: Path) -> str:
    """The last line of a log that names an error, else the last one."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if ERROR.match(line)), lines[-1] if lines else "")[:300]


def unfinished(workload: Workload, folder: Path, limit_s: float) -> dict[str, Any]:
    if not (folder / "began").exists():
        return {"problem": f"was not ready after {STARTUP_LIMIT_S:g} s"}
    done = len(executions(folder / "notes", workload))
    found: dict[str, Any] = json.loads((folder / "began").read_text())
    found |= {"seconds": limit_s, "tasks_done": done, "tasks_per_s": round(done / limit_s, 1)}
    return found | {"problem": f"stopped after {limit_s:g} s with {done} of {workload.tasks} tasks done"}


def _cell(value: Any) -> str:
    match value:
        case None | "":
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return str(value).replace("|", "/")


def _names(known: Sequence[str]):
    def parse(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return parse


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m engine", description=f"{__doc__} Interlock is {version('interlock')}.")
    parser.add_argument("--engines", type=_names(list(ENGINES)), default=list(ENGINES), help=f"of {','.join(ENGINES)}")
    parser.add_argument("--workloads", type=_names(list(WORKLOADS)), default=list(WORKLOADS), help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 for a short slice")
    parser.add_argument(
        "--limit", type=float, default=120.0, metavar="S", help="stop an engine that takes longer for a workload"
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the peers' environments are kept")
    parser.add_argument("--data", type=Path, default=DATA, help="where the engines keep their data; has to be on a disk")
    parser.add_argument("--output", type=Path, default=RESULTS.parent / "engine.json")
    parser.add_argument("--verbose", action="store_true", help="show all of what an engine said that could not be measured")
    main(parser.parse_args())
