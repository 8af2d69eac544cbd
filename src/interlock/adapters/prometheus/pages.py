"""Numbers from the page that a service offers to Prometheus, read directly."""

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,  # pyright: ignore[reportUnknownVariableType]
)
from prometheus_client.parser import text_string_to_metric_families as text_families
from prometheus_client.samples import Sample

from interlock.adapters.prometheus.answers import finite, unknown
from interlock.adapters.prometheus.fetching import NoAnswer, fetch
from interlock.adapters.prometheus.selectors import Matcher, Selector, selector_in
from interlock.core.clock import Clock
from interlock.core.errors import Invalid
from interlock.core.patterns import Pattern
from interlock.delivery.ports import Measurement

Parser = Callable[[str], Iterable[Metric]]

_LIMIT_BYTES = 4 * 1024 * 1024


class ScrapedPages:
    """Implements `MetricPages`: one GET for each sample, within ``timeout_s``. A sample that says its own time has an age."""

    def __init__(self, clock: Clock, *, timeout_s: float = 5.0) -> None:
        self._clock = clock
        self._timeout_s = timeout_s

    async def sample(self, url: str, name: str) -> Measurement:
        selector = _selector(name)
        try:
            status, body, kind = await fetch(httpx.URL(url), timeout_s=self._timeout_s, limit_bytes=_LIMIT_BYTES)
        except httpx.InvalidURL as error:
            return unknown(f"the address of the page is no URL: {error}")
        except NoAnswer as failure:
            return unknown(f"the page cannot be read: {failure}")
        if status != 200:
            return unknown(f"the page cannot be read: it answered {status}")
        # A page may be large, and is read by a slow parser: others go on meanwhile.
        return await asyncio.to_thread(measured, body, kind, selector, self._clock.now().timestamp())


def measured(body: bytes, content_type: str, selector: Selector, now_s: float) -> Measurement:
    """The sum over the series of the page that match."""
    conditions = [(matcher.label, _condition(matcher)) for matcher in selector.matchers]

    def matches(sample: Sample) -> bool:
        labels = sample.labels | {"__name__": sample.name}
        return selector.name in {"", sample.name} and all(is_met(labels.get(label, "")) for label, is_met in conditions)

    is_openmetrics = content_type.startswith("application/openmetrics-text")
    families = cast("Parser", openmetrics_families if is_openmetrics else text_families)
    try:
        samples = [sample for family in families(body.decode()) for sample in family.samples if matches(sample)]
    except (ValueError, KeyError, IndexError) as error:
        return unknown(f"the page is not in the text format of Prometheus: {str(error)[:300]}")
    if not samples:
        return unknown(f"no samples: the page has no {selector.promql}")
    ages = [now_s - float(sample.timestamp) for sample in samples if sample.timestamp is not None]
    age_s = max(0.0, *ages) if ages else None
    return finite(sum(float(sample.value) for sample in samples), samples=len(samples), age_s=age_s)


def _selector(name: str) -> Selector:
    try:
        selector = selector_in(name)
    except ValueError as error:
        hint = 'such as queue_depth, or queue_depth{queue="mail"}'
        raise Invalid("metric_name", f"{name[:200]!r} names no metric: {error}", hint=hint) from error
    return selector


def _condition(matcher: Matcher) -> Callable[[str], bool]:
    """Whether the value of a label, empty where there is none, meets the matcher. Patterns are anchored, as in PromQL."""
    is_met = Pattern(matcher.value).is_all_of if "~" in matcher.operator else matcher.value.__eq__
    return (lambda value: not is_met(value)) if "!" in matcher.operator else is_met
