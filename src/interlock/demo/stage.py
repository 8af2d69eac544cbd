"""Where the story takes place: a temporary folder, ports and an environment that nothing else on the machine uses."""

import os
import random
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PORTS = 40
FIRST_PORT, LAST_PORT = 12_000, 17_900
"""Below the default range of a control plane and below what the system gives away by itself."""
MARKER = "interlock-demo"


class NoPortsError(Exception):
    """There is no room for the demo's services."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """``folder`` holds everything: the data folder, the sample repositories and the log of the server."""

    folder: Path
    environ: dict[str, str]

    @property
    def home(self) -> Path:
        """The data folder of the control plane."""
        return self.folder / "home"

    @property
    def server_log(self) -> Path:
        return self.folder / "server.log"


def set_up(settings: Mapping[str, str]) -> Stage:
    """Make the folder, for this user alone, and find the ports. ``settings`` are added for its control plane. Raises
    NoPortsError."""
    folder = Path(tempfile.mkdtemp(prefix=f"{MARKER}-"))
    (folder / MARKER).touch()
    first = _free_block()
    # What is set for another control plane is none of this one's business.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK_")}
    environ |= {
        "INTERLOCK_HOME": str(folder / "home"),
        "INTERLOCK_FIRST_PORT": str(first),
        "INTERLOCK_LAST_PORT": str(first + PORTS - 1),
        **settings,
    }
    return Stage(folder=folder, environ=environ)


def _free_block() -> int:
    starts = list(range(FIRST_PORT, LAST_PORT, PORTS))
    random.SystemRandom().shuffle(starts)
    for first in starts:
        if all(_is_free(port) for port in range(first, first + PORTS)):
            return first
    raise NoPortsError(f"no {PORTS} neighbouring ports are free between {FIRST_PORT} and {LAST_PORT}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
