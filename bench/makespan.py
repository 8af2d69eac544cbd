"""How long graphs of work take on the engine, beside what no engine could undercut.

    .venv/bin/python bench/makespan.py --corpus FOLDER [--slots 1,2,4,8,16] [--only NAME] [--scale 0.01] [--longest-s 60]

The folder holds `graphs.jsonl`, a graph a line (`id`, `t`: seconds of each task, `d`: the numbers of the tasks that each one
needs), and `bounds.jsonl`, for each graph and number of slots a lower bound (`lower_s`) and what list scheduling reaches
(`list_s`). Traces of scientific workflows, as WfCommons publishes them, can be turned into such lines.

Each graph is **simulated** with the engine's own scheduler, no time passing: that shows what the order is worth. Where the
lower bound at this scale is at most `--longest-s`, it also **runs**, on the real engine with its journal on this disk: every
task sleeps for its time, and the makespan is what the events say. From the events alone it is checked that no task started
before its needs had ended, that each was the first in order of those that were ready, and that no slot was free while one was.
Writes `bench/results/makespan.json` and prints a Markdown table.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from figures import RESULTS, ROOT, about_here

from interlock.core.canonical import digest_bytes
from interlock.core.clock import from_text
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.sqlite import SqliteFiles
from interlock.runs import model as m
from interlock.runs.decide import Scheduler, decide
from interlock.runs.evolve import fold
from interlock.runs.order import ReadyTasks
from interlock.runs.ports import TaskContext

sys.path.append(str(ROOT / "tests"))
from harness.engine import Engine, make_tables, run_of, task

OUTPUT = RESULTS.with_name("makespan.json")
AT = "2026-01-01T00:00:00.000Z"
SCOPE = Scope(tenant="default", principal="user:owner", origin="bench", correlation_id="cor_bench")


def main() -> None:
    options = parsed()
    bounds = {line["id"]: line for line in lines(options.corpus / "bounds.jsonl")}
    rows: list[dict[str, Any]] = []
    for graph in lines(options.corpus / "graphs.jsonl"):
        if options.only in graph["id"]:
            for slots in options.slots:
                rows.append(measured(graph, bounds[graph["id"]]["p"][str(slots)], slots, options))
                print(as_line(rows[-1]), file=sys.stderr, flush=True)
    about = about_here() | {"graphs": digest_bytes((options.corpus / "graphs.jsonl").read_bytes())}
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n")
    print(f"{about['date']}, {about['machine']}, Python {about['python']}\n")
    print("| graph | tasks | slots | simulated / bound | ran / bound | ran / list | beside it, a task | order |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(as_line(row) for row in rows))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How long graphs of work take on the engine.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--slots", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 4, 8, 16])
    parser.add_argument("--only", default="", help="graphs with this in their name")
    parser.add_argument("--scale", type=float, default=0.01)
    parser.add_argument("--longest-s", type=float, default=60.0)
    return parser.parse_args()


def lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as stream:
        yield from (json.loads(line) for line in stream)


def measured(graph: dict[str, Any], bound: dict[str, float], slots: int, options: argparse.Namespace) -> dict[str, Any]:
    """A row: the ratios of what was simulated and of what ran; the latter are missing where it would have taken too long."""
    tasks = len(graph["t"])
    row = {"id": graph["id"], "tasks": tasks, "p": slots, "scale": options.scale}
    row["simulated_over_lower"] = round(simulated_s(run_from(graph, 1.0, slots)) / bound["lower_s"], 4)
    lower_s, list_s = bound["lower_s"] * options.scale, bound["list_s"] * options.scale
    if lower_s > options.longest_s:
        return row
    run = run_from(graph, options.scale, slots)
    events = asyncio.run(events_of(run))
    makespan_s = (from_text(events[-1].at) - from_text(events[1].at)).total_seconds()
    ratios = {"over_lower": round(makespan_s / lower_s, 4), "over_list": round(makespan_s / list_s, 4)}
    extra_ms = round((makespan_s - list_s) / tasks * 1000, 3)
    return row | {"makespan_s": makespan_s, **ratios, "extra_ms_a_task": extra_ms, "order_ok": is_in_order(run, events)}


def run_from(graph: dict[str, Any], scale: float, slots: int) -> m.Run:
    """The graph as a run whose estimates are the times that its tasks take."""
    needs = [tuple(f"t{need}" for need in needed) for needed in graph["d"]]
    tasks = [task(f"t{number}", *needs[number]) for number in range(len(needs))]
    estimates = {f"t{number}": seconds * scale for number, seconds in enumerate(graph["t"])}
    return run_of(*tasks, limits=m.Limits(max_concurrent_tasks=slots), estimates=estimates)


def simulated_s(run: m.Run) -> float:
    """The makespan when nothing but the tasks takes time."""
    state = fold(decide(None, m.Submit(at=AT, run=run)))
    if state is None:
        raise AssertionError("a run begins with its submission")
    scheduler = Scheduler(state)
    now_s, under_way = 0.0, list[tuple[float, int, str]]()
    events: Sequence[m.RunEvent] = scheduler.decide(m.Start(at=AT))
    while True:
        for event in events:
            if isinstance(event, m.TaskStarted):
                heappush(under_way, (now_s + run.estimates[event.task], len(under_way), event.task))
        if not under_way:
            return now_s
        now_s, _, ended = heappop(under_way)
        events = scheduler.decide(m.Complete(at=AT, task=ended, attempt=1, output={}))


async def events_of(run: m.Run) -> list[m.RunEvent]:
    """What the journal holds of the run after it ran on the real engine."""

    async def sleep(context: TaskContext) -> dict[str, Any]:
        await asyncio.sleep(context.run.estimates[context.task_id])
        return {}

    with tempfile.TemporaryDirectory() as folder:
        database = Database(SqliteFiles(Path(folder) / "data"))
        make_tables(database, SCOPE.tenant)
        engine = Engine(database, SCOPE, executors={"work": sleep})
        try:
            await engine.driver.submit(run)
            async for _ in engine.runs.follow(SCOPE, run.run_id):
                pass
            return await engine.events()
        finally:
            await engine.driver.close()
            await database.close()


def is_in_order(run: m.Run, events: Sequence[m.RunEvent]) -> bool:
    """Whether the events show each start in its turn, behind its needs, and no slot free while a task was ready."""
    graph, slots = run.graph, run.limits.max_concurrent_tasks
    open_needs = {spec.id: len(set(spec.needs)) for spec in graph}
    ready = ReadyTasks(graph, run.ranks)
    for task_id in (name for name, needs in open_needs.items() if not needs):
        ready.push(task_id)
    running = 0
    for event in events:
        if isinstance(event, m.TaskStarted):
            if not len(ready) or ready.pop().id != event.task or running == slots:
                return False
            running += 1
        elif isinstance(event, m.TaskCompleted):
            if len(ready) and running < slots:
                return False
            running -= 1
            for successor in graph.successors[event.task]:
                open_needs[successor] -= 1
                if not open_needs[successor]:
                    ready.push(successor)
    return not len(ready) and not running


def as_line(row: dict[str, Any]) -> str:
    simulated = f"| {row['id']} | {row['tasks']} | {row['p']} | {row['simulated_over_lower']:.3f} |"
    if "makespan_s" not in row:
        return f"{simulated} – | – | – | – |"
    shown = "shown" if row["order_ok"] else "NOT SHOWN"
    return f"{simulated} {row['over_lower']:.3f} | {row['over_list']:.3f} | {row['extra_ms_a_task']:.2f} ms | {shown} |"


if __name__ == "__main__":
    main()
