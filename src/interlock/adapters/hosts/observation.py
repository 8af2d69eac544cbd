"""What became of a supervised process, told from the records in its folder and from what lives on this machine."""

import os
from datetime import UTC, datetime
from typing import Any

import msgspec

from interlock.adapters.hosts import procfs, records
from interlock.adapters.hosts.output import measure_output
from interlock.core.clock import to_text
from interlock.tools.ports import ProcessStatus


def observe(place: str) -> ProcessStatus:
    """The status of the process whose folder is ``place``, now. Changes nothing; never raises for what it finds there."""
    try:
        return _observe(place)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return ProcessStatus(state="unknown", message=f"the records in {place} cannot be read: {error}")


def remains(place: str) -> list[procfs.Process]:
    """What still runs of a process whose supervisor is gone: the members of its process group.

    Group and session must both be the recorded ones, so that numbers that went to others since are not taken for it.
    """
    process = records.read_record(place, records.PROCESS)
    supervisor = records.read_record(place, records.SUPERVISOR)
    if process is None or supervisor is None or process["boot_id"] != procfs.boot_id():
        return []
    return procfs.members(session=supervisor["session"], group=process["pid"])


def _observe(place: str) -> ProcessStatus:
    if result := records.read_record(place, records.RESULT):
        return _exited(place, result)
    # In this order: a process is recorded only after its supervisor is.
    process = records.read_record(place, records.PROCESS)
    supervisor = records.read_record(place, records.SUPERVISOR)
    if procfs.is_alive(supervisor):
        return _supervised(place, process)
    # Once more: it may have ended in good order since the first look.
    if result := records.read_record(place, records.RESULT):
        return _exited(place, result)
    if process is None or supervisor is None:
        return ProcessStatus(state="starting" if records.is_locked(place) else "absent")
    return _orphaned(place, process)


def _exited(place: str, result: dict[str, Any]) -> ProcessStatus:
    process = records.read_record(place, records.PROCESS) or {"started_at": "", "restarts": 0}
    history = {"started_at": process["started_at"], "restarts": process["restarts"]}
    return msgspec.convert(result | history, ProcessStatus)


def _supervised(place: str, process: dict[str, Any] | None) -> ProcessStatus:
    if process is None:
        return ProcessStatus(state="starting")
    spec = records.read_record(place, records.SPEC) or {}
    is_alive = procfs.is_alive(process)
    # Between two commands a job goes on; a service without its process does not serve.
    state = "running" if is_alive or spec["kind"] == "job" else "starting"
    return _recorded(place, process, state=state, pid=process["pid"] if is_alive else None)


def _orphaned(place: str, process: dict[str, Any]) -> ProcessStatus:
    """Its supervisor is gone without a word, or runs where its number means nothing to this process."""
    if records.is_locked(place):
        return _recorded(place, process, state="unknown", message="its supervisor is not visible from here, but holds its lock")
    if left := remains(place):
        numbers = ", ".join(str(each.pid) for each in left)
        return _recorded(place, process, state="unknown", message=f"its supervisor is gone, but processes of it run: {numbers}")
    message = "its supervisor ended without a word, or the machine was restarted"
    return _recorded(place, process, state="lost", message=message, ended_at=_last_written(place))


def _last_written(place: str) -> str:
    """The last sign of something of which nobody wrote down when it ended."""
    with os.scandir(place) as files:
        latest_s = max(file.stat().st_mtime for file in files)
    return to_text(datetime.fromtimestamp(latest_s, UTC))


def _recorded(place: str, process: dict[str, Any], **observed: Any) -> ProcessStatus:
    output_bytes, dropped_bytes = measure_output(place)
    history = {"started_at": process["started_at"], "restarts": process["restarts"]}
    return msgspec.convert(history | observed | {"output_bytes": output_bytes, "dropped_bytes": dropped_bytes}, ProcessStatus)
