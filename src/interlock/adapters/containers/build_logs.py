"""What image builds print, kept in a file for each so that it can be read while they go on."""

import asyncio
import time
from pathlib import Path

from interlock.tools.masking import read_masked
from interlock.tools.model import Call
from interlock.tools.ports import LogChunk

MAX_BYTES = 4 * 1024 * 1024
"""Of one build; what comes after it is not kept."""


class BuildLogs:
    """Files named by the keys of builds, in ``folder``; those older than ``keep_s`` go when another one begins."""

    def __init__(self, folder: Path, keep_s: float) -> None:
        self._folder = folder
        self._keep_s = keep_s

    def take(self, call: Call, text: str) -> None:
        """Add to the log of a build. A full disk costs the log, never the build."""
        file = self._folder / f"{call.key}.log"
        try:
            if not file.exists():
                self._begin()
            with file.open("ab") as stream:
                if stream.tell() < MAX_BYTES:
                    stream.write(text.encode(errors="replace"))
        except OSError:
            return

    async def log(self, key: str, offset: int, limit_bytes: int) -> LogChunk:
        """A piece of a build's log, as of any workload's; empty where there is none."""
        return await asyncio.to_thread(self._log, key, offset, limit_bytes)

    def _log(self, key: str, offset: int, limit_bytes: int) -> LogChunk:
        try:
            data = (self._folder / f"{key}.log").read_bytes()
        except OSError:
            data = b""

        def read(at: int, limit: int) -> tuple[int, bytes]:
            begin = min(max(len(data) + at if at < 0 else at, 0), len(data))
            return begin, data[begin : begin + limit]

        # No secret is ever sent to a build.
        return read_masked(read, (), offset, limit_bytes, lambda: True)

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        oldest = time.time() - self._keep_s
        for file in self._folder.glob("*.log"):
            if file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)
