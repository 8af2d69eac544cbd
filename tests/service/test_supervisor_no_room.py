"""Starting a process on a disk that is nearly full: it runs, or it is refused, and the one who asked is told which."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.adapters.hosts.local import LocalHost
from interlock.core.errors import Unavailable
from interlock.tools.ports import ProcessSpec

PAGE_BYTES = 4096
ROUNDS = 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    # Lazily: a supervisor that has just ended may hold a file for another moment.
    subprocess.run(["umount", "-l", str(place)], check=True)


def leave(disk: Path, pages: int) -> None:
    """Take every page of the file system but these."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb", buffering=0) as stream:
        size = 1 << 16
        while size >= PAGE_BYTES:
            try:
                stream.write(b"x" * size)
            except OSError:
                size //= 2
    os.truncate(ballast, ballast.stat().st_size // PAGE_BYTES * PAGE_BYTES - pages * PAGE_BYTES)


@pytest.mark.parametrize("pages", [0, 1, 2])
async def test_a_supervisor_that_has_no_room_is_not_taken_for_one_that_begins(small_disk: Path, pages: int) -> None:
    """It lives for a moment in which it looks like one; hence the rounds."""
    host = LocalHost(small_disk / "processes")
    stays = ProcessSpec(kind="service", commands=(("sleep", "60"),), folder="/", environment={})
    for number in range(ROUNDS):
        leave(small_disk, pages)
        with pytest.raises(Unavailable) as refusal:
            await host.start(f"service-{number}", stays)
        assert refusal.value.code == "host_unavailable"
        assert "No space left" in refusal.value.message
        assert "disk" in refusal.value.hint
        assert (await host.status(f"service-{number}")).state == "absent"
    # The same key can be used as soon as there is room.
    (small_disk / "ballast").unlink()
    assert (await host.start("service-0", stays)).state == "running"
    await asyncio.gather(*(host.stop(key, 0) for key in await host.list()))
