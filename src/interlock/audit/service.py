"""Sealing every commit, verifying the chain, and exporting it for others to verify."""

from collections.abc import AsyncGenerator, Callable, Mapping
from itertools import groupby
from typing import Any

import msgspec

from interlock.audit import store
from interlock.audit.model import GENESIS, Seal, Span, Verdict, check_seal, check_span, seal_hash, span_digest
from interlock.audit.ports import RecordedFeed
from interlock.core.clock import Clock, to_text
from interlock.core.scope import Scope
from interlock.core.signing import Signer
from interlock.db.database import Database
from interlock.db.session import Recorded, Session

PAGE = 500


class Audit:
    """The hash-chained record of a tenant. `seal` is a hook of the database and runs in every transaction that recorded."""

    def __init__(self, database: Database, clock: Clock, signer: Signer, feeds: Mapping[str, RecordedFeed]) -> None:
        self._database = database
        self._clock = clock
        self._signer = signer
        self._feeds = feeds

    async def seal(self, session: Session) -> None:
        """Add the seal over what this transaction recorded; nothing when it recorded nothing."""
        if not session.recorded:
            return
        last = await store.last(session.connection)
        seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
        spans = tuple(_spans(session.recorded))
        at = to_text(self._clock.now())
        sealed = seal_hash(seq, at, spans, previous)
        signature = self._signer.sign(session.scope.tenant, sealed.encode())
        seal = Seal(seq=seq, at=at, spans=spans, previous=previous, hash=sealed, signature=signature)
        await store.append(session.connection, seal)

    async def verify(self, scope: Scope, expected_head: str = "") -> Verdict:
        """Recompute the whole chain from the rows as they are now. ``expected_head``: a seal's hash that must be in it."""
        checker = Checker(
            lambda sealed, signature: self._signer.verify(scope.tenant, sealed.encode(), signature), expected_head
        )
        async for kind, value in self._walk(scope):
            if kind == "seal":
                checker.seal(value)
            else:
                checker.rows(*value)
            if checker.problem:
                break
        return checker.verdict()

    async def export(self, scope: Scope) -> AsyncGenerator[dict[str, Any]]:
        """The record as JSON lines that `verify_lines` checks without this database: a header, then rows and seals."""
        yield {"kind": "header", "format": 1, "tenant": scope.tenant, "public_key": self._signer.public_key(scope.tenant)}
        async for kind, value in self._walk(scope):
            if kind == "seal":
                yield {"kind": "seal", "seal": value.decode("utf-8", "replace")}
            else:
                feed, rows = value
                for position, content in rows:
                    text = content.decode("utf-8", "replace")
                    yield {"kind": "row", "feed": feed, "position": position, "content": text}

    async def _walk(self, scope: Scope) -> AsyncGenerator[tuple[str, Any]]:
        """Each seal behind the rows that it seals, then the rows that no seal covers."""
        # Read before the seals: a row that is committed by now has its seal, a later one is not this walk's business.
        ends = {name: await feed.last_position(scope) for name, feed in self._feeds.items()}
        sealed = dict.fromkeys(self._feeds, 0)
        seq = 0
        while page := await self._page(scope, seq):
            for raw in page:
                seq += 1
                for span in _readable_spans(raw):
                    if span.feed in self._feeds:
                        yield "rows", (span.feed, await self._rows(scope, span.feed, sealed[span.feed] + 1, span.last))
                        sealed[span.feed] = max(sealed[span.feed], span.last)
                yield "seal", raw
        for name, end in ends.items():
            if end > sealed[name]:
                yield "rows", (name, await self._rows(scope, name, sealed[name] + 1, end))

    async def _page(self, scope: Scope, after: int) -> list[bytes]:
        async with self._database.read(scope) as connection:
            return await store.page(connection, after, PAGE)

    async def _rows(self, scope: Scope, feed: str, first: int, last: int) -> list[tuple[int, bytes]]:
        return await self._feeds[feed].content(scope, first, last)


class Checker:
    """Checks rows and seals in the order of an export; the first problem found stays."""

    def __init__(self, is_signed: Callable[[str, str], bool], expected_head: str = "") -> None:
        self._is_signed = is_signed
        self._expected = expected_head
        self._pending: dict[str, list[tuple[int, bytes]]] = {}
        self._sealed: dict[str, int] = {}
        self._seq = 0
        self._rows = 0
        self._head = GENESIS
        self.problem = ""

    def rows(self, feed: str, rows: list[tuple[int, bytes]]) -> None:
        """Rows that a later seal has to cover."""
        self._pending.setdefault(feed, []).extend(rows)

    def seal(self, raw: bytes) -> None:
        """The next seal; it must cover all rows given so far."""
        try:
            seal = msgspec.json.decode(raw, type=Seal)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._fail(f"seal {self._seq + 1} cannot be read")
            return
        self._fail(check_seal(seal, self._seq + 1, self._head, self._is_signed))
        for span in seal.spans:
            rows = self._pending.pop(span.feed, [])
            self._fail(check_span(seal.seq, span, rows, self._sealed.get(span.feed, 0)))
            self._sealed[span.feed] = span.last
            self._rows += len(rows)
        self._seq, self._head = seal.seq, seal.hash
        if seal.hash == self._expected:
            self._expected = ""

    def verdict(self) -> Verdict:
        """The result, once everything was given."""
        for feed, rows in self._pending.items():
            if rows:
                self._fail(f"{feed} {rows[0][0]}-{rows[-1][0]} is covered by no seal")
        if self._expected:
            self._fail(f"the record does not contain the seal {self._expected}: it was cut short or replaced")
        return Verdict(ok=not self.problem, seals=self._seq, rows=self._rows, head=self._head, problem=self.problem)

    def _fail(self, problem: str) -> None:
        self.problem = self.problem or problem


def _spans(recorded: list[Recorded]) -> list[Span]:
    spans: list[Span] = []
    ordered = sorted(recorded, key=lambda item: (item.feed, item.position))
    for feed, group in groupby(ordered, key=lambda item: item.feed):
        rows = [(item.position, item.content) for item in group]
        spans.append(Span(feed=feed, first=rows[0][0], last=rows[-1][0], count=len(rows), digest=span_digest(rows)))
    return spans


def _readable_spans(raw: bytes) -> tuple[Span, ...]:
    try:
        return msgspec.json.decode(raw, type=Seal).spans
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ()
