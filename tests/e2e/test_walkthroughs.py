"""The worked examples of the README and of the docs run as they stand, against a real control plane."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from harness.containers import TestEngine, docker
from harness.ports import port_range
from interlock.adapters.hosts.local import LocalHost

ROOT = Path(__file__).parents[2]
# A block inside of a list is indented with it.
BLOCK = re.compile(
    r"^(?P<indent> *)```sh walkthrough(?P<options>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
NAMES = ("incidents", "notifications", "delivery", "api", "ai-module", "environments")
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in NAMES)]
CONTAINERS = ROOT / "docs" / "containers.md"
RECEIVER = re.search(r"^```python receiver\n(.*?)^```$", PAGES[2].read_text(), re.MULTILINE | re.DOTALL)
GIVEN = {
    "receiver": f"cat > receiver.py <<'END'\n{RECEIVER[1] if RECEIVER else ''}END\n",
    "alarm": """
key=$(interlock status --service greeter --env staging --json | field '["items"][0]["serving"]["instances"][0]["key"]')
kill $(field '["pid"]' < "$INTERLOCK_HOME/processes/$key/supervisor.json")
until interlock inbox | grep --quiet "stopped from outside"; do sleep 0.1; done
""",
    "killed": """
key=$(interlock status --service greeter --env staging --json | field '["items"][0]["serving"]["instances"][0]["key"]')
supervisor=$(field '["pid"]' < "$INTERLOCK_HOME/processes/$key/supervisor.json")
kill $supervisor
while kill -0 $supervisor 2> /dev/null; do sleep 0.1; done
""",
}
"""What a block rests on that a reader meets and does not make: it happens before the block."""


def blocks(page: Path) -> list[tuple[dict[str, str], str]]:
    """The options of each block (``exit``: its exit code; ``given``: what happened before it), and its commands."""
    found = BLOCK.finditer(page.read_text())
    return [(dict(re.findall(r"(\w+)=(\S+)", block["options"])), textwrap.dedent(block["text"])) for block in found]


def script(pages: Sequence[Path]) -> str:
    """All blocks of these pages in one shell, in order: the pages build on the README's walk."""
    lines = ["set -eu", "trap 'kill $(jobs -p)' EXIT"]
    lines.append("""field() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }""")
    for page in pages:
        for options, text in blocks(page):
            lines += [f"echo '--- {page.name}'", GIVEN.get(options.get("given", ""), "")]
            code = options.get("exit", "0")
            lines.append(text if code == "0" else f"code=0; ( {text} ) || code=$?; test $code = {code}")
    return "\n".join(lines)


def run(folder: Path, environment: dict[str, str], pages: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    """Run the blocks in a session of their own, nothing of which outlives this but what the control plane supervises."""
    command = ["bash", "-c", script(pages)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, env=environment, text=True, start_new_session=True, **pipes) as process:
        try:
            output, errors = process.communicate(timeout=280)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def environment_of(folder: Path) -> dict[str, str]:
    """What a reader's shell has in ``folder``: the examples, a data folder and ports of his own."""
    first_port, last_port = port_range()
    home = folder / "home"
    (folder / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "INTERLOCK_HOME": str(home),
        "INTERLOCK_PORT": "0",
        "INTERLOCK_DRIFT_INTERVAL_S": "0.5",
        "INTERLOCK_NOTIFY_ALLOW": "127.0.0.1",
        "INTERLOCK_FIRST_PORT": str(first_port),
        "INTERLOCK_LAST_PORT": str(last_port),
        "GIT_AUTHOR_NAME": "reader",
        "GIT_AUTHOR_EMAIL": "reader@localhost",
        "GIT_COMMITTER_NAME": "reader",
        "GIT_COMMITTER_EMAIL": "reader@localhost",
    }
    environment.pop("INTERLOCK_URL", None)
    return environment


@pytest.mark.timeout(300)
async def test_every_walkthrough_runs_as_it_stands(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = environment_of(tmp_path)
    host = LocalHost(home / "processes")
    try:
        result = await asyncio.to_thread(run, tmp_path, environment, PAGES)
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
        assert "v1.0.0" in result.stdout
        assert {path.name for path in home.iterdir() if "-" not in path.name} <= documented_files()
        await end_as_documented(home, host)
    finally:
        for key in await host.list():
            await host.stop(key, 1.0)


@pytest.mark.timeout(300)
async def test_the_walk_with_containers_runs_as_it_stands(tmp_path: Path, container_engine: TestEngine) -> None:
    python = await asyncio.to_thread(container_engine.python)
    engine = {"INTERLOCK_CONTAINER_ENGINE": container_engine.url, "INTERLOCK_CONTAINER_PYTHON_IMAGE": python}
    host = LocalHost(tmp_path / "home" / "processes")
    before = on_engine(container_engine, "ps", "--all"), on_engine(container_engine, "images")
    try:
        result = await asyncio.to_thread(run, tmp_path, environment_of(tmp_path) | engine, [PAGES[0], CONTAINERS])
        assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
        assert "FROM " in result.stdout
        assert on_engine(container_engine, "ps") <= before[0], "the walk stops its container"
    finally:
        containers = on_engine(container_engine, "ps", "--all") - before[0]
        docker(container_engine.url, "rm", "--force", "--volumes", *containers, check=False)
        docker(container_engine.url, "rmi", "--force", *(on_engine(container_engine, "images") - before[1]), check=False)
        for key in await host.list():
            await host.stop(key, 1.0)


def on_engine(engine: TestEngine, *what: str) -> set[str]:
    """The ids of containers or images of the service of the walk."""
    return set(docker(engine.url, *what, "--quiet", "--filter", "label=interlock.service=stations").stdout.split())


def documented_files() -> set[str]:
    table = (ROOT / "docs" / "delivery.md").read_text().partition("## Where it all lies")[2]
    return {
        name.rstrip("/") for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(.*?)`", cell)
    }


async def end_as_documented(home: Path, host: LocalHost) -> None:
    """What `pgrep` finds by the folder on the command line are the supervisors of all that runs, and SIGTERM ends them."""
    running = [key for key, status in (await host.list()).items() if status.state == "running"]
    assert running == ["interlock-forwarder-1"], "the walk stops its service and leaves the forwarder"
    supervisors = [json.loads((home / "processes" / key / "supervisor.json").read_text())["pid"] for key in running]
    if shutil.which("pgrep"):
        listed = await asyncio.to_thread(subprocess.check_output, ["pgrep", "--full", f"{home}/processes/"], text=True)
        assert [int(number) for number in listed.split()] == supervisors
    for pid in supervisors:
        os.kill(pid, signal.SIGTERM)
    for key in running:
        assert (await host.wait(key, 15.0)).state == "exited"


def test_there_is_something_to_run() -> None:
    assert all(blocks(page) for page in (*PAGES, CONTAINERS))
