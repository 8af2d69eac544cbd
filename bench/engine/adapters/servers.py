"""A peer's own server as a process below this one."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

LOOK_S = 0.05
PATIENCE_S = 15.0


class Server:
    """``ready()`` says whether it answers; an OSError means not yet."""

    def __init__(self, ready: Callable[[], Awaitable[bool]]) -> None:
        self._ready = ready

    async def start(self, folder: Path, *command: str, **environment: str) -> None:
        """Returns once it is ready; raises RuntimeError with its last words when it ends before that."""
        file = folder / f"{Path(command[0]).name}.log"
        with file.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=folder, env=os.environ | environment, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
            )
        while not await self._is_ready():
            if self._process.returncode is not None:
                raise RuntimeError(f"{command[0]} ended: {file.read_text(errors='replace')[-400:]}")
            await asyncio.sleep(LOOK_S)

    async def _is_ready(self) -> bool:
        try:
            return await self._ready()
        except OSError:
            return False

    async def stop(self) -> None:
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def listens_on(port: int) -> Callable[[], Awaitable[bool]]:
    """Ready as soon as it takes connections."""

    async def ready() -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True

    return ready


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
