"""Signals: not failures, but what a task body tells the engine about how to go on."""

from dataclasses import dataclass, field
from typing import Any


class Signal(Exception):  # noqa: N818 - a signal is not an error
    """The root of the signals."""


@dataclass
class NeedsApproval(Signal):
    """A person has to decide before the task goes on: ``question``, the ``options`` and the ``evidence`` to show."""

    question: str
    options: tuple[str, ...] = ("continue", "stop")
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class RetryLater(Signal):
    """The attempt is given back and made again after ``delay_s`` seconds; it counts as an attempt."""

    reason: str
    delay_s: float


@dataclass
class Cancel(Signal):
    """The task asks for the end of its run."""

    reason: str
