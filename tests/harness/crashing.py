"""Run engines in processes that are killed, one after the other, until the work is done.

``python -m harness.crashing FOLDER SEED KILLS [undo|pause]`` prints what happened as JSON; with ``undo`` the last task of each
run fails, and all that came before is taken back; with ``pause`` runs are paused and resumed all the time. One process has
imported everything and forks the engines, so that a start costs milliseconds; each is killed at a generated
place or at a random moment. After ``KILLS`` the next one is left alone.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import structlog

from harness.engine import Engine, make_tables, run_of, seal_commits, task
from interlock.core.errors import Conflict, Unavailable
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.sqlite import SqliteFiles
from interlock.runs import model as m
from interlock.runs.graph import Retry, TaskSpec
from interlock.runs.ledger import DO_IT, IT_HAPPENED
from interlock.testing.tools import AppendLine, CreateFile

RUNS = ("run_1", "run_2", "run_3", "run_4")
SCOPE = Scope(tenant="default", principal="user:owner")
TOOLS = ("test.create", "test.append", "test.blind")


def graph() -> list[TaskSpec]:
    """Two layers between a first and a last task; every task has effects of all kinds."""
    layers = [["first"], [f"m{n}" for n in range(4)], [f"n{n}" for n in range(4)], ["last"]]
    specs: list[TaskSpec] = [task("first")]
    for before, layer in itertools.pairwise(layers):
        specs += [task(name, *before, retry=Retry(max_attempts=2, delay_s=0.01)) for name in layer]
    return specs


def graph_with_undos() -> list[TaskSpec]:
    """The same, each task with its undo beside it."""
    undo = Retry(max_attempts=2, delay_s=0.01)
    return [spec for done in graph() for spec in (done, task(f"{done.id}-back", undoes=done.id, retry=undo))]


class World:
    """The tools over ``folder``, a log of the bodies that began, and the place where this process ends."""

    def __init__(self, folder: Path, passes_left: int | None = None) -> None:
        self._passes_left = passes_left
        self._folder = folder
        self.keyed = CreateFile(folder / "keyed", self._pass)
        (folder / "unkeyed").mkdir(exist_ok=True)
        (folder / "blind").mkdir(exist_ok=True)
        self.unkeyed = AppendLine(folder / "unkeyed", self._pass)
        self.blind = AppendLine(folder / "blind", self._pass, is_blind=True)
        self.blind.name = "test.blind"

    def _pass(self, *_place: Any) -> None:
        if self._passes_left is not None:
            self._passes_left -= 1
            if self._passes_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    async def body(self, context: Any) -> dict[str, Any]:
        place = f"{context.run.run_id}/{context.task_id}"
        with (self._folder / "bodies").open("a") as log:
            log.write(f"{place} {context.attempt}\n")
        self._pass()
        if context.task_id in {"m1", "m1-back"} and context.attempt == 1:
            raise Unavailable("down", "a transient failure on top")
        for tool in TOOLS:
            await context.call(tool, {"label": f"{place}/{tool}"})
            self._pass()
        if context.task_id == "last" and context.run.graph.undos:
            raise Conflict("refused", "the last step is refused, after its effects")
        return {"place": place}


async def engine_process(folder: Path, passes_left: int | None, tasks: list[TaskSpec], pauses: random.Random | None) -> None:
    """One engine from its start to the end of all runs."""
    world = World(folder, passes_left)
    database = Database(SqliteFiles(folder / "data"))
    seal_commits(database, folder / "keys")
    tools = [world.keyed, world.unkeyed, world.blind]
    engine = Engine(database, SCOPE, executors={"work": world.body}, tools=tools, owner=f"pid {os.getpid()}")
    await engine.driver.recover()
    for run_id in RUNS:
        with contextlib.suppress(Conflict):
            await engine.driver.submit(run_of(*tasks, run_id=run_id, tools=TOOLS))
    while [run for run in await engine.runs.listing(SCOPE) if run.status not in m.RUN_ENDED]:
        for run_id in RUNS:
            await answer_doubts(engine, run_id, world)
            if pauses is not None:
                await pause_or_resume(engine, run_id, pauses)
        await asyncio.sleep(0.005)
    await engine.driver.close()
    await database.close()


async def pause_or_resume(engine: Engine, run_id: str, chance: random.Random) -> None:
    """Hold a run up, or let it go on: more often the latter, so that it gets somewhere."""
    ask = engine.driver.pause if chance.random() < 0.3 else engine.driver.resume
    with contextlib.suppress(Conflict, Unavailable):
        await ask(run_id, "user:owner", "")


async def answer_doubts(engine: Engine, run_id: str, world: World) -> None:
    """Do what a person does who is asked: look, and say."""
    for name, found in (await engine.state(run_id)).tasks.items():
        if found.status is m.TaskStatus.WAITING and found.question:
            happened = world.blind.has(found.question["evidence"]["key"])
            with contextlib.suppress(Conflict, Unavailable):
                await engine.driver.answer(
                    run_id, name, IT_HAPPENED if happened else DO_IT, "user:owner", found.question["asked"]
                )


def fork_engine(
    folder: Path, passes_left: int | None, life_s: float | None, tasks: list[TaskSpec], pauses: random.Random | None
) -> int:
    """Run an engine in a process of its own, which kills itself after that many passes or seconds; returns its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if life_s is not None:
                threading.Timer(life_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
            asyncio.run(engine_process(folder, passes_left, tasks, pauses))
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: Path, seed: int, kills: int, tasks: list[TaskSpec], *, has_pauses: bool = False) -> dict[str, Any]:
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    chance = random.Random(seed)
    make_tables(Database(SqliteFiles(folder / "data")), "default")
    killed = 0
    while True:
        passes_left = life_s = None
        if killed < kills and chance.random() < 0.6:
            passes_left = chance.randrange(12)
        elif killed < kills:
            life_s = 0.01 + chance.random() * 0.03
        began = time.monotonic()
        pauses = random.Random(chance.random()) if has_pauses else None
        code = fork_engine(folder, passes_left, life_s, tasks, pauses)
        if code != -signal.SIGKILL:
            return {"killed": killed, "code": code, "last_s": time.monotonic() - began}
        killed += 1


if __name__ == "__main__":
    chosen = graph_with_undos() if sys.argv[4:] == ["undo"] else graph()
    is_pausing = sys.argv[4:] == ["pause"]
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), chosen, has_pauses=is_pausing)))
