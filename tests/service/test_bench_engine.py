"""The engine's benchmark as a program, on graphs small enough for a test."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))

from engine.catalogue import ENGINES
from engine.environments import is_made

ROOT = Path(__file__).parents[2]
CACHE = Path("~/.cache/interlock-bench").expanduser()
SMALL = ("--scale", "0.02")
PEERS = [name for name in ENGINES if ENGINES[name].environment]


def measured(folder: Path, *options: str) -> list[dict[str, Any]]:
    output = folder / "engine.json"
    command = [sys.executable, "-m", "engine", "--output", str(output), "--data", str(folder), *options]
    subprocess.run(command, cwd=ROOT / "bench", check=True, capture_output=True, timeout=150)
    return json.loads(output.read_text())


def test_the_floor_and_interlock_come_to_the_right_results(tmp_path):
    rows = measured(tmp_path, *SMALL, "--engines", "floor-sqlite,interlock-sqlite")
    assert [(row["engine"], row["workload"]) for row in rows] == [
        (engine, workload)
        for engine in ("floor-sqlite", "interlock-sqlite")
        for workload in ("chain", "wide", "layered", "many")
    ]
    for row in rows:
        assert (row["result_checked"], row["problem"], row["carried_out_again"]) == (True, "", 0)
        assert row["tasks_done"] == row["tasks"]
        assert min(row[name] for name in ("tasks_per_s", "seconds", "peak_memory_mb", "startup_s")) > 0
        assert {"date", "machine", "version", "durability", "cpu_ms_per_task", "ready_to_start_p99_ms"} <= set(row)


def test_a_peer_that_cannot_be_had_says_why_and_the_others_are_measured(tmp_path):
    (tmp_path / "file").touch()
    options = ("--cache", str(tmp_path / "file"), "--workloads", "chain")
    peer, floor = measured(tmp_path, *SMALL, *options, "--engines", "celery-redis,floor-sqlite")
    assert peer["result_checked"] is False
    assert peer["problem"].startswith("not installed: ")
    assert floor["result_checked"] is True


def test_an_engine_that_takes_too_long_is_stopped_and_what_it_did_is_counted(tmp_path):
    (row,) = measured(tmp_path, "--engines", "interlock-sqlite", "--workloads", "chain", "--limit", "0.05")
    assert row["result_checked"] is False
    assert row["tasks_done"] < row["tasks"]
    assert row["problem"] == f"stopped after 0.05 s with {row['tasks_done']} of 500 tasks done"


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_each_peer_that_is_there_comes_to_the_right_results(name, tmp_path):
    if not is_made(ENGINES[name].environment, CACHE):
        pytest.skip("its environment has not been made: make bench-engine")
    for row in measured(tmp_path, *SMALL, "--engines", name, "--workloads", "wide,layered"):
        assert (row["result_checked"], row["problem"]) == (True, "")
