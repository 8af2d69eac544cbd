"""The output of a task of a run: of what it ran or started, wherever that was."""

from typing import Protocol

from interlock.core.errors import NotFound
from interlock.delivery.targets import Targets
from interlock.runs.model import RunState
from interlock.tools.ports import LogChunk

_WITH_OUTPUT = frozenset({"command.run", "process.start", "container.run", "container.start", "image.build"})


class BuildLog(Protocol):
    """What image builds printed, and containers that were removed since."""

    async def log(self, key: str, offset: int, limit_bytes: int) -> LogChunk: ...


class TaskLogs:
    """Reads it by the key of the task's last call that has output."""

    def __init__(self, targets: Targets, builds: BuildLog) -> None:
        self._targets = targets
        self._builds = builds

    async def read(self, run: RunState, task_id: str, offset: int, limit_bytes: int) -> tuple[str, LogChunk]:
        """The key and the piece. Raises NotFound ``log``."""
        entries = [entry for entry in run.ledger.values() if entry.task == task_id and entry.tool in _WITH_OUTPUT]
        if not entries:
            raise NotFound("log", f"{task_id} of {run.run.run_id} has started no process")
        entry = entries[-1]
        if entry.tool == "image.build":
            return entry.key, await self._builds.log(entry.key, offset, limit_bytes)
        workloads = self._targets.of("container" if entry.tool.startswith("container.") else "process")
        chunk = await workloads.log(entry.key, offset, limit_bytes)
        if entry.tool == "container.run" and not chunk.next_offset:
            # Removed with its image, where its output was kept.
            chunk = await self._builds.log(entry.key, offset, limit_bytes)
        return entry.key, chunk
