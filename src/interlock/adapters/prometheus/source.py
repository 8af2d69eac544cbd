"""Queries to a Prometheus server, or to whatever speaks its HTTP API."""

import httpx
import msgspec

from interlock.adapters.prometheus.answers import ages_of, measurement_of, unknown
from interlock.adapters.prometheus.fetching import NoAnswer, fetch
from interlock.adapters.prometheus.selectors import age_query, selectors_of
from interlock.delivery.ports import Measurement

_LIMIT_BYTES = 1024 * 1024
_NOT_SET = "no Prometheus is set: INTERLOCK_PROMETHEUS_URL names its address, such as http://127.0.0.1:9090"


class PrometheusSource:
    """Implements `MetricSource` over instant queries to ``url``; None for none.

    A sample older than ``max_age_s`` is too old to tell anything of now. Prometheus gives the time of a query's result, not
    of the samples behind it, and goes on for five minutes with the last sample of a series: so it is asked a second time, for
    the age of what the query reads. Its own clock says what is now, as it says of each sample: this host's may go wrong.
    """

    def __init__(self, url: str | None, *, max_age_s: float = 150.0, timeout_s: float = 10.0) -> None:
        self._url = (url or "").rstrip("/")
        self._max_age_s = max_age_s
        self._timeout_s = timeout_s

    async def query(self, promql: str) -> Measurement:
        if not self._url:
            return unknown(_NOT_SET)
        try:
            measured = measurement_of(*await self._ask(promql))
            return await self._dated(measured, promql) if measured.value is not None else measured
        except NoAnswer as failure:
            return unknown(f"Prometheus does not answer: {failure}")

    async def _dated(self, measured: Measurement, promql: str) -> Measurement:
        """The measurement with the age of what is behind it, unless that is too old or cannot be told."""
        try:
            selectors = selectors_of(promql)
        except ValueError as error:
            # It understands what is not understood here.
            return unknown(f"how old its samples are cannot be told: {error}", warnings=measured.warnings)
        if not selectors:
            return measured
        ages = ages_of(*await self._ask(age_query(selectors)))
        if ages is None:
            return unknown("how old its samples are could not be found out", warnings=measured.warnings)
        if not ages:
            return unknown("no samples: nothing that the query reads has one now", warnings=measured.warnings)
        age_s = max(0.0, *ages)
        if age_s > self._max_age_s:
            reason = f"the newest sample is {age_s:.0f} s old; at most {self._max_age_s:g} s count"
            return unknown(reason, samples=measured.samples, age_s=age_s, warnings=measured.warnings)
        return msgspec.structs.replace(measured, age_s=age_s)

    async def _ask(self, promql: str) -> tuple[int, bytes]:
        try:
            url = httpx.URL(self._url + "/api/v1/query")
        except httpx.InvalidURL as error:
            raise NoAnswer(f"INTERLOCK_PROMETHEUS_URL is no URL: {error}") from error
        form = {"query": promql, "timeout": f"{self._timeout_s:g}s"}
        status, body, _ = await fetch(url, timeout_s=self._timeout_s, limit_bytes=_LIMIT_BYTES, form=form)
        return status, body
