"""Reactions of runs: a task that asks gets its place in the inbox, and the answer finds its way back."""

from interlock.core.errors import Conflict, Unavailable
from interlock.core.scope import Scope
from interlock.db.database import STORAGE, Database
from interlock.events.model import Envelope
from interlock.inbox.service import Inbox
from interlock.runs.model import TaskStatus
from interlock.runs.service import Runs


class RunHandlers:
    """Idempotent reactions; `bootstrap` subscribes them."""

    def __init__(self, database: Database, inbox: Inbox, runs: Runs) -> None:
        self._database = database
        self._inbox = inbox
        self._runs = runs

    async def task_asks(self, scope: Scope, event: Envelope) -> None:
        """``run.task_asks``: open the question in the inbox."""
        data = event.data
        task = (await self._runs.get(scope, data["run_id"])).tasks[data["task"]]
        if task.status is not TaskStatus.WAITING or task.question.get("asked") != data["asked"]:
            # Delivered late or twice: nobody waits for this answer any more.
            return
        subject = f"run:{data['run_id']}/{data['task']}"
        kind = "parked_effect" if "key" in data["evidence"] else "question"
        details = data["evidence"] | {"asked": data["asked"]}
        async with self._database.write(scope) as session:
            known = await self._inbox.ever_about(session, subject)
            if any(item.details.get("asked") == data["asked"] for item in known):
                # Delivered twice: it is open, or was answered, and the answer is on its way.
                return
            # An item answers the question for which it was opened, and no later one in the same words.
            await self._inbox.withdraw(session, subject, "something is asked anew")
            await self._inbox.ask(session, kind, subject, data["question"], tuple(data["options"]), details)

    async def item_answered(self, scope: Scope, event: Envelope) -> None:
        """``inbox.answered``: hand the answer to the task that asked."""
        kind, _, place = event.subject.partition(":")
        if kind != "run":
            return
        run_id, _, task = place.partition("/")
        asked = (await self._inbox.get(scope, event.data["item_id"])).details.get("asked", 0)
        caller = scope.acting_as(event.originating_agent)
        try:
            await self._runs.answer(caller, run_id, task, event.data["answer"], asked)
        except Conflict as error:
            # Delivered twice, or the run ended meanwhile: the first answer counted.
            if error.code not in {"not_waiting", "run_not_active"}:
                raise
        except Unavailable as error:
            # The run goes on as soon as its journal can be written; its answer is kept for as long as that takes.
            raise Unavailable(STORAGE, error.message, where=error.where, hint=error.hint) from error

    async def run_finished(self, scope: Scope, event: Envelope) -> None:
        """``run.finished``: questions of its tasks have no one left to answer to."""
        async with self._database.write(scope) as session:
            await self._inbox.withdraw_below(session, f"run:{event.data['run_id']}/", "the run has ended")
