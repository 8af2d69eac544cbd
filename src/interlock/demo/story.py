"""The story from the first line to the last, and what becomes of it when it is interrupted."""

import json
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from interlock.demo.api import Api
from interlock.demo.command_line import CommandLine
from interlock.demo.control_plane import ControlPlane
from interlock.demo.ending import clear_engine, end, known_processes
from interlock.demo.engine import noted, take_note
from interlock.demo.findings import Findings, expect
from interlock.demo.repositories import SampleRepository
from interlock.demo.scene import Scene
from interlock.demo.stage import set_up
from interlock.demo.tales import NotReadyError, Tale, with_containers, with_processes
from interlock.demo.telling import Teller, make_console

INTERRUPTED = 130
USAGE = 2


def tell(*, once: bool, as_json: bool, keep: bool, containers: bool = False) -> int:
    """Tell the story, with processes or with ``containers``; returns 0 only if every check was observed true.

    Nothing is left running or lying about, however it ends, unless ``keep`` is given and the story came to its end. ``once``
    says that nothing may stay, which is so without it too; it cannot go with ``keep``. With ``as_json`` one JSON document is
    printed and nothing else.
    """
    if once and keep:
        sys.stderr.write("interlock demo: --once leaves nothing behind, --keep does: give one of them\n")
        return USAGE
    try:
        tale = with_containers() if containers else with_processes()
    except NotReadyError as error:
        sys.stderr.write(f"interlock demo --containers: {error}\n")
        return USAGE
    began = time.monotonic()
    findings = Findings()
    teller = Teller(make_console(is_silent=as_json))
    is_interrupted = False
    with _interruptions():
        try:
            _perform(tale, findings, teller, keep=keep)
        except KeyboardInterrupt:
            is_interrupted = True
    seconds = time.monotonic() - began
    if as_json:
        sys.stdout.write(json.dumps(_document(findings, seconds, is_interrupted=is_interrupted), indent=2) + "\n")
    else:
        teller.summary(findings.checks, seconds)
    if is_interrupted:
        return INTERRUPTED
    return 0 if findings.ok else 1


def _perform(tale: Tale, findings: Findings, teller: Teller, *, keep: bool) -> None:
    stage = set_up(tale.settings)
    plane, cli = ControlPlane(stage), CommandLine(stage, teller.columns)
    scene = Scene(
        stage=stage,
        plane=plane,
        cli=cli,
        api=Api(plane),
        teller=teller,
        findings=findings,
        repositories={name: SampleRepository(stage.folder / name) for name in tale.versions},
    )
    is_told = False
    try:
        _begin(scene, tale)
        for chapter in tale.chapters:
            chapter(scene)
        is_told = True
    finally:
        with _uninterrupted():
            # Without a control plane there is nothing to look at.
            if keep and is_told and plane.is_up:
                _keep(scene, tale)
            else:
                _clear(scene, tale)


def _begin(scene: Scene, tale: Tale) -> None:
    scene.teller.chapter(tale.title, tale.promise)
    with scene.findings.check("start the control plane", "one process on a fresh data folder") as check:
        for name, versions in tale.versions.items():
            scene.repositories[name].create(name, versions)
        scene.teller.command("interlock serve --port 0")
        ready_s = scene.plane.start()
        check.observed = f"{scene.plane.url} is ready after {ready_s:.1f} s, pid {scene.plane.pid}"
        if tale.engine is not None:
            # From its first container on, somebody can clear away what this story makes.
            take_note(scene.stage.folder, tale.engine, scene.instance())
    scene.teller.verdict(check)


def _clear(scene: Scene, tale: Tale) -> None:
    folder = scene.stage.folder
    scene.cli.close()
    count, engine = len(known_processes(scene.stage.home)), noted(folder)
    remains = end(folder)
    scene.teller.chapter(f"{tale.end_number}  The end")
    with scene.findings.check("leave nothing behind", "every process by its pid, and the folder") as check:
        alive = ", ".join(str(process.pid) for process in remains)
        expect(not remains, f"still alive: {alive}")
        expect(not folder.exists(), f"{folder} is still there")
        check.observed = f"{count} processes were ended, none of their pids is alive; {folder} is gone"
    scene.teller.verdict(check)
    if engine is not None:
        with scene.findings.check("leave nothing at the engine", "containers, images and networks with its label") as check:
            check.observed = clear_engine(*engine)
        scene.teller.verdict(check)


def _keep(scene: Scene, tale: Tale) -> None:
    home, folder = scene.stage.home, scene.stage.folder
    scene.teller.chapter(f"{tale.end_number}  Everything stays up")
    with scene.findings.check("keep everything up", "the control plane and every service answer") as check:
        expect(bool(scene.api.get("/services")["items"]), "the control plane knows no service")
        answers = {name: scene.ask(name).status_code for name in tale.versions}
        expect(set(answers.values()) == {200}, f"the services answer {answers}")
        services = ", ".join(f"{name} at {scene.urls[name]}/" for name in tale.versions)
        check.observed = f"control plane at {scene.plane.url}, {services}, data in {home}; end it all: {_end_command(folder)}"
    scene.teller.verdict(check)
    scene.teller.say("")
    scene.teller.say(f"look around  INTERLOCK_HOME={home} {sys.executable} -m interlock status")
    scene.teller.say(f"end it all   {_end_command(folder)}")


def _end_command(folder: Path) -> str:
    return f"{sys.executable} -m interlock.demo.ending {folder}"


def _document(findings: Findings, seconds: float, *, is_interrupted: bool) -> dict[str, object]:
    checks = [{"name": check.name, "ok": check.ok, "observed": check.observed} for check in findings.checks]
    return {"ok": findings.ok and not is_interrupted, "seconds": round(seconds, 1), "checks": checks}


@contextmanager
def _interruptions() -> Generator[None]:
    """A request to end or a terminal that goes away interrupts the story like Ctrl-C, so that everything is cleared away."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _handling(interrupt, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Clearing away takes some seconds and is finished."""
    with _handling(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handling(handler: Callable[..., object] | signal.Handlers, *numbers: signal.Signals) -> Generator[None]:
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)
