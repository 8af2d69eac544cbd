"""The task graphs of the engine's benchmark, and how what an engine made of them is judged."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))

from engine import bodies
from engine.catalogue import ENGINES
from engine.one import check
from engine.workloads import WORKLOADS, Workload, chain, result, warm_up

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notes(tmp_path, monkeypatch):
    file = tmp_path / "notes"
    monkeypatch.setenv(bodies.FILE, str(file))
    bodies._file.cache_clear()
    yield file
    bodies._file.cache_clear()


def carried_out(workload: Workload) -> list[tuple[int, ...]]:
    """What an engine does that makes no mistake."""
    found: list[tuple[int, ...]] = []
    for run in workload.numbers:
        results: list[int] = []
        for task, needs in enumerate(workload.needs):
            results.append(bodies.body(run, task, [results[need] for need in needs]))
        found.append(tuple(results[sink] for sink in workload.sinks))
    return found


@pytest.mark.parametrize(
    ("name", "runs", "tasks", "levels", "sinks"),
    [("chain", 1, 500, 500, 1), ("wide", 1, 1002, 3, 1), ("layered", 1, 1000, 20, 50), ("many", 200, 1000, 5, 1)],
)
def test_workloads_have_the_sizes_that_they_are_known_by(name, runs, tasks, levels, sinks):
    workload = WORKLOADS[name](1.0)
    sizes = (workload.runs, workload.tasks, len(workload.levels), len(workload.sinks))
    assert sizes == (runs, tasks, levels, sinks)


@pytest.mark.parametrize("scale", [0.001, 0.02, 1.0])
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_need_is_in_the_level_before(name, scale):
    workload = WORKLOADS[name](scale)
    for task, needs in enumerate(workload.needs):
        assert {workload.level_of[need] for need in needs} <= {workload.level_of[task] - 1}
        assert len(set(needs)) == len(needs)


def test_a_task_of_a_layer_needs_three_of_the_layer_before():
    workload = WORKLOADS["layered"](1.0)
    assert {len(needs) for needs in workload.needs} == {0, 3}
    assert workload.needs[50] == (0, 1, 2)
    assert workload.needs[99] == (49, 0, 1)


def test_results_depend_on_the_run_on_every_task_and_on_the_order_of_the_needs():
    assert chain(0.004).results(0) == (1, 2 * 31 + 1)
    assert set(chain(0.02).results(0)).isdisjoint(chain(0.02).results(1))
    assert result(0, 2, [5, 6]) != result(0, 2, [6, 5])


@pytest.mark.parametrize("name", WORKLOADS)
def test_right_results_are_found_right(name, notes):
    workload = WORKLOADS[name](0.02)
    carried_out(warm_up())
    row = check(workload, carried_out(workload), notes)
    assert (row["result_checked"], row["problem"], row["carried_out_again"]) == (True, "", 0)
    assert row["ready_to_start_p99_ms"] >= row["ready_to_start_p50_ms"] >= 0


def test_a_wrong_result_fails_the_row(notes):
    workload = WORKLOADS["many"](0.02)
    found = carried_out(workload)
    row = check(workload, [found[1], found[0], *found[2:]], notes)
    assert row["result_checked"] is False
    assert row["problem"] == "2 of 4 runs came to a wrong result"


def test_a_task_that_was_never_carried_out_fails_the_row(notes):
    workload = WORKLOADS["chain"](0.02)
    row = check(workload, workload.end_results(), notes)
    assert (row["result_checked"], row["problem"]) == (False, "10 tasks were never carried out")


def test_a_task_that_was_carried_out_again_is_counted(notes):
    workload = WORKLOADS["chain"](0.02)
    carried_out(workload)
    row = check(workload, carried_out(workload), notes)
    assert (row["result_checked"], row["carried_out_again"]) == (True, 10)


def test_every_peer_has_an_adapter_and_pinned_requirements():
    folder = ROOT / "bench" / "engine"
    for entry in ENGINES.values():
        assert (folder / "adapters" / f"{entry.module}.py").exists()
    for name in {entry.environment for entry in ENGINES.values()} - {""}:
        lines = (folder / "requirements" / f"{name}.txt").read_text().splitlines()
        assert all("==" in line for line in lines if not line.startswith("#"))
