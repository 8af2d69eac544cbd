"""What became of a container, told from what the engine says of it."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from interlock.adapters.containers.configuration import KIND_LABEL, STOPPING_SHARES
from interlock.adapters.containers.connection import Data
from interlock.core.clock import to_text
from interlock.tools.ports import ProcessStatus

NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_PORT_TAKEN = re.compile(r"port is already allocated|address already in use|proxy already running", re.IGNORECASE)
_NOT_EXECUTABLE = re.compile(
    r"executable file not found|no such file or directory|permission denied|exec format error|is a directory", re.IGNORECASE
)
_NEVER = "0001-01-01"
_FIRST_SIGNAL, _LAST_SIGNAL = 129, 192
_KILLED = 137
_TERMINATED = 143
_BY_HAND = frozenset({"kill", "stop"})
_ENDED = frozenset({"die", "died"})
"""Docker's word and Podman's."""
_NOT_FOUND = {126: "cannot be executed", 127: "was not found"}
"""What shells and the engine's small init end with."""
_STOPPED = "it was stopped from outside: by hand, or because the engine or the machine was started anew"
_BEFORE_S, _AFTER_S = 10.0, 1.0
LIVE = ("running", "paused", "restarting")
_TOO_MUCH = "it needed more memory than it may have"
"""Engines keep that in mind over a restart."""


def observe(found: Data, is_by_hand: bool | None = None) -> ProcessStatus:
    """The status of a container from its inspection. ``absent`` where it was made and never started: nothing came of that.

    ``is_by_hand`` is what `told_by_events` says of its end, where that `needs_events`.
    """
    state: Data = found["State"]
    status: str = state["Status"]
    history: Data = {
        "identity": found["Id"],
        "restarts": found.get("RestartCount", 0),
        "started_at": _time(state.get("StartedAt", "")),
    }
    if status in {"running", "paused"}:
        message = "it is paused" if status == "paused" else _TOO_MUCH if state.get("OOMKilled") else ""
        # Whoever froze a service stopped it from outside: it serves nobody, and that is no fault of its own. A job has time.
        is_frozen = status == "paused" and not _is_job(found)
        now = "lost" if is_frozen else "running"
        return ProcessStatus(state=now, pid=state.get("Pid") or None, message=message, **history)
    if status == "restarting":
        message = _TOO_MUCH if state.get("OOMKilled") else "it ended and is about to be started again"
        return ProcessStatus(state="starting", message=message, **history)
    if never_ran(found):
        return ProcessStatus(state="absent")
    # Of what ends at once the engine may note the start a moment late, after the end of which its runtime told.
    history["ended_at"] = max(history["started_at"], _time(state.get("FinishedAt", "")))
    if status == "dead":
        return ProcessStatus(state="lost", message="the engine could not remove it", **history)
    return _ended(found, state, history, is_by_hand)


def is_live(found: Data) -> bool:
    """Whether something of it is there that can be stopped."""
    return found["State"]["Status"] in LIVE


def needs_events(found: Data) -> bool:
    """Whether it takes the engine's events to tell who ended it: a service that nobody here stopped and that its exit code and
    restarts do not tell of."""
    state: Data = found["State"]
    has_ended = state["Status"] == "exited" and not never_ran(found) and not state.get("Error")
    if not has_ended or _is_job(found) or is_marked(found):
        return False
    return not _was_due(found) and int(state["ExitCode"]) != _KILLED


def events_query(found: Data) -> Data:
    """Which events tell of the end of a container: from before its grace began to just after its end."""
    ended = datetime.fromisoformat(_time(found["State"]["FinishedAt"])).timestamp()
    since = ended - int(found["Config"].get("StopTimeout") or 10) - _BEFORE_S
    filters = json.dumps({"type": ["container"], "container": [found["Id"]]})
    return {"since": f"{since:.6f}", "until": f"{ended + _AFTER_S:.6f}", "filters": filters}


def told_by_events(answer: bytes) -> bool | None:
    """Whether somebody told the engine to end the container. None where the engine does not know any more: it keeps few events,
    and none over its own end."""
    actions = {json.loads(line).get("Action", "") for line in answer.splitlines() if line.strip()}
    if actions & _BY_HAND:
        return True
    return False if actions & _ENDED else None


def explains_itself(error: str) -> bool:
    """Whether these words say why a container did not start, and starting it again would be in vain."""
    return bool(_PORT_TAKEN.search(error) or _NOT_EXECUTABLE.search(error))


def never_ran(found: Data) -> bool:
    """Whether nothing came of it: made, and never told to start or not for want of space. Its key may be used again."""
    state: Data = found["State"]
    error = state.get("Error") or ""
    return str(state.get("StartedAt", _NEVER)).startswith(_NEVER) and (not error or bool(NO_SPACE.search(error)))


def is_marked(found: Data) -> bool:
    """Whether its end was asked for."""
    return found["HostConfig"].get("CpuShares") == STOPPING_SHARES


def _ended(found: Data, state: Data, history: Data, is_by_hand: bool | None) -> ProcessStatus:
    error, code = str(state.get("Error") or ""), int(state["ExitCode"])
    if _PORT_TAKEN.search(error):
        return ProcessStatus(state="exited", reason="port_taken", message=_short(error), **history)
    if error and _NOT_EXECUTABLE.search(error) and str(state.get("StartedAt", _NEVER)).startswith(_NEVER):
        return ProcessStatus(state="exited", reason="not_executable", message=_short(error), **history)
    ending: dict[str, Any] = {"exit_code": _as_signal(code), "message": _short(error), **history}
    if is_marked(found):
        return ProcessStatus(state="exited", reason="stopped", **ending)
    if not error and not _is_job(found) and _was_stopped(found, code, is_by_hand):
        doubt = " (it ended well, and the engine does not know any more who told it to)" if not code and not is_by_hand else ""
        ending["message"] = _STOPPED + doubt
        return ProcessStatus(state="lost", **ending)
    if state.get("OOMKilled"):
        ending["message"] = _TOO_MUCH
    elif code == _KILLED:
        ending["message"] = "it was killed from outside: by hand, or because the engine ended"
        return ProcessStatus(state="lost", **ending)
    elif code in _NOT_FOUND:
        ending["message"] = error or f"the program {_program(found)!r}, or one that it calls, {_NOT_FOUND[code]}"
        return ProcessStatus(state="exited", reason="not_executable", **ending)
    return ProcessStatus(state="exited", reason=_reason(found, code), **ending)


def _was_stopped(found: Data, code: int, is_by_hand: bool | None) -> bool:
    """Whether somebody outside ended a service. What neither its restarts nor the engine's events tell is told from its code:
    0 and a request to end are what somebody asked for more often than not, and to blame a good release is worse than to ask."""
    if _was_due(found) or is_by_hand:
        return True
    if code == 0:
        return is_by_hand is None
    return code == _TERMINATED and not _restarts_on_failure(found)


def _was_due(found: Data) -> bool:
    """Whether the engine would have started it again, had it ended by itself: it leaves alone what somebody stopped."""
    most = found["HostConfig"]["RestartPolicy"].get("MaximumRetryCount", 0)
    has_more = not most or found.get("RestartCount", 0) < most
    return _restarts_on_failure(found) and has_more and found["State"]["ExitCode"] != 0


def _restarts_on_failure(found: Data) -> bool:
    return found["HostConfig"]["RestartPolicy"].get("Name") == "on-failure"


def _is_job(found: Data) -> bool:
    return found["Config"]["Labels"].get(KIND_LABEL) == "job"


def _reason(found: Data, code: int) -> Any:
    if code == 0:
        return "completed"
    return "failed" if _is_job(found) else "gave_up"


def _program(found: Data) -> str:
    words: list[str] = [*(found["Config"].get("Entrypoint") or ()), *(found["Config"].get("Cmd") or ())]
    return words[0] if words else ""


def _as_signal(code: int) -> int:
    """As `subprocess` counts: an engine says 128 and the number of the signal."""
    return 128 - code if _FIRST_SIGNAL <= code <= _LAST_SIGNAL else code


def _time(text: str) -> str:
    """The engine's time, which has nanoseconds, in Interlock's form."""
    if not text or text.startswith(_NEVER):
        return ""
    whole, _, rest = text.partition(".")
    digits = re.match(r"\d*", rest)
    moment = datetime.fromisoformat(whole.rstrip("Z")).replace(tzinfo=UTC)
    return to_text(moment.replace(microsecond=int(((digits[0] if digits else "") + "000000")[:6])))


def _short(error: str) -> str:
    return error[:500]
