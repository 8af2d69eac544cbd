"""The samples behind a verdict, as evidence that is kept with an incident. Pure."""

from collections.abc import Sequence
from typing import Any

from interlock.delivery.watch import Sample, traffic

MAX_SAMPLES = 60


def told(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """The samples behind a verdict as evidence: what each look saw since the one before, and how long before the verdict."""
    found: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        before = next((item for item in reversed(samples[:number]) if item.counters is not None), None)
        requests = errors = None
        if sample.counters is not None and before is not None:
            requests, errors, _ = traffic((before, sample))
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
