"""Dockerfiles made of recipes."""

import json
from typing import Any

import pytest

from interlock.core.errors import Invalid
from interlock.sources.commands import parse_command
from interlock.sources.dockerfile import BaseImages, Dockerfile, generate_dockerfile
from interlock.sources.model import Recipe

IMAGES = BaseImages(python="python:3.12-slim", node="node:22-slim")
INSTALL = "python3 -m venv .venv && .venv/bin/python -m pip install -r requirements.txt"


def recipe(start: str | None = "python3 app.py", install: str = "", **fields: Any) -> Recipe:
    commands = (parse_command(install),) if install else ()
    parsed = None if start is None else parse_command(start)
    return Recipe(
        **({"name": "shop", "module_type": "api", "runtime": "python", "install": commands, "start": parsed} | fields)
    )


def generated(found: Recipe, **manifests: str) -> Dockerfile:
    texts = {name.replace("__", "/").replace("_", "."): text for name, text in manifests.items()}
    return generate_dockerfile(found, IMAGES, texts)


def command(found: Dockerfile) -> list[str]:
    return json.loads(found.text.splitlines()[-1].removeprefix("CMD "))


def test_a_python_service_is_installed_before_its_sources_are_copied() -> None:
    found = generated(recipe(".venv/bin/python -m app --port {port}", INSTALL, takes_port=True), requirements_txt="flask\n")
    assert found.text == (
        "FROM python:3.12-slim\n"
        "WORKDIR /app\n"
        'ENV PYTHONUNBUFFERED="1"\n'
        'ENV PYTHONDONTWRITEBYTECODE="1"\n'
        'ENV HOST="0.0.0.0"\n'
        'ENV PORT="8080"\n'
        'COPY ["requirements.txt", "./"]\n'
        'RUN ["python3", "-m", "venv", ".venv"]\n'
        'RUN [".venv/bin/python", "-m", "pip", "install", "-r", "requirements.txt"]\n'
        'COPY [".", "./"]\n'
        "USER 65532:65532\n"
        "EXPOSE 8080\n"
        'CMD [".venv/bin/python", "-m", "app", "--port", "8080"]\n'
    )
    assert found.container_port == 8080
    assert {".git", ".venv*", ".env"} <= set(found.ignore.split())


@pytest.mark.parametrize(
    ("install", "manifests"),
    [
        (INSTALL, {}),
        (INSTALL, {"requirements_txt": "-e .\n"}),
        (INSTALL, {"requirements_txt": "./vendored\n"}),
        (INSTALL, {"requirements_txt": "-r more.txt\n"}),
        ("python3 -m venv .venv && .venv/bin/python -m pip install .", {"requirements_txt": "flask\n"}),
        ("make install", {"requirements_txt": "flask\n"}),
        ("npm ci", {"package_json": '{"scripts": {"postinstall": "node build.js"}}'}),
        ("npm ci", {"package_json": "no json"}),
    ],
)
def test_what_installing_may_need_is_copied_first(install: str, manifests: dict[str, str]) -> None:
    runtime = "node" if "npm" in install else "python"
    lines = generated(recipe(install=install, runtime=runtime), **manifests).text.splitlines()
    assert [line for line in lines if line.startswith("COPY")] == ['COPY [".", "./"]']
    assert lines.index('COPY [".", "./"]') < next(index for index, line in enumerate(lines) if line.startswith("RUN"))


def test_included_requirements_are_copied_where_they_lie() -> None:
    install = ".venv/bin/python -m pip install -r requirements/prod.txt"
    found = generated(
        recipe(install=install), requirements__prod_txt="-r base.txt\ngunicorn\n", requirements__base_txt="flask\n"
    )
    assert 'COPY ["requirements/prod.txt", "./requirements/prod.txt"]' in found.text
    assert 'COPY ["requirements/base.txt", "./requirements/base.txt"]' in found.text


def test_a_node_service_is_installed_from_its_lock_file() -> None:
    found = generated(
        recipe("npm start", "npm ci", runtime="node >=20", takes_port=True, port=3000),
        package_json='{"scripts": {"start": "next start"}}',
        **{"package-lock_json": "{}"},
    )
    assert found.text.startswith("FROM node:22-slim\n")
    assert 'COPY ["package.json", "package-lock.json", "./"]\nRUN ["npm", "ci"]\nCOPY [".", "./"]\n' in found.text
    assert (found.container_port, command(found)) == (3000, ["npm", "start"])


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("uvicorn app:app --host 127.0.0.1 --port {port}", ["uvicorn", "app:app", "--host", "0.0.0.0", "--port", "8080"]),  # noqa: S104
        ("gunicorn --bind 127.0.0.1:{port} app", ["gunicorn", "--bind", "0.0.0.0:8080", "app"]),
        ("serve --listen=localhost:{port}", ["serve", "--listen=0.0.0.0:8080"]),
        ("serve --proxy http://127.0.0.1:1 {port}", ["serve", "--proxy", "http://127.0.0.1:1", "8080"]),
    ],
)
def test_a_service_listens_where_it_can_be_reached(start: str, words: list[str]) -> None:
    assert command(generated(recipe(start, takes_port=True))) == words


def test_several_start_commands_run_one_after_the_other() -> None:
    found = generated(recipe("python3 'pre pare.py' && python3 app.py {port}", takes_port=True))
    assert command(found) == ["/bin/sh", "-ec", "python3 'pre pare.py'\nexec python3 app.py 8080"]


def test_values_are_taken_as_they_are_and_secrets_not_at_all() -> None:
    env = {"PRICE": '5 $ "and" \\ more', "LINES": "a\nRUN evil", "KEY": "inlined", "NOT A NAME": "x"}
    found = generated(recipe(env=env, secrets={"KEY": "shop/key"}))
    assert 'ENV PRICE="5 \\$ \\"and\\" \\\\ more"\n' in found.text
    assert "evil" not in found.text
    assert "KEY" not in found.text
    assert "NOT A NAME" not in found.text


def test_writable_folders_belong_to_the_service() -> None:
    found = generated(recipe(writable=("/data",)))
    assert 'RUN ["mkdir", "-p", "/data"]\nRUN ["chown", "65532:65532", "/data"]\nUSER 65532:65532\n' in found.text


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (recipe(runtime="ruby 3"), "dockerfile_runtime"),
        (recipe("./server", runtime=""), "dockerfile_runtime"),
        (recipe(None), "dockerfile_start"),
    ],
)
def test_what_cannot_be_generated_says_why(found: Recipe, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        generated(found)
    assert refusal.value.code == code


def test_a_base_image_is_a_name_and_nothing_else() -> None:
    with pytest.raises(Invalid) as refusal:
        generate_dockerfile(recipe(), BaseImages(python="python\nRUN evil", node=""), {})
    assert refusal.value.code == "dockerfile_base"
