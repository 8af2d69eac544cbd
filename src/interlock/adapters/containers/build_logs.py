"""What image builds print, kept in a file for each so that it can be read while they go on; and what jobs printed whose
containers are gone."""

import asyncio
import time
from collections import defaultdict
from pathlib import Path

from interlock.tools.masking import read_masked
from interlock.tools.model import Call
from interlock.tools.ports import LogChunk

MAX_BYTES = 4 * 1024 * 1024
"""Of one build; what comes after it is not kept."""
CUT = f"\n[the output goes on; what is beyond {MAX_BYTES >> 20} MiB is not kept]\n"
_WRITE_S = 0.2
"""How long a line waits for others, since a build may print thousands in a second."""


class BuildLogs:
    """Files named by keys, in ``folder``; those older than ``keep_s`` go when another one begins."""

    def __init__(self, folder: Path, keep_s: float) -> None:
        self._folder = folder
        self._keep_s = keep_s
        self._pending: defaultdict[str, list[bytes]] = defaultdict(list)

    def take(self, call: Call, text: str) -> None:
        """Add to the log of a build, from within the event loop. A full disk costs the log, never the build."""
        if call.key not in self._pending:
            asyncio.get_running_loop().call_later(_WRITE_S, self._write, call.key)
        self._pending[call.key].append(text.encode(errors="replace"))

    def keep(self, key: str, text: str) -> None:
        """The whole log of a job that has ended. Keeping it again changes nothing."""
        file = self._file(key)
        try:
            self._begin()
            file.write_bytes(text.encode(errors="replace")[-MAX_BYTES:])
        except OSError:
            return

    async def log(self, key: str, offset: int, limit_bytes: int) -> LogChunk:
        """A piece of a log, as of any workload's; empty where there is none."""
        self._write(key)
        return await asyncio.to_thread(self._log, key, offset, limit_bytes)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.log"

    def _write(self, key: str) -> None:
        data = b"".join(self._pending.pop(key, ()))
        file = self._file(key)
        try:
            if not data:
                return
            if not file.exists():
                self._begin()
            with file.open("ab") as stream:
                room = MAX_BYTES - stream.tell()
                if room >= 0:
                    stream.write(data if len(data) <= room else data[:room] + CUT.encode())
        except OSError:
            return

    def _log(self, key: str, offset: int, limit_bytes: int) -> LogChunk:
        try:
            data = self._file(key).read_bytes()
        except OSError:
            data = b""

        def read(at: int, limit: int) -> tuple[int, bytes]:
            begin = min(max(len(data) + at if at < 0 else at, 0), len(data))
            return begin, data[begin : begin + limit]

        # No secret is ever sent to a build, and the output of a job was masked before.
        return read_masked(read, (), offset, limit_bytes, lambda: True)

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        oldest = time.time() - self._keep_s
        for file in self._folder.glob("*.log"):
            if file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)
