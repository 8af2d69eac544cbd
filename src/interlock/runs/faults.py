"""What is wrong with a part of a task, before anything runs."""

from typing import NamedTuple


class Fault(NamedTuple):
    """``what`` in words, the ``place`` inside of the task, and what to do."""

    what: str
    place: str = ""
    hint: str = ""
