"""A container engine, a registry and base images for tests: one of each on a machine, whoever comes first starts them.

One that runs already is used: the one that ``INTERLOCK_TEST_ENGINE`` (a URL) names, or the one at Docker's usual socket.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import root_filesystems

KEEPER = Path(__file__).with_name("engine_keeper.py")
JOIN_S = 120.0


class Unusable(Exception):  # noqa: N818 - a state, not a fault
    """There is no engine here; the message says why."""


@dataclass(frozen=True)
class TestEngine:
    """Where the engine and the registry are (``registry`` is empty where there is none), and the folder that sessions share."""

    __test__ = False

    url: str
    registry: str
    folder: Path
    is_own: bool
    """Whether the tests started it."""

    def busybox(self) -> str:
        """A shell and a few programs; 2 MB."""
        return self._image("local/busybox:1", root_filesystems.busybox)

    def python(self) -> str:
        """The Python that runs the tests, with pip and certificates."""
        return self._image(f"local/python:{sys.version_info[0]}.{sys.version_info[1]}", root_filesystems.python)

    def node(self) -> str:
        """The Node of this machine, with npm. Raises `Unusable` where it has none."""
        return self._image("local/node:host", root_filesystems.node)

    def _image(self, name: str, make: Callable[[Path], dict[str, str]]) -> str:
        """Make the image unless the engine has it; one session at a time."""
        with _locked(self.folder / "images.lock"):
            if docker(self.url, "image", "inspect", name, check=False).returncode:
                with tempfile.TemporaryDirectory(dir=self.folder) as place:
                    try:
                        environment = make(Path(place))
                    except FileNotFoundError as error:
                        raise Unusable(f"{name} cannot be made: {error}") from error
                    _import(self.url, Path(place), name, environment)
        return name


def import_busybox(url: str, folder: Path) -> None:
    """Give another engine the image of `TestEngine.busybox`."""
    place = folder / "busybox"
    place.mkdir()
    _import(url, place, "local/busybox:1", root_filesystems.busybox(place))


def docker(url: str, *arguments: str, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
    """The engine's own client."""
    command = ["docker", "--host", url, *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), "DOCKER_BUILDKIT": "0"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=check, timeout=170, **options)  # type: ignore[call-overload]


@contextmanager
def test_engine() -> Iterator[TestEngine]:
    """The machine's engine for tests, for as long as this is open. Raises `Unusable`."""
    url = _running()
    if not url:
        _check_programs()
    folder = Path(tempfile.gettempdir()) / f"interlock-test-engine-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "users.lock").open("a") as users:
        # While the last one's engine is being ended, this waits for it.
        fcntl.flock(users, fcntl.LOCK_SH)
        ready = _join(folder, url)
        if ready["problem"]:
            raise Unusable(ready["problem"])
        yield TestEngine(ready["url"], ready["registry"], folder, is_own=not url)


test_engine.__test__ = False  # type: ignore[attr-defined]


def _running() -> str:
    """The URL of an engine that is there without us; empty where none is."""
    url = os.environ.get("INTERLOCK_TEST_ENGINE", "unix:///var/run/docker.sock")
    if shutil.which("docker") is None or (url.startswith("unix://") and not os.path.exists(url.removeprefix("unix://"))):
        return ""
    return url if docker(url, "version", check=False).returncode == 0 else ""


def _check_programs() -> None:
    missing = [
        program for program in ("dockerd", "docker", "iptables", "busybox") if shutil.which(program, path=_path()) is None
    ]
    if missing:
        raise Unusable(f"not installed: {', '.join(missing)} (apt install docker.io iptables busybox-static docker-registry)")
    if os.getuid() != 0:
        raise Unusable("a container engine of the tests' own needs root")


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _join(folder: Path, url: str) -> dict[str, str]:
    """Where a keeper's engine is; the first who asks starts the keeper. ``users.lock`` is held, so it stays."""
    with _locked(folder / "gate.lock"):
        until = time.monotonic() + JOIN_S
        if not _is_locked(folder / "keeper.lock"):
            (folder / "ready.json").unlink(missing_ok=True)
            with (folder / "keeper.log").open("ab") as log:
                environment = {"PATH": _path()}
                command = [sys.executable, "-I", str(KEEPER), str(folder), url]
                keeper = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            _keepers.append(keeper)
        while not (folder / "ready.json").exists():
            if time.monotonic() > until:
                raise Unusable(f"no engine came up within {JOIN_S:g} s; see {folder}/keeper.log")
            time.sleep(0.05)
        return json.loads((folder / "ready.json").read_text())


_keepers: list[subprocess.Popen[bytes]] = []
"""Kept, so that none is complained about while it runs."""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_locked(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _import(url: str, place: Path, name: str, environment: dict[str, str]) -> None:
    # A temporary folder is for its owner alone, and the root of an image is for whoever runs in it.
    place.chmod(0o755)
    changes = [part for variable, value in environment.items() for part in ("-c", f"ENV {variable}={value}")]
    with subprocess.Popen(["tar", "--owner=0", "--group=0", "-C", str(place), "-c", "."], stdout=subprocess.PIPE) as tar:
        docker(url, "import", *changes, "-", name, stdin=tar.stdout)
