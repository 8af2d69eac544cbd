"""Killed at any place and any moment, a run goes on: nothing is lost, done twice, or done again."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness.crashing import RUNS, SCOPE, TOOLS, World, graph, graph_with_undos
from harness.engine import Engine, seal_commits
from interlock.db.database import Database
from interlock.db.sqlite import SqliteFiles
from interlock.runs import model as m
from interlock.runs.graph import TaskSpec

KILLS = 10
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_effects_happen_once_and_completed_tasks_never_run_again(tmp_path, seed):
    kill_until_done(tmp_path, seed)
    check_effects(tmp_path, graph())
    for state, _ in await told(tmp_path):
        assert state.status is m.RunStatus.COMPLETED
        assert {name: task.output for name, task in state.tasks.items()} == {
            spec.id: {"place": f"{state.run.run_id}/{spec.id}"} for spec in graph()
        }


@pytest.mark.parametrize("seed", [6, 7])
async def test_paused_and_killed_at_any_moment_nothing_is_done_twice_or_lost(tmp_path, seed):
    kill_until_done(tmp_path, seed, "pause")
    check_effects(tmp_path, graph())
    found = await told(tmp_path)
    assert any(isinstance(event, m.RunPaused) for _, events in found for event in events)
    for state, events in found:
        assert state.status is m.RunStatus.COMPLETED
        check_pauses(events)


@pytest.mark.parametrize("seed", [4, 5])
async def test_every_undo_happens_once_and_in_reverse(tmp_path, seed):
    kill_until_done(tmp_path, seed, "undo")
    check_effects(tmp_path, graph_with_undos())
    done = [spec.id for spec in graph()]
    for state, events in await told(tmp_path):
        assert (state.status, state.error["task"]) == (m.RunStatus.FAILED, "last")
        assert state.summary == m.RunSummary(undone=tuple(done))
        began = list(dict.fromkeys(event.task for event in events if isinstance(event, m.TaskStarted)))
        ended = [event.task for event in events if isinstance(event, m.TaskCompleted | m.TaskFailed)]
        assert began.index("last-back") == len(done), "not before all else has ended"
        for spec in graph():
            for need in spec.needs:
                place = next(n for n, event in enumerate(events) if getattr(event, "task", "") == f"{need}-back")
                assert f"{spec.id}-back" in ended[: ended.index(f"{need}-back")]
                assert any(isinstance(e, m.TaskCompleted) and e.task == f"{spec.id}-back" for e in events[:place])


def kill_until_done(folder: Path, seed: int, *mode: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "harness.crashing", str(folder), str(seed), str(KILLS), *mode],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        check=False,
        timeout=100,
    )
    assert told.returncode == 0, told.stderr.decode()[-3000:]
    outcome = json.loads(told.stdout)
    assert outcome["code"] == 0, told.stderr.decode()[-3000:]
    assert outcome["killed"] == KILLS


def check_effects(folder: Path, tasks: list[TaskSpec]) -> None:
    """Each task had each of its effects once, counted at the target."""
    places = [f"{run_id}/{spec.id}" for run_id in RUNS for spec in tasks]
    world = World(folder)
    for tool, name in zip((world.keyed, world.unkeyed, world.blind), TOOLS, strict=True):
        assert tool.labels() == sorted(f"{place}/{name}" for place in places)


async def told(folder: Path) -> list[tuple[m.RunState, list[m.RunEvent]]]:
    """What the journal tells of each run; bodies and the record were looked at."""
    database = Database(SqliteFiles(folder / "data"))
    audit = seal_commits(database, folder / "keys")
    engine = Engine(database, SCOPE)
    bodies = Counter((folder / "bodies").read_text().splitlines())
    assert set(bodies.values()) == {1}, "no attempt has two bodies"
    found = [(await engine.state(run_id), await engine.events(run_id)) for run_id in RUNS]
    for state, events in found:
        check_attempts(state.run.run_id, events, bodies)
    assert (await audit.verify(SCOPE)).ok
    await database.close()
    return found


def check_pauses(events: list[m.RunEvent]) -> None:
    """In a pause nothing starts but, right after a restart, what has an effect in flight."""
    is_held = is_adopted = False
    open_effects: dict[str, str] = {}
    for event in events:
        if isinstance(event, m.RunPaused | m.RunResumed | m.RunContinued):
            is_held = not isinstance(event, m.RunContinued)
        elif isinstance(event, m.IntentRecorded):
            open_effects[event.key] = event.task
        elif isinstance(event, m.ReceiptRecorded):
            open_effects.pop(event.key)
        elif isinstance(event, m.TaskStarted) and is_held:
            assert is_adopted
            assert event.task in open_effects.values()
        is_adopted = isinstance(event, m.RunAdopted) or (is_adopted and isinstance(event, m.TaskStarted | m.TaskReady))


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
