"""Masking the values of secrets, however the output is cut into pieces."""

import json

from hypothesis import given
from hypothesis import strategies as st

from interlock.tools.masking import Read, patterns_of, read_masked
from interlock.tools.ports import LogChunk


def reader(output: bytes, first: int = 0) -> Read:
    """Reads ``output``, of which everything before ``first`` is not kept any more."""

    def read(offset: int, limit_bytes: int) -> tuple[int, bytes]:
        begin = min(max(len(output) + offset if offset < 0 else offset, first), len(output))
        return begin, output[begin : begin + max(limit_bytes, 0)]

    return read


def read_all(output: str, values: list[str], sizes: list[int], *, first: int = 0, has_ended: bool = True) -> list[LogChunk]:
    """One reading behind the other, of these sizes in turn, until there is nothing more."""
    read, patterns = reader(output.encode(), first), patterns_of(values)
    chunks: list[LogChunk] = []
    offset = 0
    while True:
        chunk = read_masked(read, patterns, offset, sizes[len(chunks) % len(sizes)], lambda: has_ended)
        if chunk.next_offset == offset:
            return chunks
        chunks.append(chunk)
        offset = chunk.next_offset


def text_of(chunks: list[LogChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


LETTERS = st.text("abé\n", max_size=40)
VALUES = st.lists(st.text("abé\n", min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=3)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@given(LETTERS, VALUES, SIZES)
def test_pieces_of_any_size_make_the_same_text(output: str, values: list[str], sizes: list[int]) -> None:
    # A character that is cut in two is read whole where it fits.
    sizes = [max(size, 2) for size in sizes]
    assert text_of(read_all(output, values, sizes)) == text_of(read_all(output, values, [1000]))


@given(LETTERS, VALUES, SIZES, st.integers(0, 40))
def test_no_piece_shows_a_value(output: str, values: list[str], sizes: list[int], first: int) -> None:
    for chunk in read_all(output, values, sizes, first=first):
        assert not [value for value in values if value.strip() in chunk.text]


@given(LETTERS, VALUES, SIZES)
def test_offsets_lead_through_the_whole_output(output: str, values: list[str], sizes: list[int]) -> None:
    chunks = read_all(output, values, sizes)
    assert [chunk.begin for chunk in chunks[1:]] == [chunk.next_offset for chunk in chunks[:-1]]
    assert not chunks or chunks[-1].next_offset == len(output.encode())


def test_a_value_across_the_border_is_masked_once() -> None:
    assert [chunk.text for chunk in read_all("pass=hunter2 ok", ["hunter2"], [8])] == ["pass=", "*** ", "ok"]


def test_who_begins_to_read_inside_of_a_value_sees_none_of_it() -> None:
    patterns = patterns_of(["hunter2"])
    chunk = read_masked(reader(b"pass=hunter2 ok"), patterns, 8, 100, lambda: True)
    assert chunk == LogChunk(text="*** ok", begin=8, next_offset=15)


def test_the_beginning_of_a_value_waits_for_the_rest() -> None:
    waiting = read_all("user bob, pass=hunt", ["hunter2"], [100], has_ended=False)
    assert text_of(waiting) == "user bob, pass="
    assert waiting[-1].next_offset == 15
    assert text_of(read_all("user bob, pass=hunted down", ["hunter2"], [100], has_ended=False)) == "user bob, pass=hunted down"
    assert text_of(read_all("user bob, pass=hunt", ["hunter2"], [100], has_ended=True)) == "user bob, pass=***"


def test_what_the_rotation_left_of_a_value_is_masked() -> None:
    assert text_of(read_all("pass=hunter2 ok", ["hunter2"], [4], first=8)) == "*** ok"
    assert text_of(read_all("pass=hunter2 ok", ["hunter2"], [100], first=11)) == "*** ok"
    # Nothing was lost before the first byte of all.
    assert text_of(read_all("2 ok", ["hunter2"], [100])) == "2 ok"


def test_values_that_overlap_leave_nothing_between_them() -> None:
    assert text_of(read_all("x ababa x", ["aba"], [3])) == "x *** x"
    assert text_of(read_all("x tokensecret x", ["token", "kensecret"], [2])) == "x *** x"


def test_a_value_of_several_lines_is_masked_line_by_line_too() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQ\nab\n-----END KEY-----\n"
    assert text_of(read_all(f"key: {key}.", [key], [7])) == "key: ***."
    assert text_of(read_all("1: MIIEvQ\r\n2: ab\r\n", [key], [100])) == "1: ***\r\n2: ab\r\n"
    assert text_of(read_all(json.dumps({"key": key}), [key], [5])) == '{"key": "***"}'


def test_the_white_space_around_a_value_need_not_be_printed() -> None:
    assert text_of(read_all("pass=hunter2;", ["hunter2\n"], [100])) == "pass=***;"
    assert patterns_of(["", " "]) == ()
