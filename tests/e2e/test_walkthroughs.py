"""The worked examples of the README and of the docs run as they stand, against a real control plane."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.ports import port_range
from interlock.adapters.hosts.local import LocalHost

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh walkthrough(?: exit=(\d+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WAIT = "until interlock status >/dev/null 2>&1; do sleep 0.2; done\n"
PAGES = [ROOT / "README.md", ROOT / "docs" / "delivery.md", ROOT / "docs" / "api.md"]


def blocks(page: Path) -> list[tuple[int, str]]:
    return [(int(code or 0), text) for code, text in BLOCK.findall(page.read_text())]


def script() -> str:
    """All blocks of all pages in one shell, in order: the pages build on the README's walk."""
    lines = ["set -eu", "trap 'kill $(jobs -p)' EXIT"]
    for page in PAGES:
        for code, text in blocks(page):
            # A reader has the server in a terminal of its own and goes on when it is up.
            body = re.sub(r"^interlock serve &\n", f"interlock serve --port 0 &\n{WAIT}", text, flags=re.MULTILINE)
            lines.append(f"echo '--- {page.name}'")
            lines.append(body if code == 0 else f"code=0; ( {body} ) || code=$?; test $code = {code}")
    return "\n".join(lines)


def run(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script()], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=140
    )


@pytest.mark.timeout(150)
async def test_every_walkthrough_runs_as_it_stands(tmp_path: Path) -> None:
    first_port, last_port = port_range()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "INTERLOCK_HOME": str(tmp_path / "home"),
        "INTERLOCK_FIRST_PORT": str(first_port),
        "INTERLOCK_LAST_PORT": str(last_port),
        "GIT_AUTHOR_NAME": "reader",
        "GIT_AUTHOR_EMAIL": "reader@localhost",
        "GIT_COMMITTER_NAME": "reader",
        "GIT_COMMITTER_EMAIL": "reader@localhost",
    }
    environment.pop("INTERLOCK_URL", None)
    host = LocalHost(tmp_path / "home" / "processes")
    try:
        result = await asyncio.to_thread(run, tmp_path, environment)
    finally:
        for key in await host.list():
            await host.stop(key, 1.0)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert "v1.0.0" in result.stdout


def test_there_is_something_to_run() -> None:
    assert all(blocks(page) for page in PAGES)
