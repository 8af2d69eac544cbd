"""What comes from strangers reaches no terminal as anything but text; times and durations are short."""

from datetime import UTC, datetime

import pytest

from interlock.faces.cli.text import clean, clean_data, duration, moment, since, time_of_day


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ordinary ✓", "plain – ordinary ✓"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("two\nlines\r", "two␊lines␍"),
        ("bell\x07 delete\x7f", "bell␇ delete␡"),
        ("\x9b31m", "�31m"),
        ("gnp.\u202eexe", "gnp.�exe"),
        ("a\u2028b\u200bc", "a�b�c"),
        ("\udc80", "�"),
    ],
)
def test_what_is_not_printable_becomes_a_visible_sign_of_the_same_length(text: str, shown: str) -> None:
    assert clean(text) == shown
    assert len(shown) == len(text)


def test_every_text_of_a_document_is_cleaned_names_of_members_too() -> None:
    document = {"\x1bname": ["\x1b]0;title\x07", {"deep": "\n"}], "number": 1, "nothing": None}
    assert clean_data(document) == {"␛name": ["␛]0;title␇", {"deep": "␊"}], "number": 1, "nothing": None}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.42, "0.4 s"), (7, "7 s"), (34.6, "35 s"), (120, "2 min"), (125, "2 min 5 s"), (3600, "1 h"), (3780, "1 h 3 min")],
)
def test_a_duration_has_two_units_at_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_times_are_shown_in_utc() -> None:
    assert moment("2026-07-30T14:00:05.120+02:00") == "2026-07-30 12:00:05 UTC"
    assert time_of_day("2026-07-30T12:00:05.120Z") == "12:00:05.120"
    assert moment("") == ""


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2026-07-30T11:59:55Z", "5 s"),
        ("2026-07-30T11:30:00Z", "30 min"),
        ("2026-07-30T09:00:00Z", "3 h"),
        ("2026-07-26T11:00:00Z", "4 d"),
        ("2026-07-30T12:00:09Z", "0 s"),
        ("", ""),
    ],
)
def test_an_age_has_one_unit_and_is_never_negative(at: str, shown: str) -> None:
    assert since(at, datetime(2026, 7, 30, 12, tzinfo=UTC)) == shown
