"""What the targets of a deployment keep on their own: supervisors' folders, services' logs, the forwarder's legs."""

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from interlock.demo.processes import Identity

Record = dict[str, Any]
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class ProcessFolder:
    """The folder in which a supervisor keeps what it was told and what it did."""

    path: Path

    @property
    def key(self) -> str:
        return self.path.name

    @property
    def spec(self) -> Record:
        """What was to be run, where, and on which port."""
        return _record(self.path / "spec.json")

    @property
    def result(self) -> Record:
        """How it ended; empty while it runs."""
        return _record(self.path / "result.json")

    @property
    def supervisor(self) -> Identity | None:
        return _identity(_record(self.path / "supervisor.json"))

    @property
    def process(self) -> Identity | None:
        """The process that was started last."""
        return _identity(_record(self.path / "process.json"))

    @property
    def log(self) -> str:
        """What the process wrote, as far as it is kept."""
        return "".join(file.read_text(errors="replace") for file in sorted(self.path.glob("output.*.log")))

    @property
    def is_locked(self) -> bool:
        """Whether a supervisor holds it, or is about to."""
        try:
            with (self.path / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


def process_folders(home: Path, prefix: str = "") -> list[ProcessFolder]:
    """All folders of supervisors whose key begins with ``prefix``."""
    return [ProcessFolder(path) for path in sorted((home / "processes").glob(f"{prefix}*")) if path.is_dir()]


def lines_with(home: Path, text: str) -> int:
    """How many lines of all processes' logs hold ``text``."""
    return sum(text in line for folder in process_folders(home) for line in folder.log.splitlines())


def upstream_ports(home: Path, leg: str) -> set[int]:
    """The ports to which the forwarder leads a leg such as ``greeter.staging.stable``; none where it leads nowhere."""
    try:
        *ports, _marker = (home / "forwarder" / "legs" / leg).read_text().split(" ")
    except OSError:
        return set()
    return {int(port) for port in ports if port.isdecimal()}


def _record(file: Path) -> Record:
    try:
        return cast("Record", json.loads(file.read_bytes()))
    except (OSError, ValueError):
        return {}


def _identity(record: Record) -> Identity | None:
    # Pids of an earlier boot mean nothing.
    if not record or record.get("boot_id") != _BOOT_ID.read_text().strip():
        return None
    return Identity(int(record["pid"]), int(record["start_time"]))
