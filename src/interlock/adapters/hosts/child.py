"""A program started as the supervisor's child, in two steps: forked and held back, then, once it is on record, let go.

Standard library only: the supervisor imports this.
"""

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

# <sys/prctl.h>
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_UNUSED = (ctypes.c_ulong(0),) * 3

_libc = ctypes.CDLL(None, use_errno=True)


class CannotStart(Exception):  # noqa: N818 - reads as a sentence: raise CannotStart(...)
    """The program was not started: ``reason`` as in a process's status, and a message that names the program."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def become_subreaper() -> None:
    """From now on descendants whose parent ended become children of this process instead of the machine's first one."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), *_UNUSED) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def find_program(name: str, environment: Mapping[str, str], folder: str) -> str:
    """The path of the program that ``name`` means in that environment and folder. Raises CannotStart ``not_executable``."""
    places = [""] if "/" in name else environment.get("PATH", os.defpath).split(os.pathsep)
    paths = [os.path.join(folder, place, name) for place in places]
    files = [path for path in paths if os.path.isfile(path)]
    for path in files:
        if os.access(path, os.X_OK):
            return path
    if files:
        raise CannotStart("not_executable", f"the program '{name}' is not executable: {files[0]}")
    where = "in the folder" if "/" in name else "on the PATH of its environment"
    raise CannotStart("not_executable", f"the program '{name}' was not found {where}")


class HeldChild:
    """A forked process that waits for `release` before it becomes the program. It dies when its parent dies."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: str, output: int) -> None:
        """Fork. Raises CannotStart ``not_executable``, or OSError where the machine has no process left."""
        self._command = command
        self._environment = environment
        self._folder = folder
        path = find_program(command[0], environment, folder)
        go, self._go = os.pipe()
        self._failure, failure = os.pipe()
        parent = os.getpid()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self._go)
            os.close(self._failure)
            raise
        else:
            if self.pid == 0:
                self._become(path, parent, go, failure, output)
        finally:
            os.close(go)
            os.close(failure)

    def release(self) -> None:
        """Let it run; returns once the program is loaded. Raises CannotStart ``not_executable`` where it cannot be."""
        # Where somebody has killed it already, its end tells.
        with suppress(BrokenPipeError):
            os.write(self._go, b"g")
        os.close(self._go)
        failure = os.read(self._failure, 4096)
        os.close(self._failure)
        if failure:
            raise CannotStart("not_executable", f"'{self._command[0]}' in {self._folder}: {failure.decode(errors='replace')}")

    def abandon(self) -> None:
        """It ends without having run anything."""
        os.close(self._go)
        os.close(self._failure)

    def _become(self, path: str, parent: int, go: int, failure: int, output: int) -> None:
        """The child's side: never returns."""
        try:
            os.close(self._go)
            os.setpgid(0, 0)
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent or not os.read(go, 1):
                os._exit(1)
            _reset_signals()
            _connect(output)
            os.chdir(self._folder)
            os.execve(path, list(self._command), self._environment)  # noqa: S606 - no shell is the point
        except (OSError, ValueError) as error:
            os.write(failure, (getattr(error, "strerror", None) or str(error)).encode()[:4096])
        finally:
            os._exit(127)


def _reset_signals() -> None:
    """As a program expects them; ignored ones would stay ignored in it."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        # SIGKILL, SIGSTOP and those that the C library keeps for itself cannot be set.
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _connect(output: int) -> None:
    """Standard input from /dev/null, both outputs into ``output``. Every other descriptor closes itself."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
