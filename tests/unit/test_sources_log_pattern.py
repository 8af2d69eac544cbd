"""Patterns for log lines: the useful ones pass, and none that passes can keep the machine busy."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.core.errors import Invalid
from interlock.sources.log_pattern import MAX_LINE_CHARACTERS, log_pattern


@pytest.mark.parametrize(
    "text",
    [
        "Traceback|ERROR",
        r"(?i)\b(error|fatal|panic)\b",
        r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} (ERROR|CRITICAL)",
        r"status=5\d\d .*took \d+ms",
        r"level=(?:error|fatal)",
        r"OOM(?!-safe)",
        r"[\[(*+?]{3}",
        r"\(\*\)",
        "timeouts? after [0-9.]+s?",
        r"a.*b|c.*d|e.*f",
    ],
)
def test_a_useful_pattern_is_taken(text: str) -> None:
    assert isinstance(log_pattern(text), re.Pattern)


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+b",
        "(a*)*b",
        "((a|b)c)*d",
        "(a|a)*b",
        "(a?)+b",
        "(?:(?:a{2}){2}){2}",
        "(x{50}){50}",
        "a{1000}",
        "a{0,100000}",
        ".*.*.*x",
        "a?" * 11 + "a" * 11,
        "(a|a)" * 11 + "b",
        r"(a)\1",
        "(?P<n>a)(?P=n)",
        "(?x) a # b",
        "(?#comment)a",
        "(?>a+)b",
        "(?(1)a|b)",
        "(?i:a)",
        "(a",
        "*",
        "[",
        "[[a]",
        "[a--b]",
        "x" * 201,
        "(" * 150 + ")" * 40,
    ],
)
def test_what_could_run_for_ever_or_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        log_pattern(text)
    assert caught.value.code == "log_pattern"
    assert caught.value.hint


@settings(max_examples=200, deadline=None)
@given(st.text("ab.*+?{2,}()|[]^$\\d?:", max_size=24))
def test_every_pattern_is_refused_or_ends_on_the_longest_line(text: str) -> None:
    try:
        pattern = log_pattern(text)
    except Invalid:
        return
    pattern.search("a" * MAX_LINE_CHARACTERS + "!")
