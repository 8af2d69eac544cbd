"""The record: every commit sealed, and no byte of it changed without being found out."""

import io
import json
import sqlite3
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.engine import Engine, run_of, seal_commits, task
from interlock.adapters.keys.files import KeyFiles
from interlock.audit.model import to_line
from interlock.audit.offline import verify_lines
from interlock.audit.service import Audit
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.events.model import EventData
from interlock.events.service import Events
from interlock.runs.feed import JournalFeed


class Noted(EventData, frozen=True, kw_only=True):
    event_type = "test.noted"
    text: str


@pytest_asyncio.fixture
async def audit(database: Database, scope: Scope, clock, tmp_path: Path) -> Audit:
    """A record with events of both feeds, in commits of one and of several rows."""
    found = seal_commits(database, tmp_path / "keys", clock)
    events = Events(database, clock)
    for texts in (["first"], ["second", "third, with é and \u2028"], ["fourth"]):
        async with database.write(scope) as session:
            for text in texts:
                await events.publish(session, Noted(text=text), subject=f"note:{text[:5]}")
    engine = Engine(database, scope, clock=clock)
    await engine.driver.submit(run_of(task("a"), task("b", "a")))
    await engine.ended()
    await engine.driver.close()
    return found


def tamper(database: Database, *statements: str) -> None:
    with sqlite3.connect(database.store.file("default")) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement
    connection.close()


def flipped(column: str, table: str, key: str, value: int) -> str:
    """Change one byte in the middle of a column: to the next letter, so that it stays readable."""
    middle = f"length({column}) / 2"
    replaced = f"char(unicode(substr(cast({column} as text), {middle}, 1)) + 1)"
    changed = f"substr(cast({column} as text), 1, {middle} - 1) || {replaced} || substr(cast({column} as text), {middle} + 1)"
    return f"update {table} set {column} = cast({changed} as blob) where {key} = {value}"


async def test_every_commit_is_sealed_and_the_whole_verifies(audit, database, scope):
    verdict = await audit.verify(scope)
    assert verdict.ok
    with sqlite3.connect(database.store.file("default")) as connection:
        [events] = connection.execute("select count(*) from events").fetchone()
        [run_events] = connection.execute("select count(*) from run_events").fetchone()
        [seals] = connection.execute("select count(*) from audit_seals").fetchone()
    connection.close()
    assert (verdict.rows, verdict.seals) == (events + run_events, seals)
    assert seals < events + run_events


async def test_what_records_nothing_needs_no_seal(audit, database, scope):
    before = (await audit.verify(scope)).seals
    async with database.write(scope) as session:
        await session.connection.exec_driver_sql("update runs set title = 'x'")
    assert (await audit.verify(scope)).seals == before


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        (flipped("envelope", "events", "position", 1), "events 1-1 was changed"),
        (flipped("envelope", "events", "position", 3), "events 2-3 was changed"),
        (flipped("subject", "events", "position", 4), "events 4-4 was changed"),
        (flipped("event_type", "events", "position", 4), "events 4-4 was changed"),
        (flipped("event", "run_events", "position", 2), "run_events 2-3 was changed"),
        ("update run_events set run_id = 'run_2' where position = 1", "run_events 1-1 was changed"),
        ("update run_events set seq = 99 where position = 1", "run_events 1-1 was changed"),
        ("update run_events set epoch = 99 where position = 1", "run_events 1-1 was changed"),
        ("update events set envelope = 'text' where position = 2", "events 2-3 was changed"),
        (flipped("seal", "audit_seals", "seq", 2), "seal 2"),
        ("update audit_seals set seq = 77 where seq = 2", "seal 2 is missing"),
        ("update audit_seals set seq = 77 where seq = (select max(seq) from audit_seals)", "is missing (found 77)"),
        ("update audit_seals set seal = x'00' where seq = 2", "seal 2 cannot be read"),
        ("update audit_seals set seal = seal || ' ' where seq = 2", "seal 2 cannot be read"),
        ("delete from events where position = 2", "events 2-3: 2 rows were sealed, 1 are there"),
        ("delete from events where position = 4", "events 4-4: 1 rows were sealed, 0 are there"),
        ("delete from audit_seals where seq = 3", "seal 3 is missing (found 4)"),
        (
            "insert into events select 5, event_type, subject, envelope from events where position = 1",
            "events 5-5 is covered by no seal",
        ),
        ("insert into events values (-5, 'a', 'b', x'7b7d')", "events 1-1: 1 rows were sealed, 2 are there"),
        ("insert into run_events values (0, 'run_1', 99, 1, x'7b7d')", "run_events 1-1: 1 rows were sealed, 2 are there"),
        ("insert into run_events values (999, 'run_1', 99, 1, x'7b7d')", "999 is covered by no seal"),
    ],
)
async def test_a_changed_record_is_found_out_with_its_place(audit, database, scope, statement, place):
    tamper(database, statement)
    verdict = await audit.verify(scope)
    assert not verdict.ok
    assert place in verdict.problem


async def test_rows_that_changed_places_are_found_out(audit, database, scope):
    moves = [("2", "-1"), ("3", "2"), ("-1", "3")]
    tamper(database, *(f"update events set position = {new} where position = {old}" for old, new in moves))
    assert "events 2-3 was changed" in (await audit.verify(scope)).problem


async def test_a_signature_with_another_letter_case_is_not_the_same(audit, database, scope):
    changed = "replace(cast(seal as text), substr(cast(seal as text), -20, 18), upper(substr(cast(seal as text), -20, 18)))"
    tamper(database, f"update audit_seals set seal = cast({changed} as blob) where seq = 1")
    assert (await audit.verify(scope)).problem == "seal 1 is not signed by this tenant"


async def test_a_record_cut_short_is_noticed_by_who_kept_its_head(audit, database, scope):
    head = (await audit.verify(scope)).head
    assert (await audit.verify(scope, head)).ok
    with sqlite3.connect(database.store.file("default")) as connection:
        [seal] = connection.execute("select seal from audit_seals order by seq desc limit 1").fetchone()
    connection.close()
    first = int(seal.split(b'"first":')[1].split(b",")[0])
    tamper(
        database,
        "delete from audit_seals where seq = (select max(seq) from audit_seals)",
        f"delete from run_events where position >= {first}",
    )
    assert (await audit.verify(scope)).ok, "what is left is a chain"
    assert "was cut short or replaced" in (await audit.verify(scope, head)).problem


async def test_a_record_written_anew_with_another_key_is_refused(audit, database, scope, tmp_path, clock):
    feeds = {"events": Events(database, clock).feed, "run_events": JournalFeed(database)}
    stranger = Audit(database, clock, KeyFiles(tmp_path / "other-keys"), feeds)
    assert (await stranger.verify(scope)).problem == "seal 1 is not signed by this tenant"


async def lines_of(audit: Audit, scope: Scope) -> list[str]:
    return [to_line(entry) async for entry in audit.export(scope)]


async def test_an_export_verifies_by_itself(audit, scope, tmp_path):
    lines = await lines_of(audit, scope)
    verdict = await audit.verify(scope)
    key = KeyFiles(tmp_path / "keys").public_key("default")
    assert verify_lines(lines) == verify_lines([line + "\n" for line in lines], key, verdict.head) == verdict


def signed_by_other(lines: list[str], tmp_path: Path) -> list[str]:
    """The header as somebody else would sign it."""
    keys = KeyFiles(tmp_path / "other-keys")
    header = json.loads(lines[0]) | {"public_key": keys.public_key("default")}
    del header["signature"]
    return [to_line(header | {"signature": keys.sign("default", to_line(header).encode())}), *lines[1:]]


async def test_an_export_signed_by_somebody_else_is_refused(audit, scope, tmp_path):
    lines = await lines_of(audit, scope)
    other = KeyFiles(tmp_path / "other-keys").public_key("default")
    assert verify_lines(lines, other).problem == "the header was changed, or is not signed by this tenant"
    assert verify_lines(signed_by_other(lines, tmp_path)).problem == "seal 1 is not signed by this tenant"
    assert verify_lines(lines, "not a key").problem == "the key to trust is not 64 hex digits"
    assert verify_lines([]).problem == "the file is empty"
    assert verify_lines(lines[1:]).problem == "line 1 cannot be read"


async def test_no_byte_and_no_line_of_an_export_can_be_changed(audit, scope, tmp_path):
    lines = await lines_of(audit, scope)
    key = KeyFiles(tmp_path / "keys").public_key("default")
    head = verify_lines(lines, key).head
    body = "".join(line + "\n" for line in lines).encode()

    def is_accepted(changed: bytes) -> bool:
        return verify_lines(io.StringIO(changed.decode("utf-8", "replace"), newline="\n"), key, head).ok

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(body) - 2), st.integers(1, 255))
    def change_a_byte(place: int, difference: int) -> None:
        changed = bytearray(body)
        changed[place] ^= difference
        assert not is_accepted(bytes(changed)), (place, bytes(changed[place - 20 : place + 20]))

    entries = [line + b"\n" for line in body.split(b"\n")[:-1]]

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(entries) - 1), st.integers(0, len(entries) - 1))
    def move_or_drop_a_line(place: int, other: int) -> None:
        changed = list(entries)
        line = changed.pop(place)
        assert not is_accepted(b"".join(changed))
        if place != other:
            changed.insert(other, line)
            assert not is_accepted(b"".join(changed))

    assert is_accepted(body)
    change_a_byte()
    move_or_drop_a_line()
