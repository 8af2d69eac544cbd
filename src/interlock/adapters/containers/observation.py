"""What became of a container, told from what the engine says of it."""

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
_NOT_FOUND = {126: "cannot be executed", 127: "was not found"}
"""What shells and the engine's small init end with."""
_TOO_MUCH = "it needed more memory than it may have"
"""Engines keep that in mind over a restart."""


def observe(found: Data) -> ProcessStatus:
    """The status of a container from its inspection. ``absent`` where it was made and never started: nothing came of that."""
    state: Data = found["State"]
    status: str = state["Status"]
    history: Data = {"restarts": found.get("RestartCount", 0), "started_at": _time(state.get("StartedAt", ""))}
    if status in {"running", "paused"}:
        message = "it is paused" if status == "paused" else _TOO_MUCH if state.get("OOMKilled") else ""
        return ProcessStatus(state="running", pid=state.get("Pid") or None, message=message, **history)
    if status == "restarting":
        message = _TOO_MUCH if state.get("OOMKilled") else "it ended and is about to be started again"
        return ProcessStatus(state="starting", message=message, **history)
    if never_ran(found):
        return ProcessStatus(state="absent")
    if status == "dead":
        return ProcessStatus(state="lost", message="the engine could not remove it", **history)
    return _ended(found, state, history)


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


def _ended(found: Data, state: Data, history: Data) -> ProcessStatus:
    error, code = str(state.get("Error") or ""), int(state["ExitCode"])
    if _PORT_TAKEN.search(error):
        return ProcessStatus(state="exited", reason="port_taken", message=_short(error), **history)
    if error and _NOT_EXECUTABLE.search(error) and str(state.get("StartedAt", _NEVER)).startswith(_NEVER):
        return ProcessStatus(state="exited", reason="not_executable", message=_short(error), **history)
    ending: dict[str, Any] = {"exit_code": _as_signal(code), "message": _short(error), **history}
    if is_marked(found):
        return ProcessStatus(state="exited", reason="stopped", **ending)
    if state.get("OOMKilled"):
        ending["message"] = _TOO_MUCH
    elif code == _KILLED:
        ending["message"] = "it was killed from outside: by hand, or because the engine ended"
        return ProcessStatus(state="lost", **ending)
    elif code in _NOT_FOUND:
        ending["message"] = error or f"the program {_program(found)!r}, or one that it calls, {_NOT_FOUND[code]}"
        return ProcessStatus(state="exited", reason="not_executable", **ending)
    return ProcessStatus(state="exited", reason=_reason(found, code), **ending)


def _reason(found: Data, code: int) -> Any:
    if code == 0:
        return "completed"
    is_job = found["Config"]["Labels"].get(KIND_LABEL) == "job"
    return "failed" if is_job else "gave_up"


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
