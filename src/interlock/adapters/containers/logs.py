"""Reading the logs of containers: from a known piece on, no more than is wanted, under offsets that stay true.

Over a restart of the control plane they stay true by a small file for each container: the time and the offset of one piece.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

from interlock.adapters.containers.connection import Connection, Data, Refusal
from interlock.adapters.containers.output import STEP_BYTES, Index, Kept, LogPiece, Mark, Splitter, chunk, since
from interlock.tools.masking import patterns_of
from interlock.tools.ports import LogChunk

_TRIES = 3
_THE_END = 1 << 62
_SMALLEST_STEP = 256


class ContainerLogs:
    """``folder`` holds the places; None keeps them for as long as this object lives."""

    def __init__(self, connection: Connection, folder: Path | None) -> None:
        self._connection = connection
        self._folder = folder
        self._known: dict[str, Index] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def read(self, key: str, found: Data, offset: int, limit_bytes: int, secrets: Iterable[str]) -> LogChunk:
        """A piece of the log of the container ``found`` (its inspection), as the port says."""
        patterns = patterns_of(secrets)
        margin = len(patterns[0]) if patterns else 0
        async with self._turns[key]:
            index = await self._index(key, found)
            if offset < 0:
                await self._span(index, _THE_END, 0)
                offset = max(index.end + offset, 0)
            kept = await self._span(index, max(offset - margin, 0), limit_bytes + 2 * margin + 1)
            if index.end > index.horizon or not index.horizon:
                await self._remember(key, index)
        has_ended = not found["State"]["Running"]
        return await asyncio.to_thread(chunk, kept, offset, limit_bytes, patterns, has_ended=has_ended)

    async def forget(self, key: str) -> None:
        """There is no such container any more."""
        self._known.pop(key, None)
        if self._folder is not None:
            await asyncio.to_thread(self._file(self._folder, key).unlink, missing_ok=True)

    async def _span(self, index: Index, at: int, size: int) -> Kept:
        """``size`` bytes from the offset ``at`` on, as far as they are kept; and a little before."""
        for _ in range(_TRIES):
            kept = await self._from(index, index.before(at), at, size)
            if kept is not None:
                return kept
            await self._locate(index)
        # It is rotated away quicker than it can be read.
        return Kept(index.end, b"")

    async def _from(self, index: Index, mark: Mark | None, at: int, size: int) -> Kept | None:
        """What is wanted, read from a mark on; None where the piece of the mark is not kept any more."""
        time_before, position = mark or (b"", index.base)
        begin, wanted = -1, list[bytes]()
        is_first = True
        async with aclosing(self._pieces(index.container_id, mark)) as pieces:
            async for time, data in pieces:
                if is_first and mark is not None and time != mark[0]:
                    return None
                if is_first or time != time_before:
                    index.note(time, position)
                is_first, time_before = False, time
                if position + len(data) > at:
                    begin = position if begin < 0 else begin
                    wanted.append(data)
                position += len(data)
                index.end = max(index.end, position)
                if begin >= 0 and position >= max(at, begin) + size:
                    break
        if is_first and mark is not None:
            return None
        return Kept(begin if begin >= 0 else position, b"".join(wanted))

    async def _locate(self, index: Index) -> None:
        """Find out where what is kept begins: by the first piece in it whose offset is known."""
        known, length, first = index.known, 0, None
        async with aclosing(self._pieces(index.container_id, None)) as pieces:
            async for time, data in pieces:
                first = time if first is None else first
                if time in known:
                    index.begin_anew(first, known[time] - length)
                    return
                length += len(data)
        index.begin_anew(first, None)

    async def _pieces(self, container_id: str, mark: Mark | None) -> AsyncGenerator[LogPiece]:
        params = {"stdout": "true", "stderr": "true", "timestamps": "true", "follow": "false"}
        splitter = Splitter()
        try:
            path = f"containers/{container_id}/logs"
            more = {"since": since(mark[0])} if mark is not None else {}
            async with aclosing(self._connection.stream(path, params | more)) as answer:
                async for raw in answer:
                    for piece in splitter.feed(raw):
                        yield piece
        except Refusal as refusal:
            if refusal.status != 404:
                raise

    # --- over a restart ---

    async def _index(self, key: str, found: Data) -> Index:
        index = self._known.get(key)
        if index is None or index.container_id != found["Id"]:
            index = Index(found["Id"], _step(found))
            await asyncio.to_thread(self._recall, key, index)
            if index.newest is not None:
                await self._locate(index)
            self._known[key] = index
        return index

    def _recall(self, key: str, index: Index) -> None:
        if self._folder is None:
            return
        try:
            place = json.loads(self._file(self._folder, key).read_bytes())
            if place["container"] == index.container_id:
                index.horizon, index.end = int(place["horizon"]), int(place["offset"])
                index.newest = (str(place["time"]).encode(), index.end)
        except (OSError, ValueError, KeyError, TypeError):
            return

    async def _remember(self, key: str, index: Index) -> None:
        """Write the newest mark down, well before the log can be rotated past it."""
        index.horizon = index.end + index.step
        if self._folder is not None and index.newest is not None:
            time, offset = index.newest
            place = {"container": index.container_id, "time": time.decode(), "offset": offset, "horizon": index.horizon}
            await asyncio.to_thread(_write, self._file(self._folder, key), json.dumps(place))

    @staticmethod
    def _file(folder: Path, key: str) -> Path:
        return folder / f"{key}.json"


def _step(found: Data) -> int:
    """A quarter of what is kept at least: between two steps nothing can be rotated away unseen."""
    settings: Data = found["HostConfig"].get("LogConfig") or {}
    options: Data = settings.get("Config") or {}
    size = str(options.get("max-size", ""))
    return max(_SMALLEST_STEP, min(STEP_BYTES, int(size) // 4)) if size.isdigit() else STEP_BYTES


def _write(file: Path, text: str) -> None:
    """All of it or nothing. A full disk costs the place, never the log."""
    whole = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text(text)
        whole.replace(file)
    except OSError:
        return
