"""The stream of the log, which must end nothing: neither a full disk below it nor a reader who is gone."""

import contextlib
import io
import os
from typing import TextIO


class LossyStream(io.TextIOBase):
    """Writes each text at once, or loses it. Nothing is kept to be tried again, which would fail at the end of the process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, ValueError):
            self._descriptor = None

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            if self._descriptor is None:
                self._stream.write(text)
            else:
                os.write(self._descriptor, text.encode(errors="backslashreplace"))
        return len(text)

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()
