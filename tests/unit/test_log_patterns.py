"""Counting lines of a log that match a pattern."""

import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import Invalid
from interlock.core.patterns import Pattern
from interlock.delivery.logs.patterns import MAX_LINE, Tally, counted, per_minute, read_on
from interlock.testing.hosts import STAYS, FakeHost, service
from interlock.tools.ports import LogChunk

ERROR = Pattern("(?i)error")
LIMIT_BYTES = 1000


def tallied(*texts: str, pattern: Pattern = ERROR) -> Tally:
    """The tally of these texts, read one after the other."""

    def add(tally: Tally, text: str) -> Tally:
        return counted(tally, LogChunk(text=text, begin=tally.offset, next_offset=tally.offset + len(text)), pattern)

    return functools.reduce(add, texts, Tally())


@given(st.text("ero\r\n", max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_it_does_not_matter_how_the_log_is_cut(text: str, cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(borders)]
    pattern = Pattern("^er+o$")
    assert tallied(*pieces, pattern=pattern) == tallied(text, pattern=pattern)


def test_a_line_is_judged_once_it_is_complete() -> None:
    tally = tallied("error\nan Err")
    assert (tally.lines, tally.matches, tally.rest) == (1, 1, "an Err")
    assert tallied("error\nan Err", "or\nfine\n").matches == 2


def test_a_line_without_an_end_costs_no_memory() -> None:
    tally = tallied(*["x" * 100_000] * 5, "error\n")
    assert (tally.lines, tally.matches, len(tally.rest)) == (1, 0, 0)
    assert len(tallied("x" * 100_000).rest) == MAX_LINE


def test_what_was_rotated_away_makes_it_a_lower_bound() -> None:
    before = tallied("error\nerr")
    after = counted(before, LogChunk(text="or\nerror\n", begin=100, next_offset=109), ERROR)
    # What stands before the gap and what stands behind it are no line together.
    assert (after.matches, after.lost_bytes) == (2, 91)
    measured = per_minute(before, after, 30)
    assert (measured.value, measured.samples, measured.is_at_least) == (2.0, 2, True)
    assert measured.reason == "91 bytes of the log were rotated away before they could be counted"


def test_a_rate_needs_time() -> None:
    tally = tallied("error\n")
    assert per_minute(Tally(), tally, 10).value == 6
    assert per_minute(tally, tally, 10).value == 0
    assert per_minute(tally, tally, 0).value is None


def test_a_hostile_pattern_is_refused_or_harmless() -> None:
    line = "a" * (MAX_LINE - 1) + "!\n"
    for text in ("(a+)+$", "^(a|a)*$", "(.*)*x", "(a{1,30}){1,30}b"):
        assert tallied(line * 3, pattern=Pattern(text)).matches == 0
    for text in ("(", r"(a)\1", "(?=a)", "a{2000}", "a" * 2000, "((a{100}){100}){100}", "\ud800"):
        with pytest.raises(Invalid) as refused:
            Pattern(text)
        assert refused.value.code == "pattern"


async def test_a_log_is_read_on_over_a_rotation() -> None:
    host = FakeHost()
    await host.start("api", service(STAYS, output_limit_bytes=LIMIT_BYTES))
    host.print("api", "error\nfine\ner")
    tally = await read_on(host, "api", Tally(), ERROR)
    host.print("api", "ror\n")
    tally = await read_on(host, "api", tally, ERROR)
    assert (tally.matches, tally.lines, tally.lost_bytes) == (2, 3, 0)
    host.print("api", "an error\n" * 1000)
    tally = await read_on(host, "api", tally, ERROR)
    assert tally.lost_bytes > 0
    assert tally.matches > 100
    assert await read_on(host, "api", tally, ERROR) == tally
    assert await read_on(host, "nobody", Tally(), ERROR) == Tally()
