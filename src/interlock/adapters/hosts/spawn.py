"""Starting a supervisor: the folder claimed under its lock, and the lock handed over to the new process without a gap."""

import errno
import fcntl
import os
import select
import sys
import time
from pathlib import Path

import msgspec

import interlock
from interlock.adapters.hosts import procfs, records
from interlock.core.errors import Conflict
from interlock.tools.ports import ProcessSpec

_LOCK_TIMEOUT_S = 5.0
_LOCK_PAUSE_S = 0.01

# Isolated from this process's environment and site packages: it starts in half the time, and nothing of them leaks into it.
_INTERPRETER_FLAGS = ("-I", "-S")
# Imported, not run as a file, so that its compiled form is used.
_BOOT = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from interlock.adapters.hosts.supervisor import main; sys.exit(main(sys.argv[1:]))"
)
_PACKAGES = str(Path(interlock.__file__).parent.parent)
# Above every number that is given a meaning in the new process.
_LOWEST_SPARE_DESCRIPTOR = 10
_LOCK_DESCRIPTOR, _READY_DESCRIPTOR = 3, 4


def claim(place: str) -> int:
    """The lock of the folder, which is made if need be; its holder alone may start something there.

    A folder in which no process was ever recorded, as a crash between the steps of a start leaves it, can be claimed anew.
    Raises Conflict ``process_exists``, OSError.
    """
    until = time.monotonic() + _LOCK_TIMEOUT_S
    while time.monotonic() < until:
        _make_folder(place)
        if is_used(place):
            break
        # Not free while somebody else starts something there, nor for the instant in which somebody looks at it.
        if (lock := records.take_lock(place)) is not None:
            if not is_used(place):
                return _raise_descriptor(lock)
            os.close(lock)
        time.sleep(_LOCK_PAUSE_S)
    raise Conflict("process_exists", "a process was started under this key before", where=place, hint="look at its status")


def is_used(place: str) -> bool:
    """Whether anything ran there, or is about to."""
    return records.has_run(place) or procfs.is_alive(records.read_record(place, records.SUPERVISOR))


def spawn(place: str, spec: ProcessSpec, lock: int) -> tuple[int, int]:
    """Start the supervisor of a claimed folder, in a session of its own.

    Returns its process number and a descriptor that ends when the first process runs or none will. Raises OSError.
    """
    for name in (records.SUPERVISOR, records.STOP):
        Path(place, name).unlink(missing_ok=True)
    records.write_record(place, records.SPEC, msgspec.to_builtins(spec))
    ready, announce = os.pipe()
    announce = _raise_descriptor(announce)
    arguments = (sys.executable, *_INTERPRETER_FLAGS, "-c", _BOOT, _PACKAGES, place)
    log = os.path.join(place, records.SUPERVISOR_LOG)
    try:
        pid = os.posix_spawn(
            sys.executable,
            (*arguments, str(_LOCK_DESCRIPTOR), str(_READY_DESCRIPTOR)),
            {},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                (os.POSIX_SPAWN_DUP2, lock, _LOCK_DESCRIPTOR),
                (os.POSIX_SPAWN_DUP2, announce, _READY_DESCRIPTOR),
            ],
            setsid=True,
            setsigmask=(),
        )
    except OSError:
        os.close(ready)
        raise
    finally:
        os.close(announce)
    return pid, ready


def wait_until_ready(ready: int, timeout_s: float) -> None:
    """Wait for what `spawn` promises, and close the descriptor."""
    poll = select.poll()
    poll.register(ready, select.POLLIN)
    try:
        poll.poll(timeout_s * 1000)
    finally:
        os.close(ready)


def complaint(place: str) -> str:
    """The last thing that a supervisor said before it gave up."""
    try:
        lines = Path(place, records.SUPERVISOR_LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return ""
    return next((line for line in reversed(lines) if line), "")


def _make_folder(place: str) -> None:
    parent = os.path.dirname(place)
    os.makedirs(parent, mode=0o700, exist_ok=True)
    try:
        os.mkdir(place, mode=0o700)
    except FileExistsError:
        if not os.path.isdir(place):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place) from None
    else:
        records.sync_folder(parent)


def _raise_descriptor(descriptor: int) -> int:
    """The same open file under a number that is out of the way, still closed by any other exec."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOWEST_SPARE_DESCRIPTOR)
    finally:
        os.close(descriptor)
