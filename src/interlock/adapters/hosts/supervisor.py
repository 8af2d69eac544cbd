"""The process that stands beside each job and service, so that it outlives the control plane and its end is on record.

Run as ``python -m interlock.adapters.hosts.supervisor FOLDER``, where FOLDER holds ``spec.json`` (see `records`). Ends with 0
once ``result.json`` is written, with 75 where the folder is taken or used up, changing nothing.

Standard library only, and little of it: there is one such process for each deployment.
"""

import errno
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from interlock.adapters.hosts import procfs, records
from interlock.adapters.hosts.child import CannotStart, HeldChild, become_subreaper
from interlock.adapters.hosts.output import OutputWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# EX_TEMPFAIL of <sysexits.h>
EXIT_TAKEN = 75
# A service that ran this long was well: the delay before its next restart begins small again.
STABLE_S = 30.0
_RETRY_S = 1.0
_SWEEP_PAUSE_S = 0.02


class Interrupted(Exception):  # noqa: N818 - not an error
    """The run ends before its commands do: ``reason`` is ``stopped`` or ``timeout``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Outcome:
    """How it ended for good, in the words of a process's status."""

    def __init__(self, reason: str, exit_code: int | None, message: str = "") -> None:
        self.reason = reason
        self.exit_code = exit_code
        self.message = message[:1000]


class Supervisor:
    """Runs the commands of one specification, one process at a time, in a single thread around `select.poll`."""

    def __init__(self, folder: str, spec: "dict[str, Any]", ready: int | None) -> None:
        self._folder = folder
        self._spec = spec
        self._ready = ready
        self._commands: Sequence[Sequence[str]] = spec["commands"]
        self._pid = 0
        self._command = 0
        self._started_at = ""
        self._exit_code: int | None = None
        self._stop_by: float | None = None
        self._timeout_at = math.inf
        pipe, self._pipe = os.pipe()
        self._output = OutputWriter(folder, pipe, spec["output_limit_bytes"], rotates=spec["kind"] == "service")
        self._wake = _wake_on_signals(self._on_stop)
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def run(self) -> None:
        """From the first command to the durable result. Raises OSError where not even the first process could be made."""
        become_subreaper()
        records.write_record(self._folder, records.SUPERVISOR, procfs.identity(os.getpid()) | {"session": os.getsid(0)})
        for name in (records.PROCESS, records.RESULT):
            records.reserve(self._folder, name)
        try:
            outcome = self._run_commands()
        except Interrupted as interruption:
            outcome = self._end_early(interruption.reason)
        except CannotStart as refusal:
            outcome = Outcome(refusal.reason, None, str(refusal))
        finally:
            self._sweep()
        while self._output.pump():
            pass
        self._record_result(outcome)

    # What is run, in which order.

    def _run_commands(self) -> Outcome:
        if self._spec["timeout_s"] is not None and self._spec["kind"] == "job":
            self._timeout_at = time.monotonic() + self._spec["timeout_s"]
        last = len(self._commands) - 1
        for index in range(len(self._commands)):
            if index == last and self._spec["kind"] == "service":
                return self._serve(index)
            self._launch(index)
            if exit_code := self._wait_for_end():
                return Outcome("failed", exit_code, self._describe_end(exit_code))
        return Outcome("completed", 0)

    def _serve(self, index: int) -> Outcome:
        """Keep the command running. What it leaves behind when it ends does not meet its successor."""
        delay_s: float = self._spec["restart_delay_s"]
        restarts = in_a_row = 0
        while True:
            self._sweep()
            began = time.monotonic()
            self._launch(index, restarts)
            exit_code = self._wait_for_end()
            self._sweep()
            if time.monotonic() - began >= STABLE_S:
                # It has proven itself since: what ended months ago is no reason to give up now.
                delay_s, in_a_row = self._spec["restart_delay_s"], 0
            if in_a_row >= self._spec["max_restarts"]:
                return Outcome("gave_up", exit_code, f"{self._describe_end(exit_code)}, after {in_a_row} restarts in a row")
            self._sleep(delay_s)
            delay_s *= 2
            restarts += 1
            in_a_row += 1

    def _describe_end(self, exit_code: int) -> str:
        name = self._commands[self._command][0]
        how = f"ended with exit code {exit_code}" if exit_code >= 0 else f"was ended by signal {-exit_code}"
        return f"command {self._command + 1} of {len(self._commands)} ('{name}') {how}"

    # One process.

    def _launch(self, index: int, restarts: int = 0) -> None:
        """Start a command, on record first. Raises CannotStart, or Interrupted while it waits for the machine to have room."""
        self._check_interruption()
        port = self._spec["port"] if self._spec["kind"] == "service" else None
        if port is not None and _is_listening(port):
            raise CannotStart("port_taken", f"something listens on 127.0.0.1:{port} already")
        while True:
            try:
                child = self._fork(index, restarts)
                break
            except FileNotFoundError:
                raise
            except OSError:
                if not self._started_at:
                    raise
                self._sleep(_RETRY_S)
        child.release()
        if self._ready is not None:
            os.close(self._ready)
            self._ready = None

    def _fork(self, index: int, restarts: int) -> HeldChild:
        child = HeldChild(self._commands[index], self._spec["environment"], self._spec["folder"], self._pipe)
        self._exit_code = None
        self._pid = child.pid
        started_at = _now()
        record = procfs.identity(child.pid) | {"started_at": started_at, "command": index, "restarts": restarts}
        try:
            records.write_record(self._folder, records.PROCESS, record)
        except OSError:
            self._pid = 0
            child.abandon()
            raise
        records.reserve(self._folder, records.PROCESS)
        self._command, self._started_at = index, started_at
        return child

    def _wait_for_end(self) -> int:
        while self._exit_code is None:
            self._check_interruption()
            self._turn(self._timeout_at)
        return self._exit_code

    def _ended(self, exit_code: int) -> None:
        self._exit_code = exit_code
        end = {"pid": self._pid, "command": self._command, "started_at": self._started_at}
        # History, not truth: on a full disk the line is lost and the result still tells how it ended.
        with suppress(OSError):
            records.append_record(self._folder, records.EXITS, end | {"ended_at": _now(), "exit_code": exit_code})

    # Ends that the commands did not choose.

    def _end_early(self, reason: str) -> Outcome:
        if reason == "stopped":
            self._terminate()
        self._sweep()
        message = f"ran longer than {self._spec['timeout_s']:g} s" if reason == "timeout" else ""
        return Outcome(reason, self._exit_code, message)

    def _terminate(self) -> None:
        """SIGTERM to every descendant, then as long as the grace lasts for them to end."""
        _signal_tree(signal.SIGTERM)
        while self._reap() and time.monotonic() < (self._stop_by or 0):
            self._turn(self._stop_by or 0)

    def _sweep(self) -> None:
        """Kill every descendant. Orphans come back to this subreaper, so none can leave its tree."""
        while self._reap():
            _signal_tree(signal.SIGKILL)
            self._turn(time.monotonic() + _SWEEP_PAUSE_S)

    def _on_stop(self, *_: object) -> None:
        """A second request can shorten the grace of the first, not lengthen it."""
        request = records.read_record(self._folder, records.STOP)
        grace_s: float = self._spec["grace_s"] if request is None else request["grace_s"]
        self._stop_by = min(self._stop_by or math.inf, time.monotonic() + grace_s)

    def _check_interruption(self) -> None:
        if self._stop_by is not None:
            raise Interrupted("stopped")
        if time.monotonic() >= self._timeout_at:
            raise Interrupted("timeout")

    # Waiting.

    def _sleep(self, duration_s: float) -> None:
        until = time.monotonic() + duration_s
        while time.monotonic() < until:
            self._check_interruption()
            self._turn(min(until, self._timeout_at))

    def _turn(self, until: float) -> None:
        """Wait for output, a signal or the moment ``until``, and deal with what came."""
        timeout_ms = None if math.isinf(until) else max(0, math.ceil((until - time.monotonic()) * 1000))
        for descriptor, _ in self._poll.poll(timeout_ms):
            if descriptor == self._wake:
                os.read(self._wake, 4096)
                self._reap()
            else:
                self._output.pump()

    def _reap(self) -> bool:
        """Collect ended children; whether any is left. Without children there are no descendants either."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._ended(os.waitstatus_to_exitcode(status))

    def _record_result(self, outcome: Outcome) -> None:
        result = {
            "reason": outcome.reason,
            "exit_code": outcome.exit_code,
            "message": outcome.message,
            "ended_at": _now(),
            "output_bytes": self._output.kept_bytes,
            "dropped_bytes": self._output.dropped_bytes,
        }
        while True:
            try:
                return records.write_record(self._folder, records.RESULT, {"state": "exited"} | result)
            except FileNotFoundError:
                # The folder was taken away by force: nobody is left to tell.
                return None
            except OSError:
                time.sleep(_RETRY_S)


def _signal_tree(number: signal.Signals) -> None:
    """Signal every descendant: by whole groups, as the kernel lets no fork slip out of a group meanwhile."""
    tree = procfs.descendants(os.getpid())
    for group in {process.group for process in tree} - {os.getpgrp()}:
        with suppress(ProcessLookupError):
            os.killpg(group, number)
    for process in tree:
        if process.group == os.getpgrp():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _now() -> str:
    moment = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03d}Z"


def _wake_on_signals(on_stop: "Any") -> int:
    """A descriptor that becomes readable whenever a child ended or an end was asked for."""
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _note)
    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, on_stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return wake


def _note(*_: object) -> None:
    """A signal with a handler, even an empty one, writes to the wake-up descriptor."""


def _detach(keep: set[int]) -> None:
    """Out of the session and the folder of whoever started this, with none of its descriptors but ``keep`` and the errors'."""
    # Fails for the leader of a process group, as when started by hand from a terminal.
    with suppress(PermissionError):
        os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) > 2 and int(entry) not in keep:
            with suppress(OSError):
                os.close(int(entry))
    for descriptor in keep:
        os.set_inheritable(descriptor, False)


def main(arguments: Sequence[str]) -> int:
    """FOLDER, or FOLDER LOCK READY: descriptors of the folder's lock, held already, and of a pipe closed at the first start."""
    folder = os.path.abspath(arguments[0])
    lock, ready = (int(arguments[1]), int(arguments[2])) if len(arguments) == 3 else (records.take_lock(folder), None)
    if lock is None or records.has_run(folder):
        return EXIT_TAKEN
    _detach({lock} if ready is None else {lock, ready})
    spec = records.read_record(folder, records.SPEC)
    if spec is None:
        raise FileNotFoundError(errno.ENOENT, "no specification", os.path.join(folder, records.SPEC))
    Supervisor(folder, spec, ready).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
