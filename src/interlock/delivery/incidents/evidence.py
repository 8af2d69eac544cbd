"""What is kept with an incident as evidence: the samples behind a verdict, and the numbers of both sides. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from interlock.delivery.judging.watch import Sample, traffic

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


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One check of an analysis: the candidate's number beside that of what serves and what was allowed, in words."""

    name: str
    signal: str
    candidate: float | None
    stable: float | None
    """None, too, where the check is about the candidate alone."""
    limit: str
    verdict: str
    samples: int
    detail: str

    def shown(self, value: float | None) -> str:
        """A number of its signal, for people."""
        return amount(self.signal, value)


def compared(evidence: dict[str, Any]) -> tuple[Compared, ...]:
    """The comparisons of an analysis that an incident has as its evidence."""
    items: list[dict[str, Any]] = evidence.get("comparisons", [])
    found: list[Compared] = []
    for item in items:
        check: dict[str, Any] = item["check"]
        stable: dict[str, Any] = item["stable"] or {}
        found.append(
            Compared(
                name=check["name"],
                signal=check["signal"],
                candidate=item["candidate"]["value"],
                stable=stable.get("value"),
                limit=limit_of(check),
                verdict=item["verdict"],
                samples=item["candidate"].get("samples", 0),
                detail=item["detail"],
            )
        )
    return tuple(found)


def limit_of(check: dict[str, Any]) -> str:
    """The bounds of a check in words, such as ``at most 2%, at most 1% more``."""
    words = {"max": "at most {}", "min": "at least {}", "max_increase": "at most {} more"}
    said = [text.format(amount(check["signal"], check[name])) for name, text in words.items() if check.get(name) is not None]
    if check.get("max_ratio") is not None:
        said.append(f"at most {check['max_ratio']:g} times as much")
    return ", ".join(said)


def amount(signal: str, value: float | None) -> str:
    """A number of a signal in its unit; a dash for none."""
    if value is None:
        return "–"
    if signal == "error_rate":
        return f"{value * 100:.3g}%"
    return f"{value:.0f} ms" if signal == "p95_ms" else f"{value:.4g}"
