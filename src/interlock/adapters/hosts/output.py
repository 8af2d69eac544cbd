"""The output of a supervised process, in files that carry in their names the offset at which they begin.

So a reader needs no second record of how often the files were rotated, and cannot disagree with the writer about it.

Standard library only: the supervisor imports this.
"""

import os
from contextlib import suppress

_PREFIX, _SUFFIX = "output.", ".log"
_DROPPED = "dropped"
_DIGITS = 20
_KEPT_OLD_FILES = 2
_CHUNK_BYTES = 65536


class OutputWriter:
    """Takes what comes out of a pipe and keeps a bounded part of it. Never fails and never holds the pipe up.

    With ``rotates`` a full file (``limit_bytes``) is followed by a new one and two old ones stay; without it, what goes
    beyond the limit is dropped. What cannot be written, as on a full disk, is dropped too, and counted.
    """

    def __init__(self, folder: str, pipe: int, limit_bytes: int, *, rotates: bool) -> None:
        self._folder = folder
        self._pipe = pipe
        self._limit_bytes = limit_bytes
        self._rotates = rotates
        self._size_bytes = 0
        self._bases = [0]
        self.dropped_bytes = 0
        os.set_blocking(pipe, False)
        self._file = self._open(0)
        # Written once at full width, so that counting later needs no space.
        self._counter = os.open(os.path.join(folder, _DROPPED), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._drop(0)

    @property
    def kept_bytes(self) -> int:
        """The offset at which the output ends: every byte ever kept, those in files that are gone included."""
        return self._bases[-1] + self._size_bytes

    def pump(self) -> bool:
        """Take one piece from the pipe; False where there is none now."""
        try:
            data = os.read(self._pipe, _CHUNK_BYTES)
        except BlockingIOError:
            return False
        while data:
            data = data[self._keep(data) :]
        return True

    def _keep(self, data: bytes) -> int:
        """Deal with a beginning of ``data``, kept or dropped; how long it is."""
        try:
            if self._size_bytes >= self._limit_bytes and not (self._rotates and self._rotate()):
                return self._drop(len(data))
            written = os.write(self._file, data[: self._limit_bytes - self._size_bytes])
        except OSError:
            return self._drop(len(data))
        self._size_bytes += written
        return written

    def _drop(self, length: int) -> int:
        self.dropped_bytes += length
        with suppress(OSError):
            os.pwrite(self._counter, b"%0*d" % (_DIGITS, self.dropped_bytes), 0)
        return length

    def _rotate(self) -> bool:
        new_file = self._open(self.kept_bytes)
        os.close(self._file)
        self._file = new_file
        self._bases.append(self.kept_bytes)
        self._size_bytes = 0
        while len(self._bases) > _KEPT_OLD_FILES + 1:
            with suppress(OSError):
                os.unlink(_path(self._folder, self._bases.pop(0)))
        return True

    def _open(self, base: int) -> int:
        return os.open(_path(self._folder, base), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def measure_output(folder: str) -> tuple[int, int]:
    """How many bytes were kept and how many dropped so far."""
    files = _files(folder)
    dropped_bytes = 0
    with suppress(OSError, ValueError), open(os.path.join(folder, _DROPPED), "rb") as counter:
        dropped_bytes = int(counter.read(_DIGITS))
    return _end(files), dropped_bytes


def read_output(folder: str, offset: int, limit_bytes: int) -> tuple[int, bytes]:
    """At most ``limit_bytes`` from ``offset`` on, and the offset at which they really begin.

    A negative offset counts from the end; one in a file that is gone moves to the first byte still kept, one beyond the end
    to the end.
    """
    files = _files(folder)
    if not files:
        return 0, b""
    end = _end(files)
    begin = min(max(end + offset if offset < 0 else offset, files[0][0]), end)
    pieces: list[bytes] = []
    position, left = begin, max(limit_bytes, 0)
    for base, size_bytes in files:
        if not base <= position < base + size_bytes or not left:
            continue
        try:
            with open(_path(folder, base), "rb") as file:
                piece = os.pread(file.fileno(), min(left, base + size_bytes - position), position - base)
        except FileNotFoundError:
            # Rotated away since the folder was listed.
            return read_output(folder, position, limit_bytes) if not pieces else (begin, b"".join(pieces))
        pieces.append(piece)
        position, left = position + len(piece), left - len(piece)
    return begin, b"".join(pieces)


def _path(folder: str, base: int) -> str:
    return os.path.join(folder, f"{_PREFIX}{base:0{_DIGITS}d}{_SUFFIX}")


def _files(folder: str) -> list[tuple[int, int]]:
    """Where each file begins and how long it is, in order."""
    files: list[tuple[int, int]] = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.name.endswith(_SUFFIX):
                with suppress(FileNotFoundError):
                    files.append((int(entry.name[len(_PREFIX) : -len(_SUFFIX)]), entry.stat().st_size))
    return sorted(files)


def _end(files: list[tuple[int, int]]) -> int:
    return sum(files[-1]) if files else 0
