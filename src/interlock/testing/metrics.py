"""Sources of metrics in memory, and what every `MetricSource` and every `MetricPages` must do.

A subclass of a behaviour gives a fixture ``source``, or ``pages`` and ``url``, the address of a page that holds `PAGE`; pytest
then runs the suite against it.
"""

from collections.abc import Mapping

from interlock.core.errors import Invalid
from interlock.delivery.ports import Measurement, MetricPages, MetricSource


class FakeMetricSource:
    """Answers that were given to it by query; whatever it was given nothing for has no samples. ``asked`` are the queries."""

    def __init__(self, answers: Mapping[str, Measurement] | None = None) -> None:
        self.answers = dict(answers or {})
        self.asked: list[str] = []
        self.problem = ""
        """Why it does not answer at all; empty while it does."""

    async def query(self, promql: str) -> Measurement:
        self.asked.append(promql)
        if self.problem:
            return Measurement(value=None, reason=f"Prometheus does not answer: {self.problem}")
        return self.answers.get(promql, Measurement(value=None, reason="no samples: nothing matches the query now"))


class FakeMetricPages:
    """Samples that were given to it by address and name; at any other address there is nobody."""

    def __init__(self, samples: Mapping[str, Mapping[str, Measurement]] | None = None) -> None:
        self.samples = dict(samples or {})

    async def sample(self, url: str, name: str) -> Measurement:
        if not name[:1].isalpha():
            raise Invalid("metric_name", f"{name!r} names no metric")
        if url not in self.samples:
            return Measurement(value=None, reason="the page cannot be read: nobody is there")
        return self.samples[url].get(name, Measurement(value=None, reason=f"no samples: the page has no {name}"))


TOLD: Mapping[str, Measurement] = {
    "scalar(vector(7))": Measurement(value=7.0, samples=1),
    "vector(2.5)": Measurement(value=2.5, samples=1),
    "vector(0) / vector(0)": Measurement(value=None, reason="the value is NaN", samples=1),
    "vector(1) / vector(0)": Measurement(value=None, reason="the value is infinite", samples=1),
    "sum(": Measurement(value=None, reason="the query is wrong: "),
    'label_replace(vector(1), "a", "b", "", "") or vector(2)': Measurement(
        value=None, reason='2 series where one is meant ({a="b"}, {})', samples=2
    ),
    "vector(1)[1m:30s]": Measurement(value=None, reason="the query gives a range of samples"),
}
"""Queries of the suite that need no samples, with what a `FakeMetricSource` is told of them."""

PAGE = """\
# HELP queue_depth Letters that wait.
# TYPE queue_depth gauge
queue_depth{queue="mail"} 3
queue_depth{queue="a, \\"b\\" {c}"} 4
queue_depth{queue="down"} NaN
# TYPE sent_total counter
sent_total 17
"""

SAMPLES: Mapping[str, Measurement] = {
    "sent_total": Measurement(value=17.0, samples=1),
    'queue_depth{queue="mail"}': Measurement(value=3.0, samples=1),
    'queue_depth{queue="a, \\"b\\" {c}"}': Measurement(value=4.0, samples=1),
    'queue_depth{queue!="down"}': Measurement(value=7.0, samples=2),
    'queue_depth{queue=~"m.*|x",other=""}': Measurement(value=3.0, samples=1),
    "queue_depth": Measurement(value=None, reason="the value is NaN", samples=3),
}
"""What is in `PAGE`, by name."""


class MetricSourceBehaviour:
    """What the port `MetricSource` promises, with queries that need no samples."""

    async def test_a_query_has_one_finite_value_or_a_reason(self, source: MetricSource) -> None:
        for promql, told in TOLD.items():
            measured = await source.query(promql)
            assert (measured.value, measured.samples) == (told.value, told.samples), promql
            assert measured.reason.startswith(told.reason), promql
            assert bool(measured.reason) is (measured.value is None), promql

    async def test_where_nothing_matches_nothing_is_told(self, source: MetricSource) -> None:
        measured = await source.query('a_metric_that_nobody_has{job="none"}')
        assert (measured.value, measured.samples) == (None, 0)
        assert "no samples" in measured.reason


class MetricPagesBehaviour:
    """What the port `MetricPages` promises."""

    async def test_matching_series_are_summed(self, pages: MetricPages, url: str) -> None:
        for name, told in SAMPLES.items():
            measured = await pages.sample(url, name)
            assert (measured.value, measured.samples) == (told.value, told.samples), name
            assert measured.reason.startswith(told.reason), name

    async def test_what_the_page_does_not_have_cannot_be_told(self, pages: MetricPages, url: str) -> None:
        measured = await pages.sample(url, "queue_length")
        assert (measured.value, measured.samples) == (None, 0)
        assert "no samples" in measured.reason

    async def test_nobody_there_is_an_answer_too(self, pages: MetricPages) -> None:
        measured = await pages.sample("http://127.0.0.1:9/metrics", "queue_depth")
        assert measured.value is None
        assert measured.reason.startswith("the page cannot be read")

    async def test_what_is_no_name_is_refused(self, pages: MetricPages, url: str) -> None:
        for name in ("", "1x", "{", '"x"'):
            try:
                await pages.sample(url, name)
            except Invalid as refusal:
                assert refusal.code == "metric_name"  # noqa: PT017 - pytest is not needed to ship this
            else:
                raise AssertionError(f"not refused: {name!r}")
