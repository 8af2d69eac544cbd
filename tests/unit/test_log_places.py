"""Places in logs: cursors, last lines, and what is told of a piece."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import Invalid
from interlock.delivery.logs.places import Instance, Place, cursor_of, instances_of, last_lines, offsets_in, piece_of
from interlock.delivery.model import Deployment
from interlock.delivery.model import Instance as Served
from interlock.sources.model import WatchPolicy
from interlock.tools.ports import LogChunk

DEPLOYMENT = Deployment(
    deployment_id="dep_1",
    service="greeter",
    environment="staging",
    release_id="rel_1",
    version="v1.0.0",
    state="good",
    instances=(Served(key="key-1"),),
    plan_id="plan_1",
    run_id="run_1",
    watch=WatchPolicy(),
    started_at="",
)
KEYS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)


@given(st.dictionaries(KEYS, st.integers(0, 10**17), min_size=1, max_size=9))
def test_a_cursor_says_where_to_read_on(offsets: dict[str, int]) -> None:
    assert offsets_in(cursor_of(offsets)) == offsets


@pytest.mark.parametrize("cursor", ["", "key", "key:", ":1", "key:-1", "key:1,", "key:1;b:2", "../x:1", "k:" + "9" * 30, "é:1"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        offsets_in(cursor)
    assert refused.value.code == "cursor"


def test_the_last_lines_are_whole() -> None:
    assert last_lines("a\nb\nc\n", 2, is_whole=True) == "b\nc\n"
    assert last_lines("a\nb\nc", 2, is_whole=True) == "b\nc"
    assert last_lines("a\nb\n", 5, is_whole=True) == "a\nb\n"
    # Of a line that is cut at its beginning nothing is shown, unless there is nothing else.
    assert last_lines("a\nb\n", 5, is_whole=False) == "b\n"
    assert last_lines("a", 5, is_whole=False) == "a"
    assert last_lines("a\nb\n", 0, is_whole=True) == ""
    assert last_lines("a\x0bb\u2028c\rd\n", 1, is_whole=True) == "a\x0bb\u2028c\rd\n"


def test_a_gap_is_told_before_what_follows_it() -> None:
    place = Place(DEPLOYMENT, {"key-1": 10})
    instance = instances_of(DEPLOYMENT)[0]
    events = place.take(piece_of(instance, 10, LogChunk(text="late", begin=30, next_offset=34)))
    assert [(event.cursor, type(event).__name__) for event in events] == [("key-1:30", "Gap"), ("key-1:34", "Output")]
    assert place.take(piece_of(instance, 34, LogChunk(text="", begin=34, next_offset=34))) == []


def test_from_the_end_nothing_is_missing() -> None:
    piece = piece_of(Instance(name="1", key="key-1"), -100, LogChunk(text="x", begin=50, next_offset=51))
    assert (piece.lost_bytes, piece.offset, piece.instance) == (0, 50, "1")
