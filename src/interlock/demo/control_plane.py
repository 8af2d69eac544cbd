"""The control plane of the demo: a process of its own, as anybody would start it."""

import json
import signal
import subprocess
import sys
import time
from typing import cast

import httpx

from interlock.demo.stage import Stage

READY_PATIENCE_S = 30.0
POLL_S = 0.02
NOWHERE = "http://127.0.0.1:9"


class DidNotStartError(Exception):
    """`interlock serve` did not get ready."""


class ControlPlane:
    """`start` and `kill` it as often as wanted; services that it deployed are not touched by either."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers now, as its own file says; a closed port where there is none."""
        return str(self._address().get("url", NOWHERE))

    @property
    def token(self) -> str:
        """The owner's token, as its own file says; empty before the first start."""
        try:
            return (self._stage.home / "owner.token").read_text().strip()
        except OSError:
            return ""

    @property
    def pid(self) -> int:
        """Raises DidNotStartError where none was started."""
        return self._started().pid

    @property
    def is_up(self) -> bool:
        """Whether the one that was started last runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """`interlock serve --port 0`; returns after how many seconds it was ready. Raises DidNotStartError."""
        began = time.monotonic()
        with self._stage.server_log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "interlock", "serve", "--port", "0"],
                cwd=self._stage.folder,
                env=self._stage.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # An interruption at the terminal is for the demo alone, which then ends things in order.
                start_new_session=True,
            )
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() - began > READY_PATIENCE_S:
                raise DidNotStartError(f"interlock serve did not get ready: {self._last_words()}")
            time.sleep(POLL_S)
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL: nothing in it gets to run any more."""
        process = self._started()
        process.send_signal(signal.SIGKILL)
        process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise DidNotStartError("no control plane was started")
        return self._process

    def _address(self) -> dict[str, object]:
        try:
            return cast("dict[str, object]", json.loads((self._stage.home / "server.json").read_bytes()))
        except (OSError, ValueError):
            return {}

    def _is_ready(self) -> bool:
        # The file of the one before may still be there.
        if self._address().get("pid") != self.pid:
            return False
        try:
            return httpx.get(self.url + "/ready", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _last_words(self) -> str:
        lines = self._stage.server_log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
