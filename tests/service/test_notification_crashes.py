"""Killed at random moments, in front of a receiver that is no better: nothing is lost, and nothing is another delivery."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from harness.receivers import Hook, HookReceiver
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.sqlite import SqliteFiles
from interlock.notifications import store

COUNT = 25


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_event_arrives_under_one_id_however_often_the_process_is_killed(tmp_path: Path, seed: int) -> None:
    async with HookReceiver() as receiver:
        manners = iter("200 close 500 200 503 hang 200".split() * 100_000)  # noqa: SIM905 - read more easily

        def answer(_hook: Hook) -> str:
            return next(manners)

        receiver.answer = answer
        arguments = [str(tmp_path), receiver.url, str(COUNT), str(seed), "12"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "harness.posting", *arguments, env=environment, stdout=-1, stderr=-1
        )
        output, errors = await process.communicate()
    assert json.loads(output) == {"killed": 12, "code": 0}, errors.decode()[-3000:]
    ids: dict[str, set[str]] = {}
    for hook in receiver.requests:
        ids.setdefault(hook.event["id"], set()).add(hook.message_id)
    taken = {hook.event["data"]["incident_id"] for hook in receiver.taken}
    assert taken == {f"inc_{number}" for number in range(COUNT)}
    assert all(len(found) == 1 for found in ids.values())
    await check_account(tmp_path, receiver)


async def check_account(folder: Path, receiver: HookReceiver) -> None:
    """The rows say the same as the receiver: one for each event, none dead, no attempt uncounted."""
    database = Database(SqliteFiles(folder / "data"))
    async with database.read(Scope(tenant="default", principal="test")) as connection:
        items = await store.listing(connection, None, None, 1000)
    await database.close()
    assert [item.state for item in items] == ["delivered"] * COUNT
    for item in items:
        assert item.attempts >= len([hook for hook in receiver.requests if hook.message_id == item.delivery_id])
