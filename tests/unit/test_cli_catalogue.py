"""The commands: all there, all described, and none of them loaded before it runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from interlock.faces.cli.app import build_app
from interlock.faces.cli.catalogue import COMMANDS, GROUPS
from interlock.faces.cli.context import CliContext

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
HEAVY = ("httpx", "rich", "msgspec", "interlock.sources", "interlock.plans", "interlock.faces.cli.commands")


@pytest.fixture
def context(tmp_path: Path) -> CliContext:
    return CliContext(home=tmp_path, url=None, token=None, serve=lambda _host, _port: 0, demo=lambda **_: 0)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_loads_and_explains_itself(path: str, context: CliContext) -> None:
    result = CliRunner().invoke(build_app(context), [*path.split(), "--help"])
    assert result.exit_code == 0
    assert f"interlock {path}" in result.stdout.replace("root", "interlock")
    assert COMMANDS[path].help.split()[0] in result.stdout


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_documented_with_all_of_its_options(path: str, context: CliContext) -> None:
    text = DOCUMENT.read_text()
    heading = f"\n### interlock {path}\n"
    assert heading in text
    chapter = re.split(r"\n##+ ", text.split(heading)[1])[0]
    assert "```" in chapter
    command = get_command(build_app(context))
    for word in path.split():
        command = command.get_command(None, word)  # type: ignore[attr-defined]
    options = {name for parameter in command.params for name in parameter.opts if name.startswith("--")} - {"--help"}
    assert not {option for option in options if f"`{option}" not in chapter}


def test_every_group_has_commands() -> None:
    assert {path.split()[0] for path in COMMANDS if " " in path} == set(GROUPS)


def test_help_loads_no_command_and_nothing_heavy() -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from interlock.faces.cli.app import build_app\nfrom interlock.faces.cli.context import CliContext\n"
        "context = CliContext(home=Path('/'), url=None, token=None, serve=print, demo=print)\n"
        "try:\n    build_app(context)(['--help'])\nexcept SystemExit:\n    pass\n"
        f"heavy = {HEAVY!r}\n"
        "sys.exit(', '.join(name for name in sys.modules if name.startswith(heavy)) or 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(path.split()[-1] in result.stdout for path in COMMANDS)


def test_a_typing_error_gets_a_suggestion(context: CliContext) -> None:
    result = CliRunner().invoke(build_app(context), ["aprove"])
    assert result.exit_code == 2
    assert "Did you mean 'approve'" in result.stderr


def test_an_id_in_the_place_of_a_command_shows_what_it_names(context: CliContext) -> None:
    app = build_app(context)
    assert "no control plane answers" in CliRunner().invoke(app, ["incidents", "inc_1"]).stderr
    assert "Did you mean 'ack'" in CliRunner().invoke(app, ["incidents", "akc"]).stderr


def test_serve_and_demo_get_their_options(tmp_path: Path) -> None:
    told: list[object] = []

    def serve(host: str | None, port: int | None) -> int:
        told.append((host, port))
        return 7

    def demo(*, once: bool, as_json: bool, keep: bool, containers: bool) -> int:
        told.append((once, as_json, keep, containers))
        return 0

    app = build_app(CliContext(home=tmp_path, url=None, token=None, serve=serve, demo=demo))
    assert CliRunner().invoke(app, ["serve", "--port", "0"]).exit_code == 7
    assert CliRunner().invoke(app, ["demo", "--once", "--json", "--keep", "--containers"]).exit_code == 0
    assert told == [(None, 0), (True, True, True, True)]
