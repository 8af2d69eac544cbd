"""``interlock serve``: one process on one data folder."""

import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

import structlog
import uvicorn
from pydantic import ValidationError

from interlock.bootstrap.joining import build
from interlock.bootstrap.lossy_stream import LossyStream
from interlock.core.errors import Conflict, InterlockError, Unavailable
from interlock.settings import Settings

LOCK = "serve.lock"
ADDRESS = "server.json"
LOCK_TRIES = 10


def serve(host: str | None, port: int | None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. The options override the settings."""
    # Both end it in order at any moment: while it starts, and when uvicorn raises again the one that it stopped for.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.redirect_stderr(LossyStream(sys.stderr)):
        return _serve(host, port)


def _serve(host: str | None, port: int | None) -> int:
    try:
        settings = _settings(host, port)
        _prepare(settings.home)
        with _sole(settings.home) as lock, _listener(settings.host, settings.port) as listener:
            _announce(settings, listener, lock)
            try:
                _run(settings, listener)
            finally:
                (settings.home / ADDRESS).unlink(missing_ok=True)
    except InterlockError as error:
        sys.stderr.write(f"interlock serve: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interlock serve: ended\n")
    return 0


def _settings(host: str | None, port: int | None) -> Settings:
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        return Settings(**given)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        # What settings say about each other names them itself.
        name = "".join(f"INTERLOCK_{part}: ".upper() for part in first["loc"][:1])
        raise Conflict("settings", f"{name}{said}", hint="see docs/settings.md") from error


def _prepare(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
        (home / "sandbox").mkdir(exist_ok=True)
        (home / "bundles").mkdir(exist_ok=True)
    except OSError as error:
        raise _unusable(home, error) from error


def _unusable(home: Path, error: OSError) -> InterlockError:
    hint = "free disk space or mend the disk, or set INTERLOCK_HOME to another folder"
    return Unavailable("data_folder", f"the data folder cannot be used: {error.strerror}", where=str(home), hint=hint)


@contextlib.contextmanager
def _sole(home: Path) -> Generator[IO[str]]:
    """Hold the data folder for this process. Raises Conflict ``already_served``, naming who holds it."""
    with (home / LOCK).open("a+") as lock:
        if not _acquire(lock):
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            message = f"the data folder is served already by {holder}"
            hint = "use that one, stop it first, or set INTERLOCK_HOME to another folder"
            raise Conflict("already_served", message, where=str(home), hint=hint)
        # What stands there is about somebody who is gone; nobody may be sent there.
        lock.truncate(0)
        (home / ADDRESS).unlink(missing_ok=True)
        yield lock


def _acquire(lock: IO[str]) -> bool:
    # More than once: the command line holds it for a moment to see whether anybody serves.
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


@contextlib.contextmanager
def _listener(host: str, port: int) -> Generator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is said so that asyncio turns off Nagle's algorithm on what it accepts: else answers wait for 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1024)
        except OSError as error:
            hint = "choose another one: interlock serve --port PORT"
            raise Conflict("address", f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error
        yield listener


def _announce(settings: Settings, listener: socket.socket, lock: IO[str]) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    aside = settings.home / (ADDRESS + ".new")
    try:
        lock.truncate(0)
        # Past the buffer: what could not be written would be tried again when it is closed.
        os.write(lock.fileno(), f"pid {os.getpid()} on {url}".encode())
        aside.write_text(json.dumps({"pid": os.getpid(), "host": host, "port": port, "url": url}))
        aside.rename(settings.home / ADDRESS)
    except OSError as error:
        raise _unusable(settings.home, error) from error
    sys.stderr.write(f"interlock serves on {url}, data in {settings.home}\n")


def _run(settings: Settings, listener: socket.socket) -> None:
    logging.basicConfig(level=settings.log_level, format="%(message)s", stream=sys.stderr)
    for chatty in ("httpx", "httpcore", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    _configure_logging(settings.log_level)
    plane = build(settings)
    # What is known to have gone wrong is told in one line below, not with a traceback.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not isinstance(plane.failure, InterlockError))
    config = uvicorn.Config(
        plane.app(),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        ws="websockets-sansio",
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except SystemExit:
        if isinstance(plane.failure, InterlockError):
            raise plane.failure from None
        raise


def _configure_logging(level: str) -> None:
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
