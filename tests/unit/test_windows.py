"""When an environment is open: windows of the wall clock in a zone, over midnight and over changes of the clock; freezes."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.examples import examples
from interlock.core.errors import Invalid
from interlock.delivery.windows import Closed, Freeze, Open, Window, is_open, parse_window

BERLIN = ZoneInfo("Europe/Berlin")
OFFICE = parse_window("Mon-Fri 09:00-16:00 Europe/Berlin")


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def opens(text: str, now: datetime) -> datetime:
    state = is_open([parse_window(text)], None, now)
    assert isinstance(state, Closed)
    assert state.until is not None
    return state.until


# --- the text -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Mon-Fri 09:00-16:00 Europe/Berlin",
        "Sat,Sun 22:00-04:00 UTC",
        "daily 00:00-24:00 America/New_York",
        "Mon,Wed,Fri 08:30-08:31 Asia/Kathmandu",
    ],
)
def test_a_window_is_written_as_it_is_read(text):
    assert str(parse_window(text)) == text


def test_days_are_read_in_any_case_and_around_the_week():
    assert parse_window("fri-mon 09:00-10:00").days == (0, 4, 5, 6)
    assert parse_window("Sun 09:00-10:00").zone == "UTC"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mon",
        "Mon 9-16",
        "Mon 09:00-25:00",
        "Mon 24:00-25:00",
        "Mon 09:00-24:30",
        "Mon 09:00-09:00",
        "Moon 09:00-10:00",
        "Mon 09:00-10:00 Berlin",
        "Mon 09:00-10:00 ../etc/passwd",
        "Mon 09:00-10:00 UTC UTC",
        "Mon- 09:00-10:00",
        "Mon 09:60-10:00",
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text):
    with pytest.raises(Invalid) as refusal:
        parse_window(text)
    assert refusal.value.code == "window"
    assert "Europe/Berlin" in refusal.value.hint


# --- open and closed ----------------------------------------------------------------------------------------------------------


def test_without_windows_it_is_always_open():
    assert is_open([], None, datetime(2026, 1, 1, tzinfo=UTC)) == Open()


@pytest.mark.parametrize(
    ("now", "is_it"),
    [
        ("2026-07-31T08:59:59", False),
        ("2026-07-31T09:00:00", True),
        ("2026-07-31T15:59:59", True),
        ("2026-07-31T16:00:00", False),
        ("2026-08-01T12:00:00", False),
    ],
)
def test_a_window_holds_its_start_and_not_its_end(now, is_it):
    assert isinstance(is_open([OFFICE], None, berlin(now)), Open) is is_it


def test_closed_says_when_it_opens_next():
    assert opens(str(OFFICE), berlin("2026-07-31T16:00:00")) == berlin("2026-08-03T09:00:00")
    state = is_open([OFFICE], None, berlin("2026-08-01T12:00:00"))
    assert isinstance(state, Closed)
    assert (state.code, state.why) == ("window_closed", "outside of Mon-Fri 09:00-16:00 Europe/Berlin")


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_starts():
    night = [parse_window("Fri 22:00-02:00 Europe/Berlin")]
    assert is_open(night, None, berlin("2026-08-01T01:59:00")) == Open()
    assert is_open(night, None, berlin("2026-07-31T01:00:00")) != Open()
    assert is_open(night, None, berlin("2026-08-01T02:00:00")) != Open()


def test_of_several_windows_one_is_enough():
    both = [OFFICE, parse_window("Sat 10:00-11:00 UTC")]
    assert is_open(both, None, datetime(2026, 8, 1, 10, 30, tzinfo=UTC)) == Open()


def test_the_hours_are_those_of_the_wall_clock_in_summer_and_in_winter():
    assert opens("Mon 09:00-16:00 Europe/Berlin", datetime(2026, 7, 12, tzinfo=UTC)) == datetime(2026, 7, 13, 7, tzinfo=UTC)
    assert opens("Mon 09:00-16:00 Europe/Berlin", datetime(2026, 1, 11, tzinfo=UTC)) == datetime(2026, 1, 12, 8, tzinfo=UTC)


def test_a_start_that_the_clock_skips_comes_as_much_later():
    # On 2026-03-29 the clock goes from 02:00 to 03:00, which is 01:00 UTC.
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert opens("Sun 02:30-05:00 Europe/Berlin", before) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


def test_a_time_that_the_clock_shows_twice_is_its_first():
    # On 2026-10-25 the clock goes from 03:00 back to 02:00, which is 01:00 UTC.
    night = [parse_window("Sun 01:00-02:30 Europe/Berlin")]
    assert is_open(night, None, datetime(2026, 10, 25, 0, 29, tzinfo=UTC)) == Open()
    assert is_open(night, None, datetime(2026, 10, 25, 0, 30, tzinfo=UTC)) != Open()
    assert is_open(night, None, datetime(2026, 10, 25, 1, 15, tzinfo=UTC)) != Open()


def test_a_day_that_a_place_skips_leaves_the_next_week():
    # Samoa moved over the date line: there was no Friday 2011-12-30.
    now = datetime(2011, 12, 29, 12, tzinfo=UTC)
    state = is_open([parse_window("Fri 09:00-10:00 Pacific/Apia")], None, now)
    assert isinstance(state, Closed)
    assert state.until is not None
    assert now < state.until < now + timedelta(days=10)


# --- freezes ------------------------------------------------------------------------------------------------------------------


def freeze(until: str) -> Freeze:
    return Freeze(until=until, reason="end of year", by="owner", at="2026-12-01T00:00:00.000Z")


def test_a_freeze_closes_what_would_be_open_and_tells_why():
    state = is_open([], freeze("2026-12-27T00:00:00.000Z"), datetime(2026, 12, 20, tzinfo=UTC))
    assert state == Closed(until=datetime(2026, 12, 27, tzinfo=UTC), why="frozen by owner: end of year", code="frozen")


def test_after_a_freeze_the_windows_count_again():
    state = is_open([OFFICE], freeze("2026-12-27T00:00:00.000Z"), datetime(2026, 12, 20, tzinfo=UTC))
    assert isinstance(state, Closed)
    assert state.until == berlin("2026-12-28T09:00:00"), "the freeze ends on a Sunday"
    assert is_open([OFFICE], freeze("2026-12-27T00:00:00.000Z"), berlin("2026-12-28T10:00:00")) == Open()


def test_nobody_can_tell_the_end_of_a_freeze_without_one():
    state = is_open([], freeze(""), datetime(2030, 1, 1, tzinfo=UTC))
    assert isinstance(state, Closed)
    assert state.until is None


# --- properties ---------------------------------------------------------------------------------------------------------------

ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]
)
MINUTES = st.integers(0, 24 * 60 - 1)
WINDOWS = st.builds(
    Window,
    days=st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))),
    start=MINUTES,
    end=MINUTES,
    zone=ZONES,
).filter(lambda window: window.start != window.end)
MOMENTS = st.integers(0, 15 * 365 * 86400).map(lambda seconds: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
FREEZES = st.none() | MOMENTS.map(lambda moment: freeze(moment.isoformat()))


@examples(200)
@given(st.lists(WINDOWS, max_size=3), FREEZES, MOMENTS)
def test_what_is_closed_opens_exactly_when_it_says(windows, frozen, now):
    state = is_open(windows, frozen, now)
    if isinstance(state, Closed):
        assert state.until is not None
        assert state.until > now
        assert is_open(windows, frozen, state.until) == Open()
        assert is_open(windows, frozen, state.until - timedelta(microseconds=1)) != Open()


@examples(200)
@given(WINDOWS, MOMENTS)
def test_it_is_open_when_the_clock_on_the_wall_says_so_on_days_without_a_change(window, now):
    wall = now.astimezone(ZoneInfo(window.zone))
    around = [wall.replace(tzinfo=None) + timedelta(days=days) for days in (-2, -1, 0, 1, 2)]
    offsets = {moment.replace(tzinfo=ZoneInfo(window.zone)).utcoffset() for moment in around}
    if len(offsets) > 1:
        return
    minutes = wall.hour * 60 + wall.minute
    if window.start < window.end:
        expected = wall.weekday() in window.days and window.start <= minutes < window.end
    else:
        late = wall.weekday() in window.days and minutes >= window.start
        expected = late or ((wall.weekday() - 1) % 7 in window.days and minutes < window.end)
    assert isinstance(is_open([window], None, now), Open) is expected


@given(WINDOWS)
def test_every_window_can_be_written_and_read(window):
    assert parse_window(str(window)) == window
