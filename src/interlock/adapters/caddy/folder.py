"""The files of one forwarder: what Caddy starts with, and a line for each leg. Every change is durable when it returns."""

import json
import os
from pathlib import Path

from interlock.adapters.caddy.configuration import ADMIN_SOCKET, LEGS_FOLDER, Data, initial_configuration

CONFIGURATION_FILE = "caddy.json"
_HOME = "home"


class ForwarderFolder:
    """A folder for this user alone. Its methods block, for as long as the disk takes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._configuration = path / CONFIGURATION_FILE
        self._legs = path / LEGS_FOLDER

    def prepare(self) -> None:
        """Make the folder, and the configuration that Caddy starts with, unless they are there."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        self._legs.mkdir(exist_ok=True)
        (self.path / _HOME).mkdir(exist_ok=True)
        for leftover in (*self.path.glob("*.new"), *self._legs.glob("*.new")):
            leftover.unlink()
        if not self._configuration.exists():
            self.write_configuration(initial_configuration())

    def environment(self) -> dict[str, str]:
        """The whole environment of Caddy: everything that it keeps stays in the folder."""
        home = str(self.path / _HOME)
        return {"HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}

    def configuration(self) -> Data | None:
        """What Caddy would start with; None where there is nothing readable."""
        try:
            return json.loads(self._configuration.read_bytes())
        except (OSError, ValueError):
            return None

    def write_configuration(self, data: Data) -> None:
        _replace(self._configuration, json.dumps(data, indent=1, sort_keys=True) + "\n")

    def upstream_line(self, name: str) -> str:
        """The line of a leg; empty where it has none."""
        try:
            return (self._legs / name).read_text()
        except FileNotFoundError:
            return ""

    def write_upstream_line(self, name: str, line: str) -> None:
        _replace(self._legs / name, line)

    def remove_upstream_line(self, name: str) -> None:
        (self._legs / name).unlink(missing_ok=True)

    def socket_path(self, folder_fd: int) -> str:
        """Where the admin socket is: by way of the open folder, because a socket's path may have only 107 bytes."""
        return f"/proc/self/fd/{folder_fd}/{ADMIN_SOCKET}"


def _replace(path: Path, text: str) -> None:
    """Readers see the old content or the new one, and after a crash of the machine it is one of them too."""
    new = path.with_name(path.name + ".new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
