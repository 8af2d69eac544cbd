"""What a supervised process leaves in its folder, and how it is written so that a crash or a full disk cannot tear it.

    lock                    flock, held by the supervisor as long as it lives
    spec.json               what to run
    supervisor.json         identity of the supervisor
    process.json            identity of the process that was started last; durable before its program begins
    stop.json               the grace asked for by the last `stop`
    exits.jsonl             one line for each end of a process
    output.<offset>.log     what it wrote, from that offset on
    dropped                 how many bytes of output were not kept
    result.json             how it all ended; durable before the supervisor ends
    supervisor.log          the supervisor's own complaints

Standard library only: the supervisor imports this.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress

TYPE_CHECKING = False  # `typing` takes longer to load than all the rest of the supervisor together
if TYPE_CHECKING:
    from typing import Any

LOCK = "lock"
SPEC = "spec.json"
SUPERVISOR = "supervisor.json"
PROCESS = "process.json"
STOP = "stop.json"
EXITS = "exits.jsonl"
RESULT = "result.json"
SUPERVISOR_LOG = "supervisor.log"

_RESERVED_BYTES = 8192


def read_record(folder: str, name: str) -> "dict[str, Any] | None":
    """The record, or None where there is none."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_record(folder: str, name: str, record: Mapping[str, object]) -> None:
    """Replace the record as a whole; it is on the disk when this returns. Raises OSError, and then the old one stands."""
    draft = os.path.join(folder, name + ".next")
    # Not truncated on opening: the blocks that `reserve` took are what makes the write safe on a full disk.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        length = os.write(descriptor, json.dumps(record).encode())
        os.ftruncate(descriptor, length)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(draft, os.path.join(folder, name))
    sync_folder(folder)


def reserve(folder: str, name: str) -> None:
    """Take the space for the next `write_record` now, as far as the disk has it."""
    with suppress(OSError):
        descriptor = os.open(os.path.join(folder, name + ".next"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _RESERVED_BYTES)
        finally:
            os.close(descriptor)


def append_record(folder: str, name: str, record: Mapping[str, object]) -> None:
    """Add a line, without waiting for the disk. Raises OSError."""
    descriptor = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(record).encode() + b"\n")
    finally:
        os.close(descriptor)


def sync_folder(folder: str) -> None:
    """Make what was created and renamed in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def has_run(folder: str) -> bool:
    """Whether a process was ever recorded there. False means that no program began."""
    return any(os.path.exists(os.path.join(folder, name)) for name in (PROCESS, RESULT))


def take_lock(folder: str, *, shared: bool = False) -> int | None:
    """The descriptor that holds the folder's lock, or None where another holds it. Raises OSError."""
    path = os.path.join(folder, LOCK)
    descriptor = os.open(path, os.O_RDWR if shared else os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        # The folder may have been removed and made anew between the two calls.
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def is_locked(folder: str) -> bool:
    """Whether a process holds the folder's lock now: a supervisor, or whoever is about to start one."""
    try:
        descriptor = take_lock(folder, shared=True)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
