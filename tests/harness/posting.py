"""A process that publishes events and delivers them, to be killed and started again until everything has arrived.

``python -m harness.posting FOLDER URL COUNT SEED KILLS`` prints what happened as JSON. One process has imported everything and
forks the others; each is killed at a random moment. After ``KILLS`` the next one is left alone.
"""

import asyncio
import json
import os
import random
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from harness.engine import make_tables, seal_commits
from harness.notifying import World
from interlock.adapters.notify.addresses import Addresses
from interlock.adapters.notify.webhook import WebhookCarrier
from interlock.core.clock import SystemClock
from interlock.core.scope import Scope
from interlock.db.database import Database
from interlock.db.sqlite import SqliteFiles
from interlock.notifications.model import Schedule

SCOPE = Scope(tenant="default", principal="user:owner")


async def post(folder: Path, url: str, count: int) -> None:
    """One life: publish what is not published yet, deliver until nothing is on its way."""
    database = Database(SqliteFiles(folder / "data"))
    seal_commits(database, folder / "keys")
    carrier = WebhookCarrier(Addresses(["127.0.0.1"]), lambda: datetime.now(UTC))
    schedule = Schedule(delays_s=(0.0,) * 200)
    world = World(database, SCOPE, SystemClock(), {"webhook": carrier}, folder, schedule=schedule, timeout_s=0.5)
    if not await world.service.channels(SCOPE):
        await world.add(target=url)
    async with world.working():
        for number in range(count):
            if not await world.events.about(SCOPE, f"incident:inc_{number}"):
                await world.happen(f"inc_{number}")
        while len(await world.states()) < count or "pending" in await world.states():
            await asyncio.sleep(0.02)
    await database.close()


def fork(folder: Path, url: str, count: int, life_s: float | None) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if life_s is not None:
                threading.Timer(life_s, os.kill, (os.getpid(), signal.SIGKILL)).start()
            asyncio.run(post(folder, url, count))
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: Path, url: str, count: int, seed: int, kills: int) -> dict[str, Any]:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    make_tables(Database(SqliteFiles(folder / "data")), "default")
    chance, killed = random.Random(seed), 0
    while True:
        code = fork(folder, url, count, 0.05 + chance.random() * 0.25 if killed < kills else None)
        if code != -signal.SIGKILL:
            return {"killed": killed, "code": code}
        killed += 1


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], *(int(number) for number in sys.argv[3:]))))
