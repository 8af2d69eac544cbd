"""Seals as values: what breaks the chain, and where."""

import msgspec

from interlock.audit.model import GENESIS, Seal, Span, check_seal, check_span, seal_hash, span_digest

ROWS = [(1, b"one"), (2, b"two")]
SPAN = Span(feed="events", first=1, last=2, count=2, digest=span_digest(ROWS))
SEAL = Seal(seq=1, at="now", spans=(SPAN,), previous=GENESIS, hash=seal_hash(1, "now", [SPAN], GENESIS), signature="ab" * 64)


def problem(seal: Seal, seq: int = 1, previous: str = GENESIS, *, is_signed: bool = True) -> str:
    return check_seal(seal, seq, previous, lambda _hash, _signature: is_signed)


def changed(**fields: object) -> Seal:
    return msgspec.structs.replace(SEAL, **fields)


def test_a_seal_in_its_place_is_accepted():
    assert problem(SEAL) == ""
    assert check_span(1, SPAN, ROWS, 0) == ""


def test_a_seal_out_of_place_or_changed_is_refused():
    assert problem(SEAL, seq=2) == "seal 2 is missing (found 1)"
    assert problem(SEAL, previous="sha256:other") == "seal 1 does not follow the one before it"
    assert problem(changed(at="then")) == "seal 1 was changed"
    assert problem(changed(spans=())) == "seal 1 was changed"
    assert problem(SEAL, is_signed=False) == "seal 1 is not signed by this tenant"
    assert problem(changed(signature="AB" * 64)) == "seal 1 is not signed by this tenant"


def test_rows_that_are_not_what_was_sealed_are_refused():
    assert check_span(7, SPAN, ROWS[:1], 0) == "events 1-2: 2 rows were sealed, 1 are there"
    assert check_span(7, SPAN, [(1, b"one"), (2, b"twO")], 0) == "events 1-2 was changed after it was sealed"
    assert check_span(7, SPAN, ROWS, 1) == "seal 7 covers events 1 again"


def test_the_digest_keeps_rows_apart():
    assert span_digest([(1, b"ab"), (2, b"c")]) != span_digest([(1, b"a"), (2, b"bc")])
    assert span_digest([(1, b"a")]) != span_digest([(2, b"a")])
