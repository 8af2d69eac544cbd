"""The story from the first line to the last, and what becomes of it when it is interrupted."""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

from interlock.demo.api import Api
from interlock.demo.checks.altered_plan import approve_altered
from interlock.demo.checks.bad_release import deploy_bad_release
from interlock.demo.checks.crash import kill_control_plane
from interlock.demo.checks.first_releases import deploy_greeter, deploy_quotes
from interlock.demo.checks.quarantine import try_again
from interlock.demo.checks.record import verify_record
from interlock.demo.command_line import CommandLine
from interlock.demo.control_plane import ControlPlane
from interlock.demo.ending import end, known_processes
from interlock.demo.findings import Findings, expect
from interlock.demo.repositories import SampleRepository
from interlock.demo.scene import Scene
from interlock.demo.stage import Stage, set_up
from interlock.demo.telling import Teller, make_console

INTERRUPTED = 130
USAGE = 2
VERSIONS = {"greeter": ("v1.0.0", "v1.1.0", "v1.2.0"), "quotes": ("v1.0.0",)}
CHAPTERS: tuple[Callable[[Scene], None], ...] = (
    deploy_bad_release,
    try_again,
    kill_control_plane,
    approve_altered,
    verify_record,
)


def tell(*, once: bool, as_json: bool, keep: bool) -> int:
    """Tell the story; returns 0 only if every check was observed true.

    Nothing is left running or lying about, however it ends, unless ``keep`` is given and the story came to its end. ``once``
    says that nothing may stay, which is so without it too; it cannot go with ``keep``. With ``as_json`` one JSON document is
    printed and nothing else.
    """
    if once and keep:
        sys.stderr.write("interlock demo: --once leaves nothing behind, --keep does: give one of them\n")
        return USAGE
    began = time.monotonic()
    findings = Findings()
    teller = Teller(make_console(is_silent=as_json))
    is_interrupted = False
    with _interruptions():
        try:
            _perform(findings, teller, keep=keep)
        except KeyboardInterrupt:
            is_interrupted = True
    seconds = time.monotonic() - began
    if as_json:
        sys.stdout.write(json.dumps(_document(findings, seconds, is_interrupted=is_interrupted), indent=2) + "\n")
    else:
        teller.summary(findings.checks, seconds)
    if is_interrupted:
        return INTERRUPTED
    return 0 if findings.ok else 1
