"""Every source of metrics behaves alike."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.http_target import http_target
from harness.prometheus import prometheus
from interlock.adapters.prometheus.pages import ScrapedPages
from interlock.adapters.prometheus.source import PrometheusSource
from interlock.core.clock import SystemClock
from interlock.testing.metrics import (
    PAGE,
    SAMPLES,
    TOLD,
    FakeMetricPages,
    FakeMetricSource,
    MetricPagesBehaviour,
    MetricSourceBehaviour,
)


class TestFakeMetricSource(MetricSourceBehaviour):
    @pytest.fixture
    def source(self) -> FakeMetricSource:
        return FakeMetricSource(TOLD)

    async def test_it_remembers_what_it_was_asked_and_can_be_away(self, source: FakeMetricSource) -> None:
        source.problem = "it is ill"
        assert (await source.query("up")).reason == "Prometheus does not answer: it is ill"
        assert source.asked == ["up"]


class TestPrometheus(MetricSourceBehaviour):
    @pytest_asyncio.fixture
    async def source(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrometheusSource]:
        async with prometheus(tmp_path_factory.mktemp("prometheus") / "server", []) as server:
            yield PrometheusSource(server.url)


class TestFakeMetricPages(MetricPagesBehaviour):
    @pytest.fixture
    def url(self) -> str:
        return "http://127.0.0.1:8000/metrics"

    @pytest.fixture
    def pages(self, url: str) -> FakeMetricPages:
        return FakeMetricPages({url: SAMPLES})


class TestScrapedPages(MetricPagesBehaviour):
    @pytest_asyncio.fixture
    async def url(self) -> AsyncIterator[str]:
        async with http_target() as target:
            target.says(PAGE)
            yield target.url + "/metrics"

    @pytest.fixture
    def pages(self) -> ScrapedPages:
        return ScrapedPages(SystemClock())
