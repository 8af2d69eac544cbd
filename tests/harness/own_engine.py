"""An engine for one module of tests alone: it may be killed, its disk may be full, and it may be on another host, as far as
anybody who uses it can tell.

It has a bridge of its own, since one that is to have none takes the bridge of the engine away that all tests share.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.containers import TestEngine, import_busybox
from harness.engine_keeper import end_engine, start_engine, until_engine_answers


class OwnEngine:
    """A daemon that can be killed and started again on the same data."""

    def __init__(self, folder: Path, bridge: str, driver: str, *options: str) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/engine.sock"
        # What is published on the loopback interface needs no rules of the firewall.
        self._options = ("--bridge", bridge, "--storage-driver", driver, "--iptables=false", "--ip-masq=false", *options)
        self.process = self._start()

    @property
    def disk(self) -> Path:
        """Where it keeps images and containers."""
        return self.folder / "root"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        # Both files name processes that are dead but that nobody may have collected; a daemon would take them for living ones.
        (self.folder / "pid").unlink(missing_ok=True)
        (self.folder / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = start_engine(self.folder, *self._options, "--ip-forward=false")
        problem = until_engine_answers(self.folder, process)
        assert not problem, problem
        return process


@contextmanager
def own_engine(
    beside: TestEngine, number: int, driver: str = "overlay2", disk_mb: int = 0, options: Sequence[str] = ()
) -> Iterator[OwnEngine]:
    """With the image of `TestEngine.busybox`; ``number`` (below 50) tells those apart that run at once.

    With ``disk_mb`` it has a disk of that size to itself; ``options`` are added to those of the daemon. Where that cannot be,
    the test is skipped.
    """
    if not beside.is_own:
        pytest.skip("an engine is used here that the tests have not started, so they start no second one")
    bridge = f"interlock-own{number}"
    subprocess.run(["ip", "link", "delete", bridge], capture_output=True, check=False)
    _made("ip", "link", "add", bridge, "type", "bridge")
    # The path of a socket has to be short, and a daemon puts its own some folders deep.
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    try:
        subprocess.run(["ip", "address", "add", f"172.31.{200 + number}.1/24", "dev", bridge], check=True)
        subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
        if disk_mb:
            (folder / "root").mkdir()
            _made("mount", "-t", "tmpfs", "-o", f"size={disk_mb}m", "tmpfs", str(folder / "root"))
        engine = OwnEngine(folder, bridge, driver, *options)
        try:
            with tempfile.TemporaryDirectory() as place:
                import_busybox(engine.url, Path(place))
            yield engine
        finally:
            end_engine(folder, engine.process)
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=True)


def _made(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]} is not allowed here: {done.stderr.strip()}")
