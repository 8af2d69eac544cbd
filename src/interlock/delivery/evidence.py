"""The samples behind a verdict, as evidence that is kept with an incident. Pure."""

from collections.abc import Sequence
from typing import Any

from interlock.delivery.ports import LegCounters
from interlock.delivery.watch import Sample

MAX_SAMPLES = 60


def told(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The samples behind a verdict as evidence: what each look saw since the one before, and how long before the verdict."""
    found: list[dict[str, Any]] = []
    before: LegCounters | None = None
    for sample in samples:
        counters = sample.counters
        requests = errors = None
        if counters is not None and before is not None:
            is_same = counters.generation == before.generation
            requests = counters.requests - (before.requests if is_same else 0)
            errors = counters.server_errors - (before.server_errors if is_same else 0)
        before = counters or before
        found.append(
            {
                "before_s": round(samples[-1].at_s - sample.at_s, 3),
                "requests": requests,
                "errors": errors,
                "healthy": sample.healthy,
                "running": sample.is_running,
                "restarts": sample.restarts,
            }
        )
    return found[-MAX_SAMPLES:]
