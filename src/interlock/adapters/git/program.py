"""Runs the ``git`` program: argument lists, a bare environment, hard limits, and nothing left behind."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from interlock.core.errors import LimitReached, Unavailable

_CONFIGURATION = str(Path(__file__).with_name("gitconfig"))

_KEPT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
)
"""Variables without which git cannot find itself, the account's keys or the way out of the network."""

_SET = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": _CONFIGURATION,
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "LC_ALL": "C.UTF-8",
}

_ERROR_LIMIT_BYTES = 64 * 1024
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """How git ended: its exit code, its output, and its own words about what went wrong."""

    exit_code: int
    output: bytes
    message: str


def environment() -> dict[str, str]:
    """The whole environment of a git process."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | _SET


async def run(
    program: str,
    arguments: list[str],
    *,
    given: bytes = b"",
    timeout_s: float,
    limit_bytes: int,
    keep_open: tuple[int, ...] = (),
) -> Outcome:
    """Run ``program`` with ``arguments``, feeding it ``given``.

    ``keep_open`` are file descriptors that the process inherits. Raises Unavailable ``git_missing`` and ``git_timeout``,
    LimitReached ``output_too_large``. On any way out, also cancellation, the whole process group is gone.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
            cwd="/",
            start_new_session=True,
            pass_fds=keep_open,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise Unavailable("git_missing", f"the program {program!r} cannot be run", hint="install git 2.32 or newer") from error
    try:
        async with asyncio.timeout(timeout_s):
            feeding = asyncio.create_task(_feed(process, given))
            complaints = asyncio.create_task(_tail(process, _ERROR_LIMIT_BYTES))
            try:
                output = await _all(process, limit_bytes)
                await feeding
                message = _readable(await complaints)
                return Outcome(await process.wait(), output, message)
            finally:
                feeding.cancel()
                complaints.cancel()
    except TimeoutError as error:
        raise Unavailable("git_timeout", f"git did not end within {timeout_s:g} s", hint="try again later") from error
    finally:
        await _end(process)


async def _feed(process: asyncio.subprocess.Process, given: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - asked for above
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(given)
        await process.stdin.drain()
    process.stdin.close()


async def _all(process: asyncio.subprocess.Process, limit_bytes: int) -> bytes:
    assert process.stdout is not None  # noqa: S101 - asked for above
    output = bytearray()
    while chunk := await process.stdout.read(_CHUNK_BYTES):
        output += chunk
        if len(output) > limit_bytes:
            message = f"git's answer is larger than {limit_bytes} bytes"
            raise LimitReached("output_too_large", message, hint="ask for less")
    return bytes(output)


async def _tail(process: asyncio.subprocess.Process, limit_bytes: int) -> bytes:
    assert process.stderr is not None  # noqa: S101 - asked for above
    kept = b""
    while chunk := await process.stderr.read(_CHUNK_BYTES):
        kept = (kept + chunk)[-limit_bytes:]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # A cancelled caller still must not leave a zombie, nor a pipe that is closed by the collector of garbage.
        await asyncio.shield(process.wait())
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


def _readable(message: bytes) -> str:
    """The last lines of git's complaint, in one line and without characters that would steer a terminal."""
    lines = [line.strip() for line in message.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))] or lines[-3:]
    return "".join(letter if letter.isprintable() else "?" for letter in "; ".join(telling[:5]))[:1000]
