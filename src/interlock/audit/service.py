"""Sealing every commit, verifying the chain, and exporting it for others to verify."""

from collections.abc import AsyncGenerator, Mapping
from itertools import groupby
from typing import Any

from interlock.audit import store
from interlock.audit.checker import Checker, readable_spans
from interlock.audit.model import GENESIS, Rows, Seal, Span, Verdict, seal_hash, span_digest, to_line
from interlock.audit.ports import RecordedFeed
from interlock.core.clock import Clock, to_text
from interlock.core.scope import Scope
from interlock.core.signing import Signer
from interlock.db.database import Database
from interlock.db.session import Recorded, Turn

PAGE = 500
LOWEST_POSITION = -(2**63)
"""Positions begin at 1; looking from here finds what somebody has put before them."""


class Audit:
    """The hash-chained record of a tenant. `seal` is a hook of the database and runs in every transaction that recorded."""

    def __init__(self, database: Database, clock: Clock, signer: Signer, feeds: Mapping[str, RecordedFeed]) -> None:
        self._database = database
        self._clock = clock
        self._signer = signer
        self._feeds = feeds

    def seal(self, turn: Turn) -> None:
        """Add the seal over what this transaction recorded; nothing when it recorded nothing."""
        if not turn.recorded:
            return
        last = store.last(turn.plain)
        seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
        spans = tuple(_spans(turn.recorded))
        at = to_text(self._clock.now())
        sealed = seal_hash(seq, at, spans, previous)
        signature = self._signer.sign(turn.scope.tenant, sealed.encode())
        seal = Seal(seq=seq, at=at, spans=spans, previous=previous, hash=sealed, signature=signature)
        store.append(turn.plain, seal)

    async def verify(self, scope: Scope, expected_head: str = "") -> Verdict:
        """Recompute the whole chain from the rows as they are now. ``expected_head``: a seal's hash that must be in it."""
        checker = Checker(
            lambda sealed, signature: self._signer.verify(scope.tenant, sealed.encode(), signature), expected_head
        )
        async for part in self._walk(scope):
            if isinstance(part, store.SealRow):
                checker.seal(part.seal, part.seq)
            else:
                checker.rows(*part)
            if checker.problem:
                break
        return checker.verdict()

    async def export(self, scope: Scope) -> AsyncGenerator[dict[str, Any]]:
        """The record as entries: a header, then rows and seals. As lines of JSON (`to_line`) `verify_lines` checks them without
        this database."""
        header = {"kind": "header", "format": 1, "tenant": scope.tenant, "public_key": self._signer.public_key(scope.tenant)}
        yield header | {"signature": self._signer.sign(scope.tenant, to_line(header).encode())}
        async for part in self._walk(scope):
            if isinstance(part, store.SealRow):
                yield {"kind": "seal", "seal": part.seal.decode("utf-8", "replace")}
                continue
            feed, rows = part
            for position, content in rows:
                yield {"kind": "row", "feed": feed, "position": position, "content": content.decode("utf-8", "replace")}

    async def _walk(self, scope: Scope) -> AsyncGenerator[tuple[str, Rows] | store.SealRow]:
        """Each seal behind the rows that it seals, then the rows that no seal covers."""
        # The ends are read before the last seal: a row that is committed by now has its seal; later ones are left out.
        ends = {name: await feed.last_position(scope) for name, feed in self._feeds.items()}
        starts = dict.fromkeys(self._feeds, LOWEST_POSITION)
        async for row in self._seals(scope):
            for span in readable_spans(row.seal):
                if span.feed in self._feeds:
                    yield span.feed, await self._feeds[span.feed].content(scope, starts[span.feed], span.last)
                    starts[span.feed] = max(starts[span.feed], span.last + 1)
            yield row
        for name, end in ends.items():
            if end >= starts[name]:
                yield name, await self._feeds[name].content(scope, starts[name], end)

    async def _seals(self, scope: Scope) -> AsyncGenerator[store.SealRow]:
        async with self._database.read(scope) as connection:
            end = await store.last_seq(connection)
        after = LOWEST_POSITION
        while after < end:
            async with self._database.read(scope) as connection:
                page = await store.page(connection, after, end, PAGE)
            if not page:
                return
            for row in page:
                yield row
                after = row.seq


def _spans(recorded: list[Recorded]) -> list[Span]:
    spans: list[Span] = []
    ordered = sorted(recorded, key=lambda item: (item.feed, item.position))
    for feed, group in groupby(ordered, key=lambda item: item.feed):
        rows = [(item.position, item.content) for item in group]
        spans.append(Span(feed=feed, first=rows[0][0], last=rows[-1][0], count=len(rows), digest=span_digest(rows)))
    return spans
