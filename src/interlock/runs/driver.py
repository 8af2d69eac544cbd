"""The local driver: runs in one asyncio process, durable by the journal, recovered at start."""

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine
from heapq import heappop, heappush

import structlog

from interlock.core.clock import Clock, to_text
from interlock.core.errors import Conflict, Internal, Unavailable
from interlock.runs import model as m
from interlock.runs.active import ActiveRun, Equipment, Suspended
from interlock.runs.decide import decide
from interlock.runs.evolve import fold

log = structlog.get_logger(__name__)

RELOAD_DELAY_S = 2.0


class LocalDriver:
    """Executes up to ``max_concurrent_runs`` runs; the others wait in the order of their submission."""

    def __init__(self, equipment: Equipment, owner: str, max_concurrent_runs: int = 10) -> None:
        self._equipment = equipment
        self._owner = owner
        self._max_concurrent_runs = max_concurrent_runs
        self._active: dict[str, ActiveRun] = {}
        self._numbers: dict[str, int] = {}
        """The place of each run in the order of submission, as long as it has not ended: also of one that stands still."""
        self._next_number = itertools.count(1)
        self._line: list[tuple[int, str]] = []
        """A heap of the runs that wait for a slot. One that waits no more stays in it until its turn comes, and is skipped."""
        self._slots: set[str] = set()
        """The runs that have one: those that are running, and those whose start is about to be written."""
        self._background: set[asyncio.Task[None]] = set()
        self._standing: dict[str, str] = {}
        self._is_recovering = False
        self._is_stopping = False

    @property
    def storage_error(self) -> str:
        """Why runs stand still, while the journal cannot be written; else empty."""
        return next(iter(self._standing.values()), "")

    async def recover(self) -> None:
        """Adopt every run that has not ended. Call once, before anything else."""
        unfinished = await self._equipment.journal.unfinished()
        self._numbers |= zip(unfinished, self._next_number, strict=False)
        # Whoever ends meanwhile leaves its slot to none before it is known who has one.
        self._is_recovering = True
        for run_id in unfinished:
            try:
                await self._adopt(run_id)
            except Exception as error:
                # One journal that cannot be read must not keep the others from going on.
                self._stand_still(run_id, error)
        self._is_recovering = False
        self._start_waiting()

    async def submit(self, run: m.Run) -> None:
        """Make a new run durable and start it when there is a slot. Raises Conflict ``run_exists``, Invalid ``task_graph``."""
        # Shielded: a caller who goes away must not leave behind a run that is durable and that nobody starts.
        await asyncio.shield(self._spawn(self._submit(run)))

    async def _submit(self, run: m.Run) -> None:
        events = decide(None, m.Submit(at=self._now(), run=run))
        epoch = await self._equipment.journal.create(run, events, self._owner)
        if (state := fold(events)) is not None:
            self._activate(state, epoch)
        self._start_waiting()

    async def cancel(self, run_id: str, by: str, reason: str) -> None:
        """Ask for the end of a run; branches that bring things back still run. Idempotent.

        Raises Conflict ``run_not_active``, Unavailable ``run_suspended``.
        """
        await self._apply(run_id, m.RequestCancel(at=self._now(), by=by, reason=reason))

    async def pause(self, run_id: str, by: str, reason: str) -> None:
        """Let no further task of a run start; what is under way goes on to its end, and another run may have the slot.

        Idempotent. Raises Conflict ``run_not_active`` or ``run_is_ending``, Unavailable ``run_suspended``.
        """
        await self._apply(run_id, m.PauseRun(at=self._now(), by=by, reason=reason))

    async def resume(self, run_id: str, by: str, reason: str) -> None:
        """End the pause of a run; it goes on when there is a slot. Idempotent. Raises as `cancel` does."""
        await self._apply(run_id, m.ResumeRun(at=self._now(), by=by, reason=reason))

    async def answer(self, run_id: str, task: str, answer: str, by: str, asked: int = 0) -> None:
        """Answer a task that waits for a person. Raises Conflict ``not_waiting`` or ``run_not_active``, Invalid
        ``unknown_option``."""
        await self._apply(run_id, m.Answer(at=self._now(), task=task, answer=answer, by=by, asked=asked))

    async def close(self) -> None:
        """Stop working; what is under way is recovered at the next start."""
        self._is_stopping = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for active in list(self._active.values()):
            await active.close()
        self._active.clear()
        await self._equipment.journal.drain()

    def active_runs(self) -> int:
        """How many runs have a slot: they are started, not paused, and have not ended."""
        return sum(active.state.status is m.RunStatus.RUNNING for active in self._active.values())

    async def _apply(self, run_id: str, command: m.RunCommand) -> None:
        try:
            if run_id in self._standing:
                raise Suspended
            if run_id not in self._active:
                raise Conflict("run_not_active", f"{run_id} is not under way", hint="see: interlock runs")
            await self._active[run_id].apply(command)
        except Suspended as error:
            raise Unavailable(
                "run_suspended", f"{run_id} cannot be written now; it goes on by itself", hint="try again"
            ) from error

    async def _adopt(self, run_id: str) -> None:
        epoch = await self._equipment.journal.take_over(run_id, self._owner)
        state = fold(await self._equipment.journal.load(run_id))
        if state is None:
            raise Internal("empty_journal", f"{run_id} has no events")
        self._standing.pop(run_id, None)
        if state.status in m.RUN_ENDED:
            # Its end was durable, though the journal could not say so.
            self._ended(run_id)
            return
        active = self._activate(state, epoch)
        with contextlib.suppress(Suspended):
            if state.started_at:
                active.set_timers()
                await active.apply(m.Adopt(at=self._now(), owner=self._owner, epoch=epoch))

    def _activate(self, state: m.RunState, epoch: int) -> ActiveRun:
        run_id = state.run.run_id
        active = ActiveRun(state, epoch, self._equipment, on_move=self._moved, on_end=self._ended, on_suspend=self._suspended)
        self._active[run_id] = active
        self._numbers.setdefault(run_id, next(self._next_number))
        self._place(active)
        return active

    def _place(self, active: ActiveRun) -> None:
        """Into the line or to a slot, as its status says; a run that is paused is in neither."""
        run_id, status = active.state.run.run_id, active.state.status
        if status is m.RunStatus.RUNNING:
            # Also beyond what there is: what is brought back waits for no slot, nor does what ran before a restart.
            self._slots.add(run_id)
            return
        self._slots.discard(run_id)
        if status is m.RunStatus.PENDING:
            heappush(self._line, (self._numbers[run_id], run_id))

    def _moved(self, run_id: str) -> None:
        active = self._active[run_id]
        # The state may be ahead of what is durable: an end gives the slot back once it is.
        if active.state.status not in m.RUN_ENDED:
            self._place(active)
            self._start_waiting()

    def _start_waiting(self) -> None:
        if self._is_recovering or self._is_stopping:
            return
        while self._line and len(self._slots) < self._max_concurrent_runs:
            _, run_id = heappop(self._line)
            active = self._active.get(run_id)
            if active is not None and active.state.status is m.RunStatus.PENDING and run_id not in self._slots:
                self._slots.add(run_id)
                self._spawn(self._start(active))

    async def _start(self, active: ActiveRun) -> None:
        if active.state.run.run_id not in self._slots:
            # Paused since, it gave the slot back.
            return
        with contextlib.suppress(Suspended):
            await active.apply(m.Start(at=self._now()))

    def _leave(self, run_id: str) -> ActiveRun | None:
        self._slots.discard(run_id)
        return self._active.pop(run_id, None)

    def _ended(self, run_id: str) -> None:
        self._leave(run_id)
        self._numbers.pop(run_id, None)
        self._start_waiting()

    def _suspended(self, run_id: str, error: BaseException) -> None:
        active = self._leave(run_id)
        if active is None or self._is_stopping:
            return
        closing = self._spawn(active.close())
        if isinstance(error, Conflict):
            log.warning("run.fenced", run=run_id)
            self._numbers.pop(run_id, None)
            self._start_waiting()
        else:
            self._stand_still(run_id, error, closing)

    def _stand_still(self, run_id: str, error: BaseException, closing: asyncio.Task[None] | None = None) -> None:
        self._standing[run_id] = str(error)
        log.error("run.stands_still", run=run_id, error=str(error))
        self._spawn(self._reload(run_id, closing))

    async def _reload(self, run_id: str, closing: asyncio.Task[None] | None) -> None:
        """Go back to what is durable, and on from there as after a crash, once the journal takes writes again."""
        if closing is not None:
            # Not before the last body is gone: what it began is looked at then, and must not go on behind the look.
            await asyncio.wait([closing])
        while True:
            await asyncio.sleep(RELOAD_DELAY_S)
            try:
                await self._adopt(run_id)
            except Exception as error:
                self._standing[run_id] = str(error)
            else:
                break
        self._start_waiting()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def _now(self) -> str:
        return to_text(self._equipment.clock.now())


def owner_name(clock: Clock, pid: int) -> str:
    """Names a control plane process in the journal."""
    return f"pid {pid} since {to_text(clock.now())}"
