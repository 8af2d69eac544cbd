"""Offsets of a container's log stay true over rotation and over a restart, and no more of it is read than is wanted."""

import struct
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interlock.adapters.containers.connection import Connection
from interlock.adapters.containers.logs import ContainerLogs
from interlock.adapters.containers.output import Splitter, since
from interlock.tools.ports import LogChunk


def multiplexed(pieces: Sequence[tuple[str, bytes]]) -> bytes:
    texts = [time.encode() + b" " + data for time, data in pieces]
    return b"".join(struct.pack(">BxxxL", 1, len(text)) + text for text in texts)


def at(number: int) -> str:
    moment = datetime(2030, 1, 1, tzinfo=UTC).timestamp() + number // 1000
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%S}.{number % 1000 * 10**6:09d}Z"


class Engine(Connection):
    """Keeps the log of one container; `rotate` drops what is old. ``sent`` counts what was asked of it."""

    def __init__(self) -> None:
        super().__init__("")
        self.pieces: list[tuple[str, bytes]] = []
        self.number = 0
        self.sent = 0

    def write(self, *lines: str) -> None:
        for line in lines:
            self.number += 1
            self.pieces.append((at(self.number), line.encode()))

    def rotate(self, kept: int) -> None:
        self.pieces = self.pieces[-kept:] if kept else []

    async def stream(self, path: str, params: dict[str, Any]) -> AsyncGenerator[bytes]:
        assert path == "containers/c1/logs"
        asked = params.get("since", "0.0")
        raw = multiplexed([piece for piece in self.pieces if since(piece[0].encode()) >= asked])
        for begin in range(0, len(raw), 1000):
            part = raw[begin : begin + 1000]
            self.sent += len(part)
            yield part


FOUND: dict[str, Any] = {
    "Id": "c1",
    "State": {"Running": True},
    "HostConfig": {"LogConfig": {"Config": {"max-size": str(4 << 20)}}},
}


async def read(logs: ContainerLogs, offset: int, limit: int = 1 << 20, secrets: Sequence[str] = ()) -> LogChunk:
    return await logs.read("key", FOUND, offset, limit, secrets)


@pytest.fixture
def engine() -> Engine:
    return Engine()


async def test_offsets_go_on_where_a_log_was_rotated(engine: Engine) -> None:
    logs = ContainerLogs(engine, None)
    engine.write("one\n", "two\n")
    assert await read(logs, 0) == LogChunk(text="one\ntwo\n", begin=0, next_offset=8)
    engine.write("three\n")
    engine.rotate(2)
    assert await read(logs, 8) == LogChunk(text="three\n", begin=8, next_offset=14)
    assert await read(logs, 0) == LogChunk(text="two\nthree\n", begin=4, next_offset=14)
    assert await read(logs, -3) == LogChunk(text="ee\n", begin=11, next_offset=14)
    assert await read(logs, 500) == LogChunk(text="", begin=14, next_offset=14)


async def test_a_look_at_what_is_new_reads_little_of_a_long_log(engine: Engine) -> None:
    logs = ContainerLogs(engine, None)
    engine.write(*(f"line {number:06}\n" for number in range(50_000)))
    end = (await read(logs, 1 << 60, 0)).next_offset
    assert end == 600_000
    engine.sent = 0
    engine.write("news\n")
    assert (await read(logs, end, secrets=["a-secret-of-some-length"])).text == "news\n"
    assert engine.sent < 100_000
    text, offset = "", 0
    engine.sent = 0
    while (piece := await read(logs, offset, 60_000)).text:
        text, offset = text + piece.text, piece.next_offset
    assert text == "".join(f"line {number:06}\n" for number in range(50_000)) + "news\n"
    assert engine.sent < 10 * end


async def test_pieces_of_one_long_line_have_one_time_and_are_all_counted(engine: Engine) -> None:
    logs = ContainerLogs(engine, None)
    engine.pieces = [(at(1), b"a" * 16384), (at(1), b"b" * 16384), (at(1), b"c\n"), (at(2), b"d\n")]
    assert (await read(logs, 32768)).text == "c\nd\n"
    engine.pieces.append((at(2), b"e\n"))
    assert await read(logs, 32772) == LogChunk(text="e\n", begin=32772, next_offset=32774)


async def test_a_reader_that_lost_everything_is_told_that_something_is_missing(engine: Engine) -> None:
    logs = ContainerLogs(engine, None)
    engine.write("one\n")
    offset = (await read(logs, 0)).next_offset
    engine.write("lost\n", "kept\n")
    engine.rotate(1)
    piece = await read(logs, offset)
    assert piece.text == "kept\n"
    assert piece.begin > offset
    assert await read(logs, piece.next_offset) == LogChunk(text="", begin=piece.next_offset, next_offset=piece.next_offset)


async def test_offsets_stay_true_over_a_restart_of_the_control_plane(engine: Engine, tmp_path: Path) -> None:
    engine.write(*(f"line {number:02}\n" for number in range(50)))
    before = await read(ContainerLogs(engine, tmp_path), 0)
    assert before.next_offset == 400
    engine.rotate(10)
    engine.write("after\n")
    logs = ContainerLogs(engine, tmp_path)
    assert await read(logs, 400) == LogChunk(text="after\n", begin=400, next_offset=406)
    assert (await read(logs, 0)).begin == 320


async def test_what_was_rotated_away_while_the_control_plane_was_gone_is_a_gap(engine: Engine, tmp_path: Path) -> None:
    engine.write("one\n", "two\n")
    offset = (await read(ContainerLogs(engine, tmp_path), 0)).next_offset
    engine.write("lost\n", "kept\n")
    engine.rotate(1)
    piece = await read(ContainerLogs(engine, tmp_path), offset)
    assert piece.text == "kept\n"
    assert piece.begin > offset
    again = await read(ContainerLogs(engine, tmp_path), piece.next_offset)
    assert (again.text, again.begin) == ("", piece.next_offset)


async def test_the_place_of_a_container_that_is_gone_is_forgotten(engine: Engine, tmp_path: Path) -> None:
    logs = ContainerLogs(engine, tmp_path)
    engine.write("one\n")
    await read(logs, 0)
    assert len(list(tmp_path.iterdir())) == 1
    await logs.forget("key")
    assert list(tmp_path.iterdir()) == []


def test_a_log_is_taken_apart_wherever_it_is_cut() -> None:
    pieces = [(at(number), f"{number}\n".encode() * number) for number in range(1, 9)]
    raw = multiplexed(pieces)
    for size in (1, 7, 64, len(raw)):
        splitter = Splitter()
        found = [piece for begin in range(0, len(raw), size) for piece in splitter.feed(raw[begin : begin + size])]
        assert found == [(time.encode(), data) for time, data in pieces]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (b"2030-01-01T00:00:00.000000001Z", "1893456000.000000001"),
        (b"2030-01-01T02:00:00.5+02:00", "1893456000.500000000"),
        (b"2030-01-01T00:00:00Z", "1893456000.000000000"),
    ],
)
def test_the_time_of_a_piece_is_asked_for_to_the_nanosecond(time: bytes, seconds: str) -> None:
    assert since(time) == seconds
