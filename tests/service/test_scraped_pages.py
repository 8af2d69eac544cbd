"""Numbers from a service's own page of metrics, whatever it says there."""

import threading
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.http_target import Target, http_target
from interlock.adapters.prometheus import pages
from interlock.adapters.prometheus.pages import ScrapedPages, measured
from interlock.adapters.prometheus.selectors import selector_in
from interlock.core.clock import SystemClock
from interlock.core.errors import Invalid

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    async with http_target() as own:
        yield own


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, "queue 1\n", "the page cannot be read: it answered 503"),
        (301, "", "the page cannot be read: it answered 301"),
        (200, "", "no samples: the page has no "),
        (200, "<html>queue 1</html>", "the page is not in the text format of Prometheus: "),
        (200, "queue one\n", "the page is not in the text format of Prometheus: "),
        (200, b"\xff\xfe queue 1\n", "the page is not in the text format of Prometheus: "),
        (200, "queue +Inf\n", "the value is infinite"),
        (200, "queue NaN\n", "the value is NaN"),
        (200, 'queue{a="b" 1\n', "the page is not in the text format of Prometheus: "),
        (200, b"x" * (5 * 1024 * 1024), "the page cannot be read: the answer has more than 4194304 bytes"),
    ],
)
async def test_a_page_that_lies_tells_nothing(target: Target, status: int, body: str | bytes, reason: str) -> None:
    target.says(body, status)
    told = await ScrapedPages(SystemClock()).sample(target.url, "queue")
    assert told.value is None
    assert told.reason.startswith(reason)


async def test_a_large_page_is_read_beside_everything_else(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    monkeypatch.setattr(pages, "measured", lambda *about: (threads.append(threading.current_thread()), measured(*about))[1])
    target.says("queue 1\n")
    assert (await ScrapedPages(SystemClock()).sample(target.url, "queue")).value == 1
    assert threads
    assert threads[0] is not threading.main_thread()


async def test_a_page_that_is_slow_is_not_waited_for(target: Target) -> None:
    target.says("queue 1\n")
    target.delay_s = 30
    told = await ScrapedPages(SystemClock(), timeout_s=0.2).sample(target.url, "queue")
    assert told.reason == "the page cannot be read: no complete answer within 0.2 s"


async def test_openmetrics_is_read_as_such(target: Target) -> None:
    target.says('# TYPE sent counter\nsent_total{to="a"} 3\nsent_total{to="b"} 4\n# EOF\n', content_type=OPENMETRICS)
    assert (await ScrapedPages(SystemClock()).sample(target.url, 'sent_total{to=~"a|b"}')).value == 7
    target.says("# TYPE sent counter\nsent_total 3\n", content_type=OPENMETRICS)
    cut = await ScrapedPages(SystemClock()).sample(target.url, "sent_total")
    assert cut.reason.startswith("the page is not in the text format of Prometheus: ")


def test_a_sample_that_says_its_time_has_an_age() -> None:
    body = b"queue 1 1000000\nothers 2\n"
    assert measured(body, "", selector_in("queue"), now_s=1060.0).age_s == 60
    assert measured(body, "", selector_in("others"), now_s=1060.0).age_s is None


@pytest.mark.parametrize(
    "name", ["sum(queue)", "queue offset 1m", "queue[1m]", 'queue{a=~"("}', "queue{", "1", "queue or other"]
)
async def test_what_is_no_name_is_refused_before_anything_is_asked(target: Target, name: str) -> None:
    with pytest.raises(Invalid):
        await ScrapedPages(SystemClock()).sample(target.url, name)
    assert target.asked == []


@given(st.binary(max_size=200), st.sampled_from(["", OPENMETRICS]))
def test_no_page_makes_it_fail(body: bytes, content_type: str) -> None:
    assert measured(body, content_type, selector_in("queue"), 0.0).value is None or b"queue" in body
