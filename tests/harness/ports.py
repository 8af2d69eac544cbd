"""Ports of which no two tests that run at the same time get the same."""

import itertools
import os
import socket

FIRST = 20_000
PER_WORKER = 3_000
PER_PLANE = 250

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_places = itertools.cycle(range(PER_WORKER // PER_PLANE))


def port_range() -> tuple[int, int]:
    """The first and the last port for one control plane; below what the system gives to others by itself."""
    first = FIRST + _worker % 4 * PER_WORKER + next(_places) * PER_PLANE
    return first, first + PER_PLANE - 1


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
