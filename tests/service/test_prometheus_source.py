"""Prometheus as a source of metrics: a real one that scrapes, and one that lies."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.http_target import Target, http_target
from harness.plane import until
from harness.ports import free_port
from harness.prometheus import prometheus
from interlock.adapters.prometheus.source import PrometheusSource
from interlock.delivery.judging.queries import filled
from interlock.delivery.ports import Measurement

NASTY = ['a"b', "a\\b", "a\nb", "{service}", "it's", "a`b", "a.b*", '"} or vector(1) #', "é"]


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    async with http_target() as own:
        yield own


def page(**values: float) -> str:
    return "".join(f"{name} {value}\n" for name, value in values.items())


async def test_a_real_prometheus_tells_what_is_now_and_says_what_it_cannot_tell(target: Target, tmp_path: Path) -> None:
    target.says(page(letters=3, others=4) + 'waiting{queue="a"} 1\nwaiting{queue="b"} 2\n')
    async with prometheus(tmp_path / "server", [target.url.removeprefix("http://")]) as server:
        source = PrometheusSource(server.url, max_age_s=30)

        async def told(promql: str, value: float) -> Measurement:
            async def look() -> Any:
                measured = await source.query(promql)
                return measured if measured.value == value else None

            return await until(look, f"{promql} is {value}")

        measured = await told("letters", 3)
        assert (measured.samples, measured.reason) == (1, "")
        assert measured.age_s is not None
        assert 0 <= measured.age_s < 30
        await told("sum(waiting)", 3)
        # What is not there yet does not make the rest old: a counter of errors appears with the first error.
        await told("(sum(rate(errors_total[1m])) or vector(0)) / sum(letters)", 0)
        several = await source.query("waiting")
        assert (several.value, several.samples) == (None, 2)
        assert several.reason.startswith("2 series where one is meant (waiting{")
        # Only what is gone is behind it: Prometheus computes a number that says nothing of now.
        nothing = await source.query("sum(rate(errors_total[1m])) or vector(0)")
        assert nothing.reason == "no samples: nothing that the query reads has one now"
        # The page stays and the series leaves it: Prometheus marks it as stale at the next scrape.
        target.says(page(others=4))
        await until(lambda: gone(source), "the series is stale")


async def test_how_old_a_sample_is_prometheus_says_itself(target: Target, tmp_path: Path) -> None:
    written_ms = round((time.time() - 120) * 1000)
    target.says(f"dated 5 {written_ms}\n")
    async with prometheus(tmp_path / "server", [target.url.removeprefix("http://")]) as server:
        source = PrometheusSource(server.url, max_age_s=60)

        async def dated() -> Measurement | None:
            measured = await source.query("dated")
            return measured if measured.age_s is not None else None

        late = await until(dated, "it was read")
        assert late.value is None
        assert 100 < late.age_s < 180
        assert late.reason == f"the newest sample is {late.age_s:.0f} s old; at most 60 s count"
        assert (await PrometheusSource(server.url, max_age_s=600).query("dated")).value == 5


async def gone(source: PrometheusSource) -> bool:
    return "no samples" in (await source.query("letters")).reason


async def test_names_of_any_kind_reach_a_real_prometheus_as_they_are(target: Target, tmp_path: Path) -> None:
    target.says("up_to_date 1\n")
    async with prometheus(tmp_path / "server", []) as server:
        source = PrometheusSource(server.url)
        for value in NASTY:
            values = {"service": value}
            template = 'label_replace(vector(1), "x", "{service}", "", "")'
            written = filled('count(label_replace(vector(5), "x", "v", "", "") or ' + template + ")", values)
            # A value that broke out would change how many there are.
            assert (await source.query(written)).value == 2, (value, written)
            same = filled('absent(vector(1)) or count({__name__="{service}",job=~"{service}"}) or vector(3)', values)
            assert "wrong" not in (await source.query(same)).reason, (value, same)


async def test_nobody_there_and_nobody_named_are_reasons(target: Target) -> None:
    assert "INTERLOCK_PROMETHEUS_URL" in (await PrometheusSource(None).query("up")).reason
    away = await PrometheusSource(f"http://127.0.0.1:{free_port()}").query("up")
    assert away.reason.startswith("Prometheus does not answer: ")
    assert "no URL" in (await PrometheusSource("http://host:port").query("up")).reason
    # What is in the address stays there.
    secret = await PrometheusSource(f"http://me:hunter2@127.0.0.1:{free_port()}").query("up")
    assert secret.value is None
    assert "hunter2" not in secret.reason


def vector(*values: object, **members: Any) -> str:
    result = [{"metric": {"n": str(number)}, "value": [time.time(), value]} for number, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}} | members)


LIES: list[tuple[int, str, str]] = [
    (503, "no upstream", "it answered 503: 'no upstream'"),
    (200, "<html>welcome</html>", "its answer cannot be read: '<html>welcome</html>'"),
    (200, "", "its answer cannot be read: ''"),
    (200, "[]", "its answer cannot be read: '[]'"),
    (200, '{"status": "success"}', "it answered 200 (): "),
    (200, vector("NaN"), "the value is NaN, as when nothing is divided by nothing"),
    (200, vector("+Inf"), "the value is infinite, as when something is divided by nothing"),
    (200, vector(), "no samples: nothing matches the query now"),
    (200, vector("1", "2"), '2 series where one is meant ({n="0"}, {n="1"}); aggregate them, as by sum(…)'),
    (200, vector("one"), "its answer cannot be read: "),
    (200, vector(1), "its answer cannot be read: "),
    (503, '{"status":"error","errorType":"timeout","error":"slow"}', "the query took too long: slow"),
    (503, '{"status":"error","errorType":"unavailable","error":"busy"}', "it answered 503 (unavailable): busy"),
    (302, "", "it answered 302: ''"),
]


@pytest.mark.parametrize(("status", "body", "reason"), LIES)
async def test_a_source_that_talks_nonsense_tells_nothing(target: Target, status: int, body: str, reason: str) -> None:
    target.says(body, status, "application/json")
    measured = await PrometheusSource(target.url).query("up")
    assert measured.value is None
    assert measured.reason.startswith(reason)


async def test_the_age_is_asked_for_and_too_old_is_unknown(target: Target) -> None:
    for ages, value, age_s in ((["3", "7"], 1.0, 7.0), (["3", "170"], None, 170.0), (["-2"], 1.0, 0.0)):
        target.answers = [
            (200, "application/json", vector("1", warnings=["partial"])),
            (200, "application/json", vector(*ages)),
        ]
        measured = await PrometheusSource(target.url, max_age_s=150).query("sum(rate(a[1m])) / sum(b)")
        assert (measured.value, measured.age_s, measured.warnings) == (value, age_s, ("partial",))
    asked = target.asked[-1]["query"][0]
    assert 'max(timestamp({__name__="a"}))' in asked
    assert 'max(timestamp({__name__="b"}))' in asked
    # A clock of this host that is behind would have old numbers taken for new ones, and one ahead new ones for none.
    assert all("time" not in form for form in target.asked)
    target.answers = [(200, "application/json", vector("1")), (500, "text/plain", "no")]
    assert (await PrometheusSource(target.url).query("a")).reason == ("how old its samples are could not be found out")


async def test_slow_broken_and_endless_answers_are_none(target: Target) -> None:
    target.says(vector("1"))
    target.is_broken = True
    broken = await PrometheusSource(target.url).query("vector(1)")
    assert broken.reason.startswith("Prometheus does not answer: ")
    target.is_broken, target.delay_s = False, 30
    slow = await PrometheusSource(target.url, timeout_s=0.2).query("vector(1)")
    assert slow.reason == "Prometheus does not answer: no complete answer within 0.2 s"
    target.delay_s = 0
    target.says(b" " * (2 * 1024 * 1024))
    endless = await PrometheusSource(target.url).query("vector(1)")
    assert endless.reason == "Prometheus does not answer: the answer has more than 1048576 bytes"
