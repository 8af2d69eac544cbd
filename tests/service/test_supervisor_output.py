"""The output of supervised processes is bounded, readable from any offset, and never in the way of the process."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from interlock.adapters.hosts.local import LocalHost
from interlock.core.errors import Unavailable
from interlock.testing.hosts import SAYS, STAYS, job, service

PATIENCE_S = 60.0
LIMIT_BYTES = 64 * 1024


def shell(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


def files(folder: Path, key: str) -> list[Path]:
    return sorted((folder / key).glob("output.*.log"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "processes"


@pytest.fixture
async def host(folder: Path) -> AsyncIterator[LocalHost]:
    host = LocalHost(folder)
    yield host
    await asyncio.gather(*(host.stop(key, 0) for key in await host.list()))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    # Lazily: a supervisor that has just written its result may hold a file for another moment.
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> None:
    """Take every free byte of the file system."""
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        size = 65536
        while size:
            try:
                ballast.write(b"x" * size)
            except OSError:
                size //= 2


async def test_a_flood_is_drained_and_counted(host: LocalHost, folder: Path) -> None:
    flood_bytes = 100_000_000
    await host.start("flood", job(("head", "-c", str(flood_bytes), "/dev/zero"), output_limit_bytes=LIMIT_BYTES))
    ended = await host.wait("flood", PATIENCE_S)
    assert ended.reason == "completed"
    assert (ended.output_bytes, ended.dropped_bytes) == (LIMIT_BYTES, flood_bytes - LIMIT_BYTES)
    assert [path.stat().st_size for path in files(folder, "flood")] == [LIMIT_BYTES]


async def test_dropped_output_is_counted_while_it_runs(host: LocalHost) -> None:
    await host.start("flood", job(shell("head -c 100000 /dev/zero; exec sleep 600"), output_limit_bytes=1000))
    async with asyncio.timeout(PATIENCE_S):
        while (status := await host.status("flood")).dropped_bytes < 99_000:
            await asyncio.sleep(0.01)
    assert (status.state, status.output_bytes, status.dropped_bytes) == ("running", 1000, 99_000)


async def test_a_service_log_is_rotated(host: LocalHost, folder: Path) -> None:
    await host.start("chatty", service(shell("seq 100000; exec sleep 600"), output_limit_bytes=LIMIT_BYTES))
    everything = "".join(f"{number}\n" for number in range(1, 100001))
    async with asyncio.timeout(PATIENCE_S):
        while (status := await host.status("chatty")).output_bytes < len(everything):
            await asyncio.sleep(0.01)
    assert (status.state, status.dropped_bytes) == ("running", 0)
    sizes = [path.stat().st_size for path in files(folder, "chatty")]
    assert sizes == [LIMIT_BYTES, LIMIT_BYTES, len(everything) % LIMIT_BYTES]

    # Read on from the first byte still kept, in pieces that cross the ends of files.
    offset, text = 0, ""
    while (chunk := await host.log("chatty", offset, 50_000)).text:
        text += chunk.text
        offset = chunk.next_offset
    assert offset == len(everything)
    assert text == everything[-sum(sizes) :]
    assert (await host.log("chatty", -7)).text == "100000\n"
    assert (await host.log("chatty", -sum(sizes) + LIMIT_BYTES - 3, 6)).text == text[LIMIT_BYTES - 3 : LIMIT_BYTES + 3]


async def test_reading_while_the_log_is_rotated_misses_nothing_that_is_kept(host: LocalHost) -> None:
    lines = 20_000
    await host.start("fast", service(shell(f"seq -w {lines}; exec sleep 600"), output_limit_bytes=LIMIT_BYTES))
    offset = 0
    async with asyncio.timeout(PATIENCE_S):
        while offset < lines * 6:
            chunk = await host.log("fast", offset)
            # A gap is allowed only where the reader fell behind what is kept; what is read is never torn or repeated.
            begin = chunk.next_offset - len(chunk.text)
            assert begin >= offset
            for number, line in enumerate(chunk.text[-begin % 6 :].split("\n")[:-1], (begin + 5) // 6 + 1):
                assert int(line) == number
            offset = chunk.next_offset


async def test_characters_are_not_cut_in_two(host: LocalHost) -> None:
    await host.start("words", job(shell("printf 'añ€😀\\377z'")))
    await host.wait("words", PATIENCE_S)
    offset, text = 0, ""
    while (chunk := await host.log("words", offset, 5)).text:
        text += chunk.text
        offset = chunk.next_offset
    assert text == "añ€😀\N{REPLACEMENT CHARACTER}z"
    assert (await host.log("words", 1, 1)).text == "\N{REPLACEMENT CHARACTER}"


async def test_a_full_disk_does_not_stop_a_service(small_disk: Path) -> None:
    host = LocalHost(small_disk / "processes")
    # Writes without end, and is restarted once while there is no room.
    started = await host.start("api", service(shell("while :; do echo 0123456789; sleep 0.001; done"), max_restarts=1))
    async with asyncio.timeout(PATIENCE_S):
        while (await host.status("api")).output_bytes == 0:
            await asyncio.sleep(0.01)
        fill(small_disk)
        while (await host.status("api")).dropped_bytes == 0:
            await asyncio.sleep(0.01)
        assert started.pid is not None
        os.kill(started.pid, 9)
        while (await host.status("api")).restarts == 0:
            await asyncio.sleep(0.01)
    ended = await host.stop("api")
    assert (ended.state, ended.reason, ended.restarts) == ("exited", "stopped", 1)
    assert ended.dropped_bytes > 0
    assert ended.output_bytes > 0


async def test_nothing_is_started_on_a_full_disk(small_disk: Path) -> None:
    host = LocalHost(small_disk / "processes")
    await host.start("first", job(SAYS))
    await host.wait("first", PATIENCE_S)
    fill(small_disk)
    with pytest.raises(Unavailable) as refusal:
        await host.start("second", service(STAYS))
    assert refusal.value.code == "host_unavailable"
    assert "No space left" in refusal.value.message
    assert (await host.status("second")).state == "absent"
    (small_disk / "ballast").unlink()
    await host.start("second", job(SAYS))
    assert (await host.wait("second", PATIENCE_S)).reason == "completed"
