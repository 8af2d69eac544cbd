"""Checking a record, seal by seal, wherever its rows come from."""

from collections.abc import Callable

import msgspec

from interlock.audit.model import GENESIS, Rows, Seal, Span, Verdict, check_seal, check_span


class Checker:
    """Checks rows and seals in the order of an export; the first problem found stays."""

    def __init__(self, is_signed: Callable[[str, str], bool], expected_head: str = "") -> None:
        self._is_signed = is_signed
        self._expected = expected_head
        self._pending: dict[str, Rows] = {}
        self._sealed: dict[str, int] = {}
        self._seq = 0
        self._rows = 0
        self._head = GENESIS
        self.problem = ""

    def rows(self, feed: str, rows: Rows) -> None:
        """Rows that a later seal has to cover."""
        self._pending.setdefault(feed, []).extend(rows)

    def seal(self, raw: bytes, seq: int | None = None) -> None:
        """The next seal, and where a table has it at place ``seq``; it must cover all rows given so far."""
        expected = self._seq + 1
        if seq is not None and seq != expected:
            self._fail(f"seal {expected} is missing (found {seq})")
        seal = _decoded(raw)
        if seal is None:
            self._fail(f"seal {expected} cannot be read")
            return
        self._fail(check_seal(seal, expected, self._head, self._is_signed))
        for span in seal.spans:
            rows = self._pending.pop(span.feed, [])
            self._fail(check_span(seal.seq, span, rows, self._sealed.get(span.feed, 0)))
            self._sealed[span.feed] = span.last
            self._rows += len(rows)
        self._check_nothing_pending()
        self._seq, self._head = seal.seq, seal.hash
        if seal.hash == self._expected:
            self._expected = ""

    def verdict(self) -> Verdict:
        """The result, once everything was given."""
        self._check_nothing_pending()
        if self._expected:
            self._fail(f"the record does not contain the seal {self._expected}: it was cut short or replaced")
        return Verdict(ok=not self.problem, seals=self._seq, rows=self._rows, head=self._head, problem=self.problem)

    def _check_nothing_pending(self) -> None:
        for feed, rows in self._pending.items():
            if rows:
                self._fail(f"{feed} {rows[0][0]}-{rows[-1][0]} is covered by no seal")

    def _fail(self, problem: str) -> None:
        self.problem = self.problem or problem


def readable_spans(raw: bytes) -> tuple[Span, ...]:
    """What a seal says that it covers; nothing when it cannot be read."""
    seal = _decoded(raw)
    return seal.spans if seal is not None else ()


def _decoded(raw: bytes) -> Seal | None:
    try:
        seal = msgspec.json.decode(raw, type=Seal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    # One form only: a byte that means nothing is a changed byte too.
    return seal if msgspec.json.encode(seal) == raw else None
