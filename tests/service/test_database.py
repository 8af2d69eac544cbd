"""The database: one writer and many readers in each namespace, and nothing half done."""

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError

from harness.engine import make_tables
from harness.stores import ON_BOTH
from interlock.core.errors import Conflict, Invalid, Unavailable
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.namespaces import CONTROL
from interlock.db.session import Session, Turn
from interlock.db.sqlite import SqliteFiles
from interlock.events import store

SLOW_QUERY = text("with recursive c(x) as (select 1 union all select x + 1 from c where x < 30000) select max(x) from c")


async def places(database: Database, scope: Scope) -> dict[str, int]:
    async with database.read(scope) as connection:
        return await store.load_cursors(connection)


async def test_a_reader_sees_the_last_commit_while_a_writer_is_at_work(database, scope):
    async with database.write(scope) as session:
        await store.save_cursor(session, "a", 1)
    async with database.write(scope) as session:
        await store.save_cursor(session, "a", 2)
        async with asyncio.timeout(2):
            assert await places(database, scope) == {"a": 1}
    assert await places(database, scope) == {"a": 2}


async def test_a_reader_keeps_its_snapshot(database, scope):
    async with database.read(scope) as connection:
        assert await store.load_cursors(connection) == {}
        async with database.write(scope) as session:
            await store.save_cursor(session, "a", 1)
        assert await store.load_cursors(connection) == {}


async def test_a_reader_cannot_write(database, scope):
    with pytest.raises(Unavailable):
        async with database.read(scope) as connection:
            await store.save_cursor(Session(scope, connection), "a", 1)
    assert await places(database, scope) == {}


async def test_writers_take_turns(database, scope):
    async def add_one() -> None:
        async with database.write(scope) as session:
            value = (await store.load_cursors(session.connection)).get("a", 0)
            await store.save_cursor(session, "a", value + 1)

    await asyncio.gather(*(add_one() for _ in range(50)))
    assert await places(database, scope) == {"a": 50}


async def test_an_exception_undoes_the_turn_and_what_was_to_follow(database, scope):
    called: list[str] = []
    with pytest.raises(Conflict):
        async with database.write(scope) as session:
            await store.save_cursor(session, "a", 1)
            session.after_commit(lambda: called.append("undone"))
            raise Conflict("no", "no")
    async with database.write(scope) as session:
        await store.save_cursor(session, "b", 1)
        session.after_commit(lambda: called.append("done"))
        assert called == []
    assert await places(database, scope) == {"b": 1}
    assert called == ["done"]


async def test_a_hook_that_fails_undoes_the_turn(database, scope):
    def refuse(turn: Turn) -> None:
        if turn.scope.principal == "user:bad":
            raise Conflict("unsealed", "no seal")

    database.before_commit(refuse)
    with pytest.raises(Conflict):
        async with database.write(scope.acting_as("user:bad")) as session:
            await store.save_cursor(session, "a", 1)
    assert await places(database, scope) == {}


def saved(turn: Turn, name: str, position: int = 1) -> None:
    turn.plain.execute(insert(store.cursors).values(subscription=name, position=position))


@ON_BOTH
async def test_a_plain_function_is_a_turn_too(database, scope):
    called: list[str] = []
    with pytest.raises(Conflict):
        await database.transact(scope, lambda turn: (saved(turn, "a"), turn.after_commit(partial(called.append, "a")), fail()))
    await database.transact(scope, lambda turn: (saved(turn, "b"), turn.after_commit(partial(called.append, "b"))))
    assert (await places(database, scope), called) == ({"b": 1}, ["b"])


def fail() -> None:
    raise Conflict("no", "no")


@ON_BOTH
async def test_a_plain_function_ends_though_nobody_waits_for_it_and_the_next_one_has_its_turn(database, scope):
    begun, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(turn: Turn) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert gate.wait(10)
        saved(turn, "a")

    first = asyncio.create_task(database.transact(scope, slow))
    await begun.wait()
    second = asyncio.create_task(database.transact(scope, lambda turn: saved(turn, "b")))
    first.cancel()
    await asyncio.sleep(0.05)
    assert not first.done(), "its turn is not over"
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert await places(database, scope) == {"a": 1, "b": 1}


@ON_BOTH
async def test_what_was_closed_is_opened_again(database, scope):
    await database.transact(scope, lambda turn: saved(turn, "a"))
    await database.close()
    await database.transact(scope, lambda turn: saved(turn, "b"))
    assert await places(database, scope) == {"a": 1, "b": 1}


@pytest.mark.parametrize("is_plain", [True, False])
async def test_a_commit_that_is_refused_is_in_nobodys_way(database, scope, is_plain):
    async with database.write(scope) as session:
        run = session.connection.exec_driver_sql
        await run("CREATE TABLE a (id INTEGER PRIMARY KEY)")
        await run("CREATE TABLE b (id INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(IntegrityError):
        if is_plain:
            await database.transact(scope, lambda turn: turn.plain.exec_driver_sql("INSERT INTO b VALUES (1)"))
        else:
            async with database.write(scope) as session:
                await session.connection.exec_driver_sql("INSERT INTO b VALUES (1)")
    await database.transact(scope, lambda turn: saved(turn, "a"))
    async with database.write(scope) as session:
        await store.save_cursor(session, "b", 1)
    assert await places(database, scope) == {"a": 1, "b": 1}


async def test_namespaces_do_not_see_each_other(database, scope):
    make_tables(database, "other")
    other = Scope(tenant="other", principal="user:owner")
    async with database.write(scope) as session:
        await store.save_cursor(session, "a", 1)
        # Another namespace has another writer: nobody waits here.
        async with asyncio.timeout(2), database.write(other) as second:
            await store.save_cursor(second, "b", 2)
    assert await places(database, scope) == {"a": 1}
    assert await places(database, other) == {"b": 2}
    assert database.store.file("other") != database.store.file("default") != database.store.file(CONTROL)


@pytest.mark.parametrize("name", ["../control", "a/b", "", ".", "A", "-a", "a" * 64, "a\n"])
async def test_a_tenants_name_cannot_lead_elsewhere(database, name):
    with pytest.raises(Invalid):
        async with database.read(Scope(tenant=name, principal="user:owner"), name):
            pass


async def test_cancelled_tasks_leave_the_writer_in_order(database, scope):
    async def write(number: int) -> None:
        async with database.write(scope) as session:
            await store.save_cursor(session, f"first-{number}", number)
            await session.connection.execute(SLOW_QUERY)
            await store.save_cursor(session, f"second-{number}", number)

    async def read() -> None:
        async with database.read(scope) as connection:
            await connection.execute(SLOW_QUERY)

    chance = random.Random(1)
    for turn in range(25):
        tasks = [asyncio.create_task(write(3 * turn + n)) for n in range(3)] + [asyncio.create_task(read())]
        await asyncio.sleep(chance.random() * 0.02)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {asyncio.CancelledError, type(None)}
    found = await places(database, scope)
    firsts, seconds = ({name.partition("-")[2] for name in found if name.startswith(kind)} for kind in ("first", "second"))
    assert firsts == seconds
    async with asyncio.timeout(2), database.write(scope) as session:
        await store.save_cursor(session, "last", 1)


async def test_a_turn_that_is_cancelled_ends_first_and_then_says_so(database, scope):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), database.write(scope) as session:
            await session.connection.execute(SLOW_QUERY)
            await session.connection.execute(SLOW_QUERY)
            await store.save_cursor(session, "a", 1)
    assert await places(database, scope) == {"a": 1}
    await asyncio.sleep(0)


@pytest_asyncio.fixture
async def small_disk(tmp_path: Path) -> AsyncIterator[Path]:
    """A file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True)
    if made.returncode:
        pytest.skip(f"no small file system here: {made.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_is_told_and_gone_once_there_is_space(small_disk, scope):
    database = Database(SqliteFiles(small_disk))
    make_tables(database, "default")
    async with database.write(scope) as session:
        await store.save_cursor(session, "before", 1)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(b"x" * 2**21)
    with pytest.raises(Unavailable) as full:
        async with database.write(scope) as session:
            for number in range(200):
                await store.save_cursor(session, f"{number}-{'x' * 10_000}", number)
    assert (full.value.code, full.value.where) == ("storage", str(database.store.file("default")))
    assert await places(database, scope) == {"before": 1}
    ballast.unlink()
    async with database.write(scope) as session:
        await store.save_cursor(session, "after", 1)
    assert await places(database, scope) == {"before": 1, "after": 1}
    await database.close()


def test_a_process_that_dies_of_an_error_does_not_hang_on_its_connections(tmp_path):
    script = """
import asyncio, sys
from pathlib import Path
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.sqlite import SqliteFiles
async def main():
    Path(sys.argv[1], "tenants").mkdir()
    async with Database(SqliteFiles(Path(sys.argv[1]))).read(Scope(tenant="default", principal="user:owner")):
        raise RuntimeError("the end")
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, capture_output=True, timeout=20)
    assert ended.returncode == 1
    assert b"the end" in ended.stderr
