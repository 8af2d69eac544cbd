"""Something that is done again and again beside the story."""

import threading
from collections.abc import Callable


class Repeating:
    """Calls ``body`` every ``pause_s`` between `start` and `end`. What goes wrong in it ends it, and is raised by `end`."""

    def __init__(self, body: Callable[[], None], pause_s: float) -> None:
        self._body = body
        self._pause_s = pause_s
        self._end = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Returns when the last call is over."""
        self._end.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem

    def _repeat(self) -> None:
        try:
            while not self._end.wait(self._pause_s):
                self._body()
        except Exception as error:
            self._problem = error
