"""What an adapter gives: an engine that can be started, that carries out a workload, and that can be stopped."""

from pathlib import Path
from typing import Protocol

from engine.workloads import Workload


class Engine(Protocol):
    """An adapter's module has it under the name ``Engine``; it is made without arguments, or with those of the catalogue."""

    version: str
    """Of everything that takes part, such as a library and its server."""
    durability: str
    """In words: what is on the disk when a task counts as done, and whether each commit waits for the disk."""

    async def start(self, folder: Path) -> None:
        """Be ready; everything that is kept is kept below ``folder``."""
        ...

    async def define(self, workload: Workload) -> None:
        """Make what an engine wants to have defined once, as code or a compiled graph, before the clock starts."""
        ...

    async def run(self, workload: Workload) -> list[tuple[int, ...]]:
        """Carry out all runs of the workload; returns for each run the results of its sinks."""
        ...

    async def stop(self) -> None: ...
