"""How a workload that runs under a key ended, in words and as errors; whether it is a process or a container."""

from interlock.core.errors import Conflict, InterlockError, Internal
from interlock.tools.ports import ProcessStatus, Workloads

TAIL_BYTES = 4000
_PAST_THE_END = 1 << 62


async def tail_of(workloads: Workloads, key: str) -> str:
    """The end of what it printed."""
    return (await workloads.log(key, -TAIL_BYTES, TAIL_BYTES)).text


async def length_of(workloads: Workloads, key: str) -> int:
    """The offset at which its log ends now."""
    return (await workloads.log(key, _PAST_THE_END, 0)).next_offset


def ending(status: ProcessStatus) -> str:
    """How it ended, for a message."""
    how = {
        "absent": "it never started",
        "lost": "its supervisor is gone",
        "timeout": "it ran out of time",
        "gave_up": f"it ended {status.restarts + 1} times",
    }
    how_it_ended = how.get(status.reason) or how.get(status.state) or f"exit code {status.exit_code}"
    return f"{how_it_ended}: {status.message}" if status.message else how_it_ended


def job_failure(status: ProcessStatus, commands: list[list[str]], timeout_s: float, tail: str) -> InterlockError:
    """Why a job did not complete."""
    shown = " && ".join(" ".join(command) for command in commands)
    if status.reason == "timeout":
        message = f"`{shown}` was ended after {timeout_s:g} s"
        return Conflict("command_timeout", message, hint="see the end of its output", tail=tail)
    if status.state == "exited":
        hint = "see the end of its output"
        return Conflict("command_failed", f"`{shown}`: {ending(status)}", hint=hint, tail=tail, exit_code=status.exit_code)
    if status.state == "lost":
        hint = "the host was restarted or the supervisor killed; ask for the deployment again"
        return Conflict("command_lost", f"`{shown}` vanished", hint=hint, tail=tail)
    return Internal("command_state", f"`{shown}` is {status.state}: {status.message}")
