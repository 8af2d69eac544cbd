"""Killed at any place and any moment, a run goes on: nothing is lost, done twice, or done again."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness.crashing import RUNS, SCOPE, TOOLS, World, graph
from harness.engine import Engine, seal_commits
from interlock.db.database import Database
from interlock.runs import model as m

KILLS = 10
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_effects_happen_once_and_completed_tasks_never_run_again(tmp_path, seed):
    told = subprocess.run(
        [sys.executable, "-m", "harness.crashing", str(tmp_path), str(seed), str(KILLS)],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert told.returncode == 0, told.stderr.decode()[-3000:]
    outcome = json.loads(told.stdout)
    assert outcome["code"] == 0, told.stderr.decode()[-3000:]
    assert outcome["killed"] == KILLS

    wanted = sorted(f"{run_id}/{spec.id}" for run_id in RUNS for spec in graph())
    world = World(tmp_path)
    for tool, name in zip((world.keyed, world.unkeyed, world.blind), TOOLS, strict=True):
        assert tool.labels() == [f"{place}/{name}" for place in wanted], "counted at the target"

    database = Database(tmp_path / "data")
    audit = seal_commits(database, tmp_path / "keys")
    engine = Engine(database, SCOPE)
    bodies = Counter((tmp_path / "bodies").read_text().splitlines())
    assert set(bodies.values()) == {1}, "no attempt has two bodies"
    for run_id in RUNS:
        state = await engine.state(run_id)
        assert state.status is m.RunStatus.COMPLETED
        assert {name: task.output for name, task in state.tasks.items()} == {
            spec.id: {"place": f"{run_id}/{spec.id}"} for spec in graph()
        }
        check_attempts(run_id, await engine.events(run_id), bodies)
    assert (await audit.verify(SCOPE)).ok
    await database.close()


def check_attempts(run_id: str, events: list[m.RunEvent], bodies: Counter[str]) -> None:
    """No start after the completion, and no body without its durable start."""
    completed: set[str] = set()
    started: set[str] = set()
    for event in events:
        if isinstance(event, m.TaskStarted):
            assert event.task not in completed
            started.add(f"{run_id}/{event.task} {event.attempt}")
        elif isinstance(event, m.TaskCompleted):
            completed.add(event.task)
    assert {line for line in bodies if line.startswith(f"{run_id}/")} <= started
