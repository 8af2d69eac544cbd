"""The command line with a real control plane, as a person at a terminal and as a script use it."""

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from harness.plane import until
from harness.sample import Sample
from harness.server import Server
from interlock.faces.cli.app import build_app
from interlock.faces.cli.context import CliContext

LIMIT_S = 60


class Shell:
    """Runs ``interlock`` on the data folder of a server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        context = CliContext(home=server.home, url=None, token=None, serve=lambda _host, _port: 0, demo=lambda **_: 0)
        self._context = context
        self._app = build_app(context)

    def holding(self, token: str) -> "Shell":
        """The same as somebody else, with ``INTERLOCK_TOKEN``."""
        other = Shell(self.server)
        other._app = build_app(dataclasses.replace(self._context, token=token))
        return other

    def run(self, *arguments: str) -> Result:
        """As a script does: no terminal anywhere."""
        return CliRunner().invoke(self._app, list(arguments))

    def json(self, *arguments: str, code: int = 0) -> Any:
        done = self.run(*arguments, "--json")
        assert (done.exit_code, done.stderr) == (code, ""), done.output
        return json.loads(done.stdout)

    async def type(self, typed: str, *arguments: str) -> tuple[int, str]:
        """At a terminal, with ``typed`` on the keyboard; returns the exit code and what was on the screen."""
        return await asyncio.to_thread(self._type, typed, arguments)

    def _type(self, typed: str, arguments: tuple[str, ...]) -> tuple[int, str]:
        environment = {"PATH": os.environ["PATH"], "INTERLOCK_HOME": str(self.server.home), "TERM": "xterm"}
        ours, theirs = pty.openpty()
        program = [sys.executable, "-m", "interlock", *arguments]
        process = subprocess.Popen(program, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        os.write(ours, typed.encode())
        seen = b""
        # The terminal is closed with an error once nobody else holds it.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                seen += piece
        os.close(ours)
        return process.wait(LIMIT_S), seen.decode()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shell(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shell]:
    server = Server(tmp_path_factory.mktemp("server") / "home")
    server.home.mkdir()
    await server.start()
    yield Shell(server)
    await server.clear()


@pytest.fixture
def sample(tmp_path: Path, request: pytest.FixtureRequest) -> Sample:
    made = Sample(tmp_path, f"shop-{crc32(request.node.name.encode())}")
    made.release("v1")
    return made


pytestmark = pytest.mark.asyncio(loop_scope="module")


def registered(shell: Shell, sample: Sample) -> None:
    added = shell.json("service", "add", sample.name, "--repo", str(sample.path))
    assert set(added["environments"]) == {"staging", "production"}


async def test_from_words_to_a_watched_run(shell: Shell, sample: Sample) -> None:
    registered(shell, sample)
    planned = shell.run("plan", f"deploy v1 of {sample.name} to staging")
    assert planned.exit_code == 0, planned
    plan_id = planned.stdout.split()[0]
    shown = shell.run("show", plan_id)
    assert "service.py {port}" in shown.stdout
    assert "\x1b" not in shown.stdout

    code, screen = await shell.type("y\n", "approve", plan_id, "--watch")
    assert code == 0, screen
    assert f"sha256:{hashlib.sha256(shell.run('show', plan_id, '--content').stdout_bytes).hexdigest()}" in screen
    assert "✓ completed" in screen

    watched = shell.run("watch", plan_id)
    assert watched.exit_code == 0
    lines = watched.stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1].endswith("completed")

    commands = ("plans", "runs", "releases", "incidents", "inbox", "service list", "quarantine list")
    for done in [shell.run(*command.split()) for command in commands]:
        assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert "✓ healthy" in shell.run("status", "--service", sample.name).stdout
    back = shell.run("rollback", sample.name, "--env", "staging")
    assert back.exit_code == 1, "there is nothing older to go back to"
    drill = shell.run("drill", sample.name, "--env", "staging", "--yes", "--watch")
    assert (drill.exit_code, "nothing to go back to" in drill.stderr) == (1, True)

    waits = shell.run("promote", sample.name, "--from", "staging", "--to", "production")
    assert (waits.exit_code, "confirm-staging" in waits.stdout) == (2, True)
    done = shell.run("promote", sample.name, "--to", "production", "--yes", "--watch")
    assert done.exit_code == 0, done.output


async def test_a_drill_answers_with_its_exit_code_and_the_status_keeps_it(shell: Shell, sample: Sample) -> None:
    registered(shell, sample)
    sample.release("v2")
    for version in ("v1", "v2"):
        plan = shell.json("plan", f"deploy {version} of {sample.name} to staging")["plan"]
        assert shell.run("approve", plan["plan_id"], "--yes", "--watch").exit_code == 0
    assert "rollback to v1 never proven" in shell.run("status", "--service", sample.name).stdout
    waits = shell.json("drill", sample.name, "--env", "staging", code=2)
    assert waits["plan"]["action"] == "drill"
    run = shell.json("drill", sample.name, "--env", "staging", "--to", "v1", "--yes", "--watch")
    assert run["status"] == "completed"
    await shows(shell, "rollback to v1 proven", "status", "--service", sample.name)
    folder = next(item["folder"] for item in shell.json("releases")["items"] if item["version"] == "v1")
    Path(folder, "service.py").write_text("damaged")
    refused = shell.run("drill", sample.name, "--env", "staging", "--yes", "--watch")
    assert refused.exit_code == 1
    assert f"the rollback of {sample.name} in staging would not work: service.py is not what was built" in refused.stderr
    await shows(shell, "failed its drill", "status", "--service", sample.name)
    await shows(shell, "would not work", "inbox")


async def shows(shell: Shell, text: str, *command: str) -> None:
    """Wait until the command prints the text: what a drill has shown is on record a moment after its end."""

    async def look() -> bool:
        return text in shell.run(*command).stdout

    await until(look, f"{' '.join(command)} shows {text!r}")


async def test_a_run_is_paused_says_why_it_stands_and_goes_on(shell: Shell, sample: Sample) -> None:
    gate = sample.path / "gate"
    sample.write("wait.py", f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.05)\n")
    sample.release("v2", {"build": ["python3 -I wait.py"]})
    registered(shell, sample)
    plan_id = shell.json("plan", f"deploy v2 of {sample.name} to staging")["plan"]["plan_id"]
    assert shell.run("approve", plan_id, "--yes").exit_code == 0
    await shows(shell, "build runs since", "why", plan_id)
    paused = shell.run("pause", plan_id, "--reason", "lunch").stdout
    assert "is paused by user:owner: lunch\nunder way, and goes on to its end: build\n" in paused
    assert "? paused" in shell.run("runs").stdout
    whole = shell.run("why", plan_id).stdout
    assert "the run is paused since" in whole
    assert "longest path" in whole
    one = shell.run("why", plan_id, "smoke-stagin")
    assert (one.exit_code, "has no task 'smoke-stagin'" in one.stderr) == (1, True), one.output
    told = shell.run("why", plan_id, "switch-staging").stdout
    assert told.startswith("switch-staging waits for verify-staging, which waits for"), told
    assert shell.json("why", plan_id, "build")["chain"][0]["waits_for"] == "nothing"
    assert "follow it: interlock watch" in shell.run("resume", plan_id).stdout
    gate.touch()
    assert shell.run("watch", plan_id).exit_code == 0


async def test_a_no_at_the_terminal_approves_nothing(shell: Shell, sample: Sample) -> None:
    registered(shell, sample)
    plan = shell.json("plan", f"deploy v1 of {sample.name} to staging")["plan"]
    code, screen = await shell.type("n\n", "approve", plan["plan_id"])
    assert code == 1
    assert "Not approved; nothing was done." in screen
    assert shell.json("show", plan["plan_id"])["state"] == "pending_approval"
    assert shell.json("approve", plan["plan_id"], code=2)["code"] == "not_decided"
    assert shell.json("reject", plan["plan_id"], "--reason", "not today")["reason"] == "not today"
    assert shell.json("approve", plan["plan_id"], "--yes", code=1)["code"] == "plan_state"


async def test_a_question_and_a_preview_store_nothing(shell: Shell, sample: Sample) -> None:
    registered(shell, sample)
    before = shell.json("plans")
    asked = shell.run("plan", f"deploy {sample.name} to staging")
    assert asked.exit_code == 2
    assert f"interlock plan 'deploy v1 {sample.name} to staging'" in asked.stdout
    preview = shell.run("plan", f"deploy v1 of {sample.name} to staging", "--preview")
    assert "nothing was stored" in preview.stdout
    assert shell.json("plans") == before


async def test_several_people_decide_by_the_rules_of_the_environment(shell: Shell, sample: Sample) -> None:
    registered(shell, sample)
    maria, jonas = (shell.holding(shell.json("user", "add", name)["token"]) for name in ("maria", "jonas"))
    assert [user["name"] for user in maria.json("user", "list")["items"]] == ["owner", "jonas", "maria"]
    window = "daily 00:00-24:00 Europe/Berlin"
    options = ("--approvals", "2", "--approvers", "maria,jonas", "--not-requester", "--window", window, "--busy", "wait")
    assert shell.json("environment", "set", "production", *options)["windows"] == [window]
    assert maria.json("environment", "set", "production", "--approvals", "1", code=1)["code"] == "owner_only"
    plan = shell.json("plan", f"deploy v1 of {sample.name} to production")["plan"]
    shown = jonas.run("show", plan["plan_id"]).stdout
    assert "missing  0 of 2 approvals; maria or jonas" in shown
    assert "production  2 approvals by maria or jonas, not by whoever asked" in shown
    assert shell.json("approve", plan["plan_id"], "--yes", code=1)["code"] == "requester"
    first = maria.run("approve", plan["plan_id"], "--yes", "--watch")
    assert (first.exit_code, "1 of 2 approvals; jonas" in first.stdout) == (2, True)
    assert "1 of 2 approvals; jonas" in shell.run("inbox").stdout
    shell.json("environment", "freeze", "production", "--reason", "end of year")
    assert jonas.json("approve", plan["plan_id"], "--yes", code=1)["code"] == "frozen"
    waits = jonas.run("approve", plan["plan_id"], "--yes", "--when-open").stdout
    assert "is approved; it starts by itself" in waits
    assert "frozen by owner: end of year" in shell.run("environment", "list").stdout
    assert shell.json("environment", "thaw", "production")["open"]
    assert shell.run("watch", plan["plan_id"]).exit_code == 0
    assert f"{sample.name} v1" in maria.run("environment", "list").stdout
    cleared = ("--approvals", "1", "--approvers", "anybody", "--requester", "--window", "always", "--busy", "refuse")
    assert shell.json("environment", "set", "production", *cleared)["approvers"] == []
    assert "the token is void" in shell.run("user", "remove", "maria").stdout
    assert maria.json("plans", code=1)["code"] == "unauthenticated"


async def test_the_exported_record_is_verified_without_the_server(shell: Shell, tmp_path: Path) -> None:
    verdict = shell.json("audit", "verify")
    assert verdict["ok"]
    file = tmp_path / "record.jsonl"
    assert shell.run("audit", "export", str(file)).exit_code == 0
    assert shell.json("audit", "verify", "--file", str(file), "--head", verdict["head"])["ok"]
    altered = file.read_text().replace("service.added", "service.lost", 1)
    file.write_text(altered)
    assert not shell.json("audit", "verify", "--file", str(file), code=1)["ok"]
