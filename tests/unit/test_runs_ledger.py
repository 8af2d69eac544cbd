"""The effect ledger: what a task's calls do after every kind of interruption."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from harness.engine import run_of, task
from interlock.core.errors import Conflict, Forbidden, Internal, Invalid, Unavailable
from interlock.core.scope import Scope
from interlock.core.signals import NeedsApproval
from interlock.runs import model as m
from interlock.runs.decide import Scheduler, decide
from interlock.runs.evolve import fold
from interlock.runs.graph import Retry
from interlock.runs.ledger import DO_IT, GIVE_UP, IT_HAPPENED, Ledger
from interlock.testing.clocks import ManualClock
from interlock.testing.tools import AppendLine, CreateFile, Mark, Marked
from interlock.tools.model import Call, Effect
from interlock.tools.service import Toolbox

AT = "2026-01-01T00:00:00.000Z"
SCOPE = Scope(tenant="default", principal="run:run_1")


class Died(BaseException):
    """The end of the process, at this place."""


class Interrupted:
    """Two tools over one folder, and the places where the process dies next."""

    def __init__(self, folder: Path) -> None:
        self.die_at: set[str] = set()
        self.fail_with: list[Exception] = []
        self.keyed = CreateFile(folder, self.hook)
        self.unkeyed = AppendLine(folder, self.hook)
        self.blind = AppendLine(folder, self.hook, is_blind=True)
        self.blind.name = "test.blind"
        self.acted: list[str] = []

    def hook(self, point: str, call: Call) -> None:
        if point == "before_act":
            self.acted.append(call.key)
            if self.fail_with:
                raise self.fail_with.pop(0)
        self.die(point)

    def die(self, point: str) -> None:
        if point in self.die_at:
            self.die_at.discard(point)
            raise Died(point)


class Task:
    """One running task with its ledger, over attempts."""

    def __init__(
        self, world: Interrupted, tools: tuple[str, ...] = ("test.create", "test.append", "test.blind", "test.look")
    ) -> None:
        run = run_of(task("a", retry=Retry(max_attempts=9)), tools=tools)
        state = fold(decide(None, m.Submit(at=AT, run=run)))
        assert state is not None
        self.world, self.state, self.scheduler = world, state, Scheduler(state)
        self.toolbox = Toolbox([world.keyed, world.unkeyed, world.blind, Look()])
        self.scheduler.decide(m.Start(at=AT))
        self.begin()

    def begin(self) -> None:
        self.ledger = Ledger(self.state, "a", SCOPE, self.toolbox, self.note, ManualClock())

    async def note(self, *events: m.RunEvent) -> None:
        kind = "intent" if isinstance(events[0], m.IntentRecorded) else "receipt"
        self.world.die(f"before_{kind}")
        self.scheduler.decide(m.Note(at=AT, task="a", attempt=self.state.tasks["a"].attempt, events=events))
        self.world.die(f"after_{kind}")

    def crash(self) -> None:
        self.scheduler.decide(m.Adopt(at=AT, owner="next", epoch=2))
        self.begin()

    def retry(self) -> None:
        attempt = self.state.tasks["a"].attempt
        self.scheduler.decide(m.Fail(at=AT, task="a", attempt=attempt, error={}, is_transient=True))
        self.scheduler.decide(m.RetryDue(at=AT, task="a"))
        self.begin()

    def answer(self, asked: NeedsApproval, answer: str) -> None:
        fields = {"question": asked.question, "options": asked.options, "evidence": asked.evidence}
        self.scheduler.decide(m.Park(at=AT, task="a", attempt=self.state.tasks["a"].attempt, **fields))
        self.scheduler.decide(m.Answer(at=AT, task="a", answer=answer, by="user:owner"))
        self.begin()

    async def call(self, tool: str, text: str = "x", name: str = "") -> dict[str, Any]:
        return await self.ledger.call(tool, {"label": text}, name)


class Look:
    """A tool that only reads."""

    name = "test.look"
    effect = Effect.READ
    keying = "keyed"
    input = Mark
    output = Marked

    async def act(self, call: Call, arguments: Mark) -> Marked:
        return Marked(label=arguments.label)


@pytest.fixture
def world(tmp_path: Path) -> Interrupted:
    return Interrupted(tmp_path)


@pytest.fixture
def running(world: Interrupted) -> Task:
    return Task(world)


PLACES = ["before_intent", "after_intent", "before_act", "after_act", "before_receipt", "after_receipt"]


@pytest.mark.parametrize("tool", ["test.create", "test.append"])
@pytest.mark.parametrize("place", PLACES)
async def test_an_effect_happens_once_wherever_the_process_dies(running, world, tool, place):
    world.die_at = {place}
    with pytest.raises(Died):
        await running.call(tool)
    running.crash()
    assert await running.call(tool) == {"label": "x"}
    assert await running.call(tool) == {"label": "x"}
    assert world.keyed.labels() + world.unkeyed.labels() == ["x"]
    assert [entry.outcome for entry in running.state.ledger.values()] == ["done"]


@pytest.mark.parametrize("place", PLACES)
async def test_where_it_cannot_be_told_a_person_is_asked(running, world, place):
    world.die_at = {place}
    with pytest.raises(Died):
        await running.call("test.blind")
    running.crash()
    if place in {"before_intent", "after_receipt"}:
        await running.call("test.blind")
    else:
        with pytest.raises(NeedsApproval) as asked:
            await running.call("test.blind")
        [key] = running.state.ledger
        assert asked.value.evidence["key"] == key
        running.answer(asked.value, IT_HAPPENED if world.blind.has(key) else DO_IT)
        await running.call("test.blind")
    assert world.blind.labels() == ["x"]


async def test_an_answer_decides_one_doubt_and_not_the_next(running, world):
    world.die_at = {"before_act"}
    with pytest.raises(Died):
        await running.call("test.blind")
    running.crash()
    with pytest.raises(NeedsApproval) as asked:
        await running.call("test.blind")
    running.answer(asked.value, DO_IT)
    world.die_at = {"after_act"}
    with pytest.raises(Died):
        await running.call("test.blind")
    running.crash()
    with pytest.raises(NeedsApproval):
        await running.call("test.blind")
    assert world.blind.labels() == ["x"]


async def test_an_answer_about_an_effect_is_not_one_to_the_tasks_own_question(running, world):
    running.answer(NeedsApproval("Go on?", ("continue", "stop")), "continue")
    world.die_at = {"before_act"}
    with pytest.raises(Died):
        await running.call("test.blind")
    running.crash()
    with pytest.raises(NeedsApproval) as asked:
        await running.call("test.blind")
    running.answer(asked.value, DO_IT)
    assert running.state.tasks["a"].answer == "continue"


async def test_who_is_told_to_stop_stops_also_after_another_crash(running, world):
    world.die_at = {"before_act"}
    with pytest.raises(Died):
        await running.call("test.blind")
    running.crash()
    with pytest.raises(NeedsApproval) as asked:
        await running.call("test.blind")
    running.answer(asked.value, GIVE_UP)
    for _ in range(2):
        with pytest.raises(Forbidden) as stopped:
            await running.call("test.blind")
        assert stopped.value.code == "effect_in_doubt"
        running.crash()
    assert world.blind.labels() == []


async def test_no_answer_is_no_knowledge_so_the_next_attempt_looks_first(running, world):
    world.die_at = {"after_act"}
    real = world.unkeyed.act

    async def act_and_lose_the_answer(call: Call, arguments: Mark) -> Marked:
        await real(call, arguments)
        raise Unavailable("timeout", "no answer")

    world.die_at = set()
    world.unkeyed.act = act_and_lose_the_answer
    with pytest.raises(Unavailable):
        await running.call("test.append")
    running.retry()
    assert await running.call("test.append") == {"label": "x"}
    assert world.unkeyed.labels() == ["x"]


async def test_an_output_that_the_tool_does_not_promise_is_no_reason_to_do_it_again(running, world):
    async def act_and_garble(call: Call, arguments: Mark) -> Any:
        await real(call, arguments)
        return {"label": 5}

    real, world.unkeyed.act = world.unkeyed.act, act_and_garble
    with pytest.raises(Internal):
        await running.call("test.append")
    running.retry()
    assert await running.call("test.append") == {"label": "x"}
    assert world.unkeyed.labels() == ["x"]


async def test_a_repeated_attempt_goes_the_way_that_the_record_tells(running, world):
    """Port taken, another port, then a crash: the first call fails again as it did, the second is served."""
    world.fail_with = [Conflict("port_taken", "port 1 is taken", port=1)]

    async def start() -> tuple[str, dict[str, Any]]:
        with pytest.raises(Conflict) as taken:
            await running.call("test.create", "one", "start-1")
        return taken.value.details, await running.call("test.create", "two", "start-2")

    assert await start() == ({"port": 1}, {"label": "two"})
    running.crash()
    assert await start() == ({"port": 1}, {"label": "two"})
    assert len(world.acted) == 2
    assert world.keyed.labels() == ["two"]


async def test_after_a_retry_what_failed_is_tried_anew_under_another_key(running, world):
    world.fail_with = [Conflict("broken", "it broke")]
    with pytest.raises(Conflict):
        await running.call("test.create")
    running.retry()
    await running.call("test.create")
    first, second = running.state.ledger
    assert first.removesuffix("-1") == second.removesuffix("-2")
    assert [entry.outcome for entry in running.state.ledger.values()] == ["failed", "done"]


async def test_a_body_may_try_again_by_itself(running, world):
    world.fail_with = [Conflict("port_taken", "port 1 is taken")]
    with pytest.raises(Conflict):
        await running.call("test.create", "one")
    assert await running.call("test.create", "two") == {"label": "two"}


async def test_what_was_intended_is_what_is_done_after_a_crash(running, world):
    world.die_at = {"after_intent"}
    with pytest.raises(Died):
        await running.call("test.create", "port 4001", "start")
    running.crash()
    assert await running.call("test.create", "port 4002", "start") == {"label": "port 4001"}
    assert world.keyed.labels() == ["port 4001"]


async def test_two_calls_at_once_under_one_name_are_one_effect(running, world):
    results = await asyncio.gather(*(running.call("test.append") for _ in range(3)))
    assert results == [{"label": "x"}] * 3
    assert world.unkeyed.labels() == ["x"]


async def test_different_calls_need_different_names(running, world):
    await running.call("test.append", "one")
    with pytest.raises(Conflict) as same:
        await running.call("test.append", "two")
    assert same.value.code == "call_name_used"
    await running.call("test.append", "two", "second")
    assert world.unkeyed.labels() == ["one", "two"]


async def test_keys_are_plain_and_never_shared(running, world):
    for name in ("a-b", "a_b", "a.b", "A-B", "ä/../b", "x" * 300):
        await running.call("test.create", name, name)
    assert len(world.keyed.labels()) == 6
    for key in running.state.ledger:
        assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert len(key) < 120


async def test_reading_leaves_nothing_in_the_ledger(running):
    assert await running.call("test.look", "seen") == {"label": "seen"}
    assert running.state.ledger == {}


async def test_a_call_outside_the_grants_is_refused_and_on_the_record(world):
    running = Task(world, tools=("test.append",))
    recorded: list[m.RunEvent] = []

    async def note(*events: m.RunEvent) -> None:
        recorded.extend(events)

    running.ledger._note = note
    with pytest.raises(Forbidden) as refusal:
        await running.call("test.create")
    assert refusal.value.code == "not_granted"
    [refused] = recorded
    assert isinstance(refused, m.CallRefused)
    assert (refused.tool, refused.arguments) == ("test.create", {"label": "x"})
    assert world.acted == []


async def test_arguments_that_the_tool_cannot_take_are_no_intent(running):
    with pytest.raises(Invalid):
        await running.ledger.call("test.create", {"label": 5}, "")
    with pytest.raises(Invalid):
        await running.ledger.call("test.unknown", {}, "")
    with pytest.raises(Conflict):
        await running.ledger.call("test.create", {"label": object()}, "")
    assert running.state.ledger == {}
