"""The story from the first line to the last, and what becomes of it when it is interrupted."""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from interlock.demo.api import Api
from interlock.demo.checks.altered_plan import approve_altered
from interlock.demo.checks.bad_release import deploy_bad_release
from interlock.demo.checks.crash import kill_control_plane
from interlock.demo.checks.first_releases import deploy_greeter, deploy_quotes
from interlock.demo.checks.quarantine import try_again
from interlock.demo.checks.record import verify_record
from interlock.demo.command_line import CommandLine
from interlock.demo.control_plane import ControlPlane
from interlock.demo.ending import end, known_processes
from interlock.demo.findings import Findings, expect
from interlock.demo.repositories import SampleRepository
from interlock.demo.scene import Scene
from interlock.demo.stage import set_up
from interlock.demo.telling import Teller, make_console

INTERRUPTED = 130
USAGE = 2
VERSIONS = {"greeter": ("v1.0.0", "v1.1.0", "v1.2.0"), "quotes": ("v1.0.0",)}
CHAPTERS: tuple[Callable[[Scene], None], ...] = (
    deploy_bad_release,
    try_again,
    kill_control_plane,
    approve_altered,
    verify_record,
)


def tell(*, once: bool, as_json: bool, keep: bool) -> int:
    """Tell the story; returns 0 only if every check was observed true.

    Nothing is left running or lying about, however it ends, unless ``keep`` is given and the story came to its end. ``once``
    says that nothing may stay, which is so without it too; it cannot go with ``keep``. With ``as_json`` one JSON document is
    printed and nothing else.
    """
    if once and keep:
        sys.stderr.write("interlock demo: --once leaves nothing behind, --keep does: give one of them\n")
        return USAGE
    began = time.monotonic()
    findings = Findings()
    teller = Teller(make_console(is_silent=as_json))
    is_interrupted = False
    with _interruptions():
        try:
            _perform(findings, teller, keep=keep)
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


def _perform(findings: Findings, teller: Teller, *, keep: bool) -> None:
    stage = set_up()
    plane, cli = ControlPlane(stage), CommandLine(stage, teller.columns)
    scene = Scene(
        stage=stage,
        plane=plane,
        cli=cli,
        api=Api(plane),
        teller=teller,
        findings=findings,
        repositories={name: SampleRepository(stage.folder / name) for name in VERSIONS},
    )
    is_told = False
    try:
        _begin(scene)
        _play(scene)
        is_told = True
    finally:
        with _uninterrupted():
            # Without a control plane there is nothing to look at.
            if keep and is_told and plane.is_up:
                _keep(scene)
            else:
                _clear(scene)


def _begin(scene: Scene) -> None:
    scene.teller.chapter(
        "Interlock: words become a plan, an approved plan becomes a run, what it deploys is watched and brought back",
        "Everything below happens now, on this machine, with the commands that you see. Each claim is checked from outside "
        "the control plane: by requests to the services, by the files of the processes, by the services' own logs.",
    )
    with scene.findings.check("start the control plane", "one process on a fresh data folder") as check:
        for name, versions in VERSIONS.items():
            scene.repositories[name].create(name, versions)
        scene.teller.command("interlock serve --port 0")
        ready_s = scene.plane.start()
        check.observed = f"{scene.plane.url} is ready after {ready_s:.1f} s, pid {scene.plane.pid}"
    scene.teller.verdict(check)


def _play(scene: Scene) -> None:
    aside = replace(scene, teller=scene.teller.aside(), findings=Findings())
    beside = threading.Thread(target=deploy_quotes, args=(aside,), daemon=True)
    beside.start()
    deploy_greeter(scene)
    aside.teller.release()
    with scene.teller.waiting("quotes is on its way …"):
        beside.join()
    scene.findings.checks += aside.findings.checks
    for chapter in CHAPTERS:
        chapter(scene)


def _clear(scene: Scene) -> None:
    scene.cli.close()
    count = len(known_processes(scene.stage.home))
    remains = end(scene.stage.folder)
    scene.teller.chapter("8  The end")
    with scene.findings.check("leave nothing behind", "every process by its pid, and the folder") as check:
        alive = ", ".join(str(process.pid) for process in remains)
        expect(not remains, f"still alive: {alive}")
        expect(not scene.stage.folder.exists(), f"{scene.stage.folder} is still there")
        check.observed = f"{count} processes were ended, none of their pids is alive; {scene.stage.folder} is gone"
    scene.teller.verdict(check)


def _keep(scene: Scene) -> None:
    home, folder = scene.stage.home, scene.stage.folder
    scene.teller.chapter("8  Everything stays up")
    with scene.findings.check("keep everything up", "the control plane and both services answer") as check:
        expect(bool(scene.api.get("/services")["items"]), "the control plane knows no service")
        answers = {name: scene.ask(name).status_code for name in VERSIONS}
        expect(set(answers.values()) == {200}, f"the services answer {answers}")
        services = ", ".join(f"{name} at {scene.urls[name]}/" for name in VERSIONS)
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
