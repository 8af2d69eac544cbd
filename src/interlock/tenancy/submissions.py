"""Idempotency keys: the same submission, sent again, gets the same answer and does nothing twice."""

from datetime import timedelta

import msgspec
from sqlalchemy import delete, insert, select, update

from interlock.core.clock import Clock, from_text, to_text
from interlock.core.errors import Conflict, Invalid
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.tenancy.store import submissions

LIFETIME = timedelta(hours=24)
UNFINISHED = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer that a submission got."""

    status: int
    media_type: str
    body: bytes


class Submissions:
    """Remembers for a day what was answered to which key."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, scope: Scope, key: str, digest: str) -> Answer | None:
        """Claim ``key`` for the request with ``digest``; returns the answer that it got before, if it got one.

        Raises Invalid ``idempotency_key_reused`` for another request under the key, Conflict ``in_progress`` while the first
        one is being answered or when its fate is unknown.
        """
        here = (submissions.c.key == key) & (submissions.c.principal == scope.principal)
        async with self._database.write(scope) as session:
            oldest = to_text(self._clock.now() - LIFETIME)
            await session.connection.execute(delete(submissions).where(submissions.c.at < oldest))
            row = (await session.connection.execute(select(submissions).where(here))).first()
            if row is None:
                values = {"key": key, "principal": scope.principal, "digest": digest, "status": UNFINISHED}
                await session.connection.execute(insert(submissions).values(at=to_text(self._clock.now()), **values))
                return None
        if row.digest != digest:
            raise Invalid("idempotency_key_reused", "the key was used for another request", hint="use a new Idempotency-Key")
        if row.status == UNFINISHED:
            since = from_text(row.at).isoformat(timespec="seconds")
            raise Conflict(
                "in_progress", f"this request was received at {since} and has no answer yet", hint="look at its effect"
            )
        return Answer(status=row.status, media_type=row.media_type, body=bytes(row.body))

    async def finish(self, scope: Scope, key: str, answer: Answer) -> None:
        """Keep the answer for whoever sends the request again."""
        here = (submissions.c.key == key) & (submissions.c.principal == scope.principal)
        values = {"status": answer.status, "media_type": answer.media_type, "body": answer.body}
        async with self._database.write(scope) as session:
            await session.connection.execute(update(submissions).where(here).values(values))

    async def forget(self, scope: Scope, key: str) -> None:
        """Release a key whose request was not carried out."""
        here = (submissions.c.key == key) & (submissions.c.principal == scope.principal)
        async with self._database.write(scope) as session:
            await session.connection.execute(delete(submissions).where(here))
