"""The ``interlock`` commands of the story, run as anybody would run them."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from interlock.demo.stage import Stage

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a command printed, and its exit code."""

    exit_code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def said(self) -> str:
        """Both streams, as they would stand at a terminal."""
        return (self.text + self.stderr).rstrip()


class CommandLine:
    """Runs commands in the environment of the stage; ``width`` is how many columns they may use."""

    def __init__(self, stage: Stage, width: int) -> None:
        self._stage = stage
        self._environ = stage.environ | {"COLUMNS": str(width), "NO_COLOR": "1"}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    def run(self, *words: str) -> Output:
        """Run ``interlock WORDS…`` to its end. Raises subprocess.TimeoutExpired after a minute."""
        if self._is_closed:
            raise InterruptedError("the demo is ending")
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "interlock", *words],
            cwd=self._stage.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._running.add(process)
        try:
            stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
            process.wait()
            self._running.discard(process)
        return Output(exit_code=process.returncode, stdout=stdout, stderr=stderr.decode(errors="replace"))

    def close(self) -> None:
        """End what runs; nothing is run any more."""
        self._is_closed = True
        for process in tuple(self._running):
            process.kill()


def shown(*words: Any) -> str:
    """The command as it would be typed."""
    texts = [str(word) for word in words]
    return " ".join(["interlock", *(f'"{text}"' if " " in text else text for text in texts)])
