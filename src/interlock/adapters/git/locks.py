"""One writer at a time for each mirror, across processes, and the clearing of what a killed writer left."""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from interlock.core.errors import Unavailable

_POLL_S = 0.02


@asynccontextmanager
async def exclusive(path: Path, timeout_s: float) -> AsyncGenerator[int]:
    """Hold the lock file ``path``; yields its descriptor, which a child may inherit to hold the lock as long as it lives.

    Raises Unavailable ``repository_busy`` when another process keeps it longer than ``timeout_s``.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        await _acquire(descriptor, path, timeout_s)
        yield descriptor
    finally:
        os.close(descriptor)


async def _acquire(descriptor: int, path: Path, timeout_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if asyncio.get_running_loop().time() > deadline:
                message = f"another fetch has held {path} for {timeout_s:g} s"
                raise Unavailable("repository_busy", message, where=str(path), hint="try again later") from error
        await asyncio.sleep(_POLL_S)


def clear_leftovers(mirror: Path) -> None:
    """Remove what a git process that was killed while writing left; only for the holder of the mirror's lock."""
    for pattern in ("*.lock", "refs/**/*.lock", "objects/info/**/*.lock", "objects/pack/tmp_*", "objects/pack/.tmp-*"):
        for leftover in mirror.glob(pattern):
            leftover.unlink(missing_ok=True)
