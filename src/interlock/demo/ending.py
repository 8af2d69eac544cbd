"""Ending everything that was started from a folder of the demo: by pid, found in its own data folder, and nothing else; at a
container engine by the label of its control plane.

``python -m interlock.demo.ending FOLDER`` does it later, for a demo that was kept.
"""

import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from interlock.demo.engine import Engine, EngineAwayError, noted
from interlock.demo.findings import NotObserved, expect
from interlock.demo.processes import Identity, descendants, has_variable, identify, living_off
from interlock.demo.registry import forget
from interlock.demo.stage import MARKER
from interlock.demo.targets import ProcessFolder, process_folders

SERVER_PATIENCE_S = 8.0
SUPERVISOR_PATIENCE_S = 15.0
"""Longer than the ten seconds that a supervisor gives to its service."""
POLL_S = 0.02


def server_process(home: Path) -> Identity | None:
    """The control plane that serves this data folder now."""
    try:
        pid = int(json.loads((home / "server.json").read_bytes())["pid"])
    except (OSError, ValueError, KeyError):
        return None
    # After a SIGKILL the file stays, and the number may have gone to somebody else.
    process = identify(pid)
    return process if process is not None and has_variable(process, "INTERLOCK_HOME", str(home)) else None


def known_processes(home: Path) -> set[Identity]:
    """The control plane, every supervisor and what it runs, as their own files name them."""
    found = [server_process(home)]
    for folder in process_folders(home):
        found += [folder.supervisor, folder.process]
    return {process for process in found if process is not None and process.is_alive}


def end_processes(home: Path) -> None:
    """First the control plane, then the supervisors, each with what it runs."""
    server = server_process(home)
    if server is not None:
        server.send(signal.SIGTERM)
        if not _until(lambda: not server.is_alive, SERVER_PATIENCE_S):
            server.send(signal.SIGKILL)
            _until(lambda: not server.is_alive, SERVER_PATIENCE_S)
    told: set[Identity] = set()
    if not _until(lambda: not _tell(home, told), SUPERVISOR_PATIENCE_S):
        for folder in _held(home):
            _kill(folder)


def end(folder: Path) -> list[Identity]:
    """End all processes and remove the folder; returns what is alive nevertheless."""
    known = known_processes(folder / "home")
    end_processes(folder / "home")
    shutil.rmtree(folder, ignore_errors=True)
    remains = {process for process in known if process.is_alive} | set(living_off(folder / "home"))
    # A git that the control plane had started may be on its way out still.
    _until(lambda: not any(process.is_alive for process in remains), 2.0)
    return [process for process in remains if process.is_alive]


def clear_engine(engine: Engine, instance: str) -> str:
    """Remove what the ended control plane made at the engine; returns in words what that was. Raises NotObserved."""
    try:
        cleared = engine.clear(instance)
    except EngineAwayError as error:
        raise NotObserved(f"{error}; what it holds is left: everything with the label interlock.instance={instance}") from error
    finally:
        engine.close()
    expect(not cleared.remains, f"still there: {', '.join(cleared.remains)}")
    what = f"{cleared.containers} containers and {cleared.images} images were removed"
    beside = forget(cleared.pushed)
    return f"{what}; none with the label of this control plane is left, and no network" + (f"; {beside}" if beside else "")


def _tell(home: Path, told: set[Identity]) -> list[ProcessFolder]:
    """Ask every supervisor that was not asked yet to end; returns the folders that are still held."""
    held = _held(home)
    for folder in held:
        supervisor = folder.supervisor
        if supervisor is not None and supervisor not in told:
            supervisor.send(signal.SIGTERM)
            told.add(supervisor)
    return held


def _held(home: Path) -> list[ProcessFolder]:
    return [folder for folder in process_folders(home) if folder.is_locked]


def _kill(folder: ProcessFolder) -> None:
    supervisor = folder.supervisor
    if supervisor is not None:
        # Frozen first: as long as it lives, orphans come back to its tree.
        supervisor.send(signal.SIGSTOP)
        for process in descendants(supervisor.pid):
            process.send(signal.SIGKILL)
        supervisor.send(signal.SIGKILL)


def _until(is_true: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def main(arguments: list[str]) -> int:
    """End the kept demo in the folder that is given; returns the exit code."""
    if len(arguments) != 1 or not (Path(arguments[0]) / MARKER).is_file():
        sys.stderr.write("usage: python -m interlock.demo.ending FOLDER, where FOLDER is one that the demo kept\n")
        return 2
    folder = Path(arguments[0]).absolute()
    count, engine = len(known_processes(folder / "home")), noted(folder)
    remains = end(folder)
    sys.stdout.write(f"{count} processes ended, {folder} removed\n")
    if engine is not None:
        try:
            sys.stdout.write(f"{clear_engine(*engine)}\n")
        except NotObserved as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 1 if remains else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
