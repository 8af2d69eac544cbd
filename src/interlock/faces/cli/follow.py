"""Following a run or a log: every event once, in order, whatever happens to the connection."""

import time
from collections.abc import Callable, Iterator

from interlock.faces.cli.api import Api
from interlock.faces.cli.failures import Refused, Unreachable
from interlock.faces.cli.text import Doc

PATIENCE_S = 30.0
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 2.0

ENDED = frozenset({"completed", "failed", "cancelled", "rolled_back"})
"""The states of a run that is over."""


def follow(api: Api, run_id: str, notice: Callable[[str], None], patience_s: float = PATIENCE_S) -> Iterator[Doc]:
    """The events of a run from the first to the last. A server that goes away is waited for during ``patience_s``.

    ``notice`` is told that the connection is lost, and the empty text once it is back. Raises `Unreachable` when the patience
    is over, `Refused` when the server says no.
    """
    seen = 0
    patience = _Patience(api, notice, patience_s, run_id, f"the run goes on without this: interlock watch {run_id}")
    while True:
        refused: Refused | None = None
        try:
            with api.stream(run_id, seen) as events:
                patience.is_back()
                for event in events:
                    # What comes again after a reconnect has been seen.
                    if event["seq"] > seen:
                        seen = event["seq"]
                        yield event
                        if event["type"] == "RunFinished":
                            return
            if _is_over(api, run_id, seen):
                return
        except Unreachable:
            pass
        except Refused as error:
            # A server that starts or stops may answer with a fault; any other answer is final.
            if error.status < 500:
                raise
            refused = error
        patience.wait(refused)


def follow_log(
    api: Api, path: tuple[str, ...], query: Doc, notice: Callable[[str], None], patience_s: float = PATIENCE_S
) -> Iterator[Doc]:
    """The events of the log at ``path``, from where ``query`` says on; ends only with the one deployment that was asked for.

    After a lost connection it goes on behind the last event. ``notice`` and what is raised are those of `follow`.
    """
    cursor, deployment = "", ""
    patience = _Patience(api, notice, patience_s, "", "the service goes on without this; follow its log again later")
    while True:
        refused: Refused | None = None
        try:
            with api.live(*path, last_id=cursor, **query) as events:
                patience.is_back()
                for event in events:
                    cursor = event["cursor"]
                    # Told at every beginning; after a reconnect it is no news.
                    if event["type"] != "deployment" or event["deployment_id"] != deployment:
                        yield event
                    deployment = event.get("deployment_id", deployment)
                    if event["type"] == "end":
                        return
        except Unreachable:
            # Nobody who was there has gone away.
            if not cursor:
                raise
        except Refused as error:
            if error.status < 500 or not cursor:
                raise
            refused = error
        patience.wait(refused)


class _Patience:
    """Waits for a control plane that went away, longer from time to time, until ``patience_s`` are over."""

    def __init__(self, api: Api, notice: Callable[[str], None], patience_s: float, where: str, hint: str) -> None:
        self._api = api
        self._notice = notice
        self._patience_s = patience_s
        self._where = where
        self._hint = hint
        self._lost_at: float | None = None
        self._wait_s = FIRST_WAIT_S

    def is_back(self) -> None:
        """The connection is there."""
        if self._lost_at is not None:
            self._notice("")
        self._lost_at, self._wait_s = None, FIRST_WAIT_S

    def wait(self, refused: Refused | None = None) -> None:
        """The connection is lost, or what answers has ``refused`` for now. Raises `Unreachable`, or the refusal, when it has
        been for too long."""
        now, url = time.monotonic(), self._api.url()
        self._lost_at = now if self._lost_at is None else self._lost_at
        left_s = self._patience_s - (now - self._lost_at)
        if left_s < 0 and refused is not None:
            raise refused
        if left_s < 0:
            message = f"no control plane has answered at {url} for {self._patience_s:g} s"
            raise Unreachable("unreachable", message, where=self._where, hint=self._hint)
        problem = refused.message if refused else f"the connection to {url} is lost"
        self._notice(f"{problem}; trying again for {left_s:.0f} s")
        time.sleep(self._wait_s)
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)


def _is_over(api: Api, run_id: str, seen: int) -> bool:
    run = api.get("runs", run_id)
    return run["status"] in ENDED and run["seq"] <= seen
