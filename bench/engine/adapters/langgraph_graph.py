"""LangGraph: one `StateGraph` with a node for each task, in this process, with the asynchronous SQLite checkpointer.

- ``durability="sync"``: a step's checkpoint is written before the next step begins; the other modes let work go on that is not
  on the disk yet.
- Nodes are coroutines, so that no thread has to be handed a body; a step runs all of its nodes at once.
- Every checkpoint holds the whole state. So the state keeps the results of the last level only, which is what the next one
  needs: with all results in it a chain of 500 would write each of them 500 times.
- The graphs are compiled before the clock starts; ``many`` invokes one graph on 200 threads of the checkpointer at once.
- The checkpointer puts its file into WAL mode and leaves ``synchronous`` at SQLite's default, FULL.
"""

import asyncio
import sqlite3
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from engine.bodies import body
from engine.workloads import Workload


def latest(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The results of the newest level."""
    if before.get("level") == after["level"]:
        return {"level": after["level"], "results": before["results"] | after["results"]}
    return after


class State(TypedDict):
    run: int
    last: Annotated[dict[str, Any], latest]


class Engine:
    version = f"{version('langgraph')}, langgraph-checkpoint-sqlite {version('langgraph-checkpoint-sqlite')}"
    version += f", SQLite {sqlite3.sqlite_version}"
    durability = "one row a task and one checkpoint a step, one commit each, each fsynced (WAL, synchronous=FULL)"

    async def start(self, folder: Path) -> None:
        self._saving = AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.db"))
        self._saver = await self._saving.__aenter__()
        await self._saver.setup()

    async def define(self, workload: Workload) -> None:
        self._graph = defined(workload).compile(checkpointer=self._saver)

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        return list(await asyncio.gather(*(self._run(workload, run) for run in workload.numbers)))

    async def _run(self, workload: Workload, run: int) -> tuple[int, ...]:
        config = {"configurable": {"thread_id": str(run)}, "recursion_limit": len(workload.levels) + 10}
        state = await self._graph.ainvoke({"run": run, "last": {"level": -1, "results": {}}}, config, durability="sync")
        return tuple(state["last"]["results"][str(sink)] for sink in workload.sinks)

    async def stop(self) -> None:
        await self._saving.__aexit__(None, None, None)


def defined(workload: Workload) -> StateGraph:
    graph = StateGraph(State)
    for task, needs in enumerate(workload.needs):
        graph.add_node(f"t{task}", node(workload, task))
        if len(needs) > 1:
            graph.add_edge([f"t{need}" for need in needs], f"t{task}")
        else:
            graph.add_edge(f"t{needs[0]}" if needs else START, f"t{task}")
    for sink in workload.sinks:
        graph.add_edge(f"t{sink}", END)
    return graph


def node(workload: Workload, task: int):
    level, needs = workload.level_of[task], workload.needs[task]

    async def compute(state: State) -> dict[str, Any]:
        results = state["last"]["results"]
        value = body(state["run"], task, [results[str(need)] for need in needs])
        return {"last": {"level": level, "results": {str(task): value}}}

    return compute
