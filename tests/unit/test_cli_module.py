"""``interlock module`` needs neither a server nor a data folder."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from interlock.faces.cli.app import build_app
from interlock.faces.cli.context import CliContext

GOOD = "name: shop\nmodule_type: api\nstart: python3 server.py --port {port}\n"


def run(*arguments: str) -> Result:
    context = CliContext(home=Path("/nowhere"), url=None, token=None, serve=lambda _host, _port: 0, demo=lambda **_: 0)
    return CliRunner().invoke(build_app(context), ["module", *arguments])


def test_check_names_every_problem_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "ai-module.yaml"
    file.write_text("name: shop\nmodule_type: apo\nstrat: x\n")
    result = run("check", str(file))
    assert result.exit_code == 1
    assert f"{file}:2:14: 'apo' is not a module type (did you mean api?)" in result.stdout
    assert f"{file}:3:1: unknown field 'strat' (did you mean start?)" in result.stdout
    as_json = json.loads(run("check", str(file), "--json").stdout)
    assert [(problem["line"], problem["column"]) for problem in as_json["problems"]] == [(2, 14), (3, 1)]
    assert as_json["ok"] is False


def test_check_takes_the_folder_and_is_silent_about_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "ai-module.yml").write_text(GOOD)
    result = run("check", str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'ai-module.yml'}: no problem\n")


def test_check_of_nothing_is_an_error(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "missing.yaml"))
    assert result.exit_code == 1
    assert "missing.yaml" in result.stderr
    assert f"interlock module init {tmp_path}" in result.stderr


def test_check_shows_a_hostile_file_as_text(tmp_path: Path) -> None:
    file = tmp_path / "ai-module.yaml"
    file.write_text('name: "a\\e[31mb"\nmodule_type: api\n')
    assert "\x1b" not in run("check", str(file)).output


def test_init_writes_a_file_that_passes_the_check_and_never_replaces_one(tmp_path: Path) -> None:
    folder = tmp_path / "My Shop 2"
    folder.mkdir()
    (folder / "requirements.txt").write_text("flask\n")
    (folder / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    assert run("init", str(folder)).exit_code == 0
    written = (folder / "ai-module.yaml").read_text()
    assert "name: my-shop-2" in written
    assert "flask" in written
    assert run("check", str(folder)).exit_code == 0
    again = run("init", str(folder))
    assert again.exit_code == 1
    assert "there is a module file already" in again.stderr
    assert (folder / "ai-module.yaml").read_text() == written


@pytest.mark.parametrize("name", ["ai-module.yaml", "ai-module.yml"])
def test_init_follows_no_link_and_replaces_no_other_spelling(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    assert run("init", str(tmp_path)).exit_code == 1
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_the_schema_is_one_json_document() -> None:
    assert json.loads(run("schema").stdout)["title"] == "ai-module.yaml"
