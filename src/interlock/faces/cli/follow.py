"""Following a run: every event once, in order, whatever happens to the connection."""

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
    lost_at: float | None = None
    wait_s = FIRST_WAIT_S
    while True:
        try:
            with api.stream(run_id, seen) as events:
                if lost_at is not None:
                    notice("")
                lost_at, wait_s = None, FIRST_WAIT_S
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
        now = time.monotonic()
        lost_at = now if lost_at is None else lost_at
        if now - lost_at > patience_s:
            message = f"no control plane has answered at {api.url()} for {patience_s:g} s"
            raise Unreachable(
                "unreachable", message, where=run_id, hint=f"the run goes on without this: interlock watch {run_id}"
            )
        notice(f"the connection to {api.url()} is lost; trying again for {patience_s - (now - lost_at):.0f} s")
        time.sleep(wait_s)
        wait_s = min(LONGEST_WAIT_S, wait_s * 2)


def _is_over(api: Api, run_id: str, seen: int) -> bool:
    run = api.get("runs", run_id)
    return run["status"] in ENDED and run["seq"] <= seen
