"""Who kills the control plane at drawn moments, and what its record has to look like afterwards."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from harness.server import Server
from interlock.core.clock import to_text

EVENTS = ("TaskStarted", "IntentRecorded", "ReceiptRecorded", "TaskReported", "TaskCompleted")
START_S = 1.0
"""About as long as a control plane takes to start: it is killed during that too."""

END = {"TaskCompleted", "TaskFailed", "TaskSkipped", "TaskCancelled"}


@dataclass(frozen=True, slots=True)
class Kill:
    """``at`` is the wall time at which the process was dead, in the words of the journal."""

    at: str
    moment: str


@dataclass(slots=True)
class Killer:
    """Kills the control plane at drawn moments, and starts it again.

    Up to ``furthest`` events of a kind, or up to ``longest_delay_s``, lie between two kills.
    """

    server: Server
    seed: int
    furthest: int = 2
    longest_delay_s: float = 1.2
    chance: random.Random = field(init=False)
    kills: list[Kill] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    async def approve(self, plan: dict[str, Any]) -> str:
        """Approve; sometimes that is the last thing which this control plane says. Returns the id of the run."""
        await self.server.approve(plan)
        if self.chance.random() < 0.3:
            await self.kill("as soon as it was approved")
            await self.server.start()
        return await self.server.run_of(plan["plan_id"])

    async def interrupt(self, run_id: str, count: int, after: int = 0) -> None:
        """Kill up to ``count`` times while the run is under way behind the event ``after``; it is up in the end."""
        if count <= 0:
            return
        for number in range(count):
            if number and self.chance.random() < 0.2:
                delay_s = self.chance.uniform(0, START_S)
                await self.server.launch()
                await asyncio.sleep(delay_s)
                await self.kill(f"{delay_s:.3f} s after its start")
                continue
            if number:
                await self.server.start()
            if self.chance.random() < 0.4:
                delay_s = self.chance.uniform(0, self.longest_delay_s)
                await asyncio.sleep(delay_s)
                await self.kill(f"{delay_s:.3f} s after it was ready")
            else:
                kind, nth = self.chance.choice(EVENTS), self.chance.randint(1, self.furthest)
                seen = await self.see(run_id, kind, nth, after)
                if seen is None:
                    return
                after = seen["seq"]
                place = f"{seen['task']} {seen.get('tool') or seen.get('key', '')}".strip()
                await self.kill(f"at event {after}, number {nth} of {kind} ({place})")
        await self.server.start()

    async def see(self, run_id: str, kind: str, nth: int, after: int) -> dict[str, Any] | None:
        """Wait for the n-th event of a kind from now on; None when the run ends before."""
        known = (await self.server.get(f"/runs/{run_id}"))["seq"]
        async with contextlib.aclosing(self.server.stream(run_id, max(after, known))) as events:
            async for event in events:
                nth -= event["type"] == kind
                if nth == 0:
                    return event
        return None

    async def kill(self, moment: str) -> None:
        if self.server.process is not None and self.server.process.poll() is None:
            await self.server.kill()
            self.kills.append(Kill(to_text(datetime.now(UTC)), moment))

    async def landed(self, run_id: str, since: str = "") -> int:
        """How many of the kills hit the run while it was under way, and was past the time ``since``. Forgets them all.

        The only end of a run that was hit is later than the kill.
        """
        end = (await self.server.events(run_id))[-1]
        hits = [kill for kill in self.kills if since < kill.at < end["at"]]
        self.said += [f"{run_id}: killed {kill.moment}{'' if kill in hits else ' (too late)'}" for kill in self.kills]
        self.kills.clear()
        return len(hits)

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """What fails inside tells the seed and the moments too."""
        try:
            yield
        except BaseException as error:
            lines = [f"seed {self.seed}", *self.said, *(f"killed {kill.moment}" for kill in self.kills)]
            error.add_note("\n".join(lines))
            raise


async def check_record(server: Server, run_id: str) -> None:
    """The run's events: none lost, none twice, nothing done again once it was over; and the chain over everything holds."""
    run, events = await server.get(f"/runs/{run_id}"), await server.events(run_id)
    assert [event["seq"] for event in events] == list(range(1, run["seq"] + 1))
    assert [event["seq"] for event in events if event["type"] == "RunFinished"] == [run["seq"]]
    assert Counter(event["task"] for event in events if event["type"] in END) == {task["id"]: 1 for task in run["tasks"]}
    over: set[str] = set()
    for event in events:
        assert event.get("task") not in over, event
        if event["type"] in END:
            over.add(event["task"])
    effects = {entry["key"]: "done" for entry in run["effects"]}
    assert Counter(event["key"] for event in events if event["type"] == "IntentRecorded") == dict.fromkeys(effects, 1)
    assert Counter(event["key"] for event in events if event["type"] == "ReceiptRecorded") == dict.fromkeys(effects, 1)
    assert {entry["key"]: entry["outcome"] for entry in run["effects"]} == effects
    verified = await server.get("/audit/verify")
    assert verified["ok"] is True, verified
    ready = (await server.http.get("/ready")).json()
    assert ready["components"]["events"]["dead_letters"] == 0
