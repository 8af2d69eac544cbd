"""The demo with containers, as somebody runs it: on a real engine, and where there is none."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from e2e.conftest import StartDemo, until_is
from harness.containers import TestEngine, docker
from interlock.demo.ending import main as end_kept
from interlock.demo.engine import NOTE
from interlock.demo.processes import living_off


def start_on(start_demo: StartDemo, engine: TestEngine, *options: str) -> subprocess.Popen[str]:
    settings = {"container_engine": engine.url, "container_python_image": engine.python()}
    return start_demo("--containers", *options, **settings, container_registry=engine.registry)


def instance_of(folder: Path) -> str:
    """The label of the control plane of the demo in this folder; empty until it is known there."""
    notes = [json.loads(note.read_text() or "{}") for note in folder.glob(f"*/{NOTE}")]
    return notes[0].get("instance", "") if notes else ""


def left_at(engine: TestEngine, instance: str) -> list[str]:
    """Containers and images that this control plane has made."""
    of_demo = ("--quiet", "--filter", f"label=interlock.instance={instance}")
    return [*docker(engine.url, "ps", "--all", *of_demo).stdout.split(), *docker(engine.url, "images", *of_demo).stdout.split()]


def running(engine: TestEngine, folder: Path) -> str:
    """The label of the demo's control plane, once a container of it runs."""

    def is_running() -> bool:
        instance = instance_of(folder)
        return bool(instance and docker(engine.url, "ps", "--quiet", "--filter", f"label=interlock.instance={instance}").stdout)

    until_is(is_running, "a container runs")
    return instance_of(folder)


@pytest.mark.timeout(420)
def test_it_observes_every_check_and_leaves_nothing(
    start_demo: StartDemo, container_engine: TestEngine, tmp_path: Path
) -> None:
    process = start_on(start_demo, container_engine, "--once", "--json")
    instance = running(container_engine, tmp_path)
    printed, complaints = process.communicate(timeout=400)
    document = json.loads(printed)
    missed = [check for check in document["checks"] if not check["ok"]]
    assert not missed, f"{missed} {complaints}"
    assert (document["ok"], process.returncode) == (True, 0)
    assert len(document["checks"]) == 15
    assert all(check["observed"] for check in document["checks"])
    assert list(tmp_path.iterdir()) == []
    assert not living_off(tmp_path)
    assert left_at(container_engine, instance) == []


@pytest.mark.timeout(180)
def test_one_that_is_interrupted_takes_its_containers_and_images_along(
    start_demo: StartDemo, container_engine: TestEngine, tmp_path: Path
) -> None:
    process = start_on(start_demo, container_engine, "--keep")
    instance = running(container_engine, tmp_path)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "leave nothing at the engine: " in printed
    assert list(tmp_path.iterdir()) == []
    assert left_at(container_engine, instance) == []


@pytest.mark.timeout(180)
def test_one_that_was_killed_is_cleared_away_later(
    start_demo: StartDemo, container_engine: TestEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start_on(start_demo, container_engine)
    instance = running(container_engine, tmp_path)
    process.kill()
    process.communicate()
    (folder,) = tmp_path.iterdir()
    assert end_kept([str(folder)]) == 0
    assert "images were removed" in capsys.readouterr().out
    assert not living_off(tmp_path)
    assert left_at(container_engine, instance) == []


def test_without_an_engine_it_says_what_to_do_and_begins_nothing(start_demo: StartDemo, tmp_path: Path) -> None:
    process = start_demo("--containers", container_engine="unix:///nowhere/engine.sock")
    printed, complaints = process.communicate(timeout=60)
    assert (process.returncode, printed) == (2, "")
    assert "none answers: unix:///nowhere/engine.sock" in complaints
    assert "Start Docker or Podman" in complaints
    assert list(tmp_path.iterdir()) == []


def test_without_its_base_image_it_says_how_to_get_one(start_demo: StartDemo, container_engine: TestEngine) -> None:
    settings = {"container_engine": container_engine.url, "container_python_image": "local/python:none"}
    process = start_demo("--containers", "--json", **settings)
    printed, complaints = process.communicate(timeout=60)
    assert (process.returncode, printed) == (2, "")
    assert "docker pull local/python:none" in complaints
    assert "INTERLOCK_CONTAINER_PYTHON_IMAGE=IMAGE" in complaints
