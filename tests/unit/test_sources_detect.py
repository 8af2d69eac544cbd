"""What is found in repositories without a module file, and the template made of it."""

import asyncio
import re

import pytest

from interlock.sources.detect.detection import Detection
from interlock.sources.detect.families import detect_stack
from interlock.sources.detect.files import Read
from interlock.sources.detect.module_type import detect_module_type
from interlock.sources.model import MODULE_TYPES
from interlock.sources.module_file import check_module, parse_module
from interlock.sources.template import module_template

Tree = dict[str, str]

FLASK = "from flask import Flask\n\napp = Flask(__name__)\n\n@app.route('/')\ndef index():\n    return 'x'\n"
FLASK_FACTORY = "import flask\n\ndef create_app(config=None):\n    app = flask.Flask(__name__)\n    return app\n"
CALLS_FACTORY = "from shop import create_app\napp = create_app()\n"
FASTAPI = "from fastapi import FastAPI as F\n\nservice = F()\n\n@service.get('/health')\nasync def health(): ...\n"
AIOHTTP = "import sys\nfrom aiohttp import web\nweb.run_app(web.Application(), port=int(sys.argv[1]))\n"
SCRIPT = """\
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path in ("/", "/healthz"):
            self.send_response(200)

ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8123"))), Handler).serve_forever()
"""
PYPROJECT = """\
[project]
name = "x"
requires-python = ">=3.10,<4"
dependencies = ["fastapi[all] ; python_version > '3'"]
"""
DJANGO = {
    "manage.py": "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n",
    "shop/__init__.py": "",
    "shop/settings.py": "",
    "shop/wsgi.py": "",
    "shop/urls.py": "from django.urls import path\nurlpatterns = [path('admin/', x), path('health/', y)]\n",
}


def reader(tree: Tree, seen: list[str] | None = None) -> Read:
    async def read(path: str) -> bytes | None:
        if seen is not None:
            seen.append(path)
        content = tree.get(path)
        return None if content is None else content.encode()

    return read


def detect(tree: Tree) -> Detection | None:
    return asyncio.run(detect_stack(list(tree), reader(tree), "shop"))


def start_of(tree: Tree) -> str | None:
    found = detect(tree)
    return found.recipe.start.text if found and found.recipe.start else None


PIP = "python3 -m venv .venv && .venv/bin/python -m pip install"
RUN = ".venv/bin/python -m"


@pytest.mark.parametrize(
    ("tree", "start"),
    [
        ({"requirements.txt": "flask", "app.py": FLASK}, f"{RUN} flask --app app:app run --host 127.0.0.1 --port {{port}}"),
        ({"requirements.txt": "Flask==3\ngunicorn", "app.py": FLASK}, f"{RUN} gunicorn --bind 127.0.0.1:{{port}} app:app"),
        ({"requirements.txt": "flask\nwaitress", "app.py": FLASK}, f"{RUN} waitress --listen 127.0.0.1:{{port}} app:app"),
        (
            {"requirements.txt": "flask\ngunicorn", "shop/__init__.py": FLASK_FACTORY},
            f"{RUN} gunicorn --bind 127.0.0.1:{{port}} 'shop:create_app()'",
        ),
        (
            {"requirements.txt": "flask", "shop/__init__.py": FLASK_FACTORY, "wsgi.py": CALLS_FACTORY},
            f"{RUN} flask --app 'shop:create_app()' run --host 127.0.0.1 --port {{port}}",
        ),
        (
            {"requirements.txt": "flask", "wsgi.py": "from shop.web import create_app\napp = create_app()\n"},
            f"{RUN} flask --app wsgi:app run --host 127.0.0.1 --port {{port}}",
        ),
        (
            {"requirements.txt": "fastapi\nuvicorn", "main.py": FASTAPI},
            f"{RUN} uvicorn main:service --host 127.0.0.1 --port {{port}}",
        ),
        (
            {"requirements.txt": "fastapi [standard] >= 0.1", "main.py": FASTAPI},
            f"{RUN} uvicorn main:service --host 127.0.0.1 --port {{port}}",
        ),
        (
            {"requirements.txt": "fastapi\nhypercorn", "main.py": FASTAPI},
            f"{RUN} hypercorn --bind 127.0.0.1:{{port}} main:service",
        ),
        (
            {"requirements.txt": "-r base.txt", "base.txt": "django", **DJANGO},
            ".venv/bin/python manage.py runserver --noreload 127.0.0.1:{port}",
        ),
        ({"requirements.txt": "django\ngunicorn", **DJANGO}, f"{RUN} gunicorn --bind 127.0.0.1:{{port}} shop.wsgi:application"),
        (
            {"requirements.txt": "aiohttp", "main.py": AIOHTTP},
            ".venv/bin/python main.py {port}",
        ),
        ({"server.py": SCRIPT}, "python3 server.py"),
        (
            {"serve.py": "from http.server import *\nparser.add_argument('--port')\nHTTPServer(address, Handler)"},
            "python3 serve.py --port {port}",
        ),
    ],
)  # fmt: skip
def test_start_command(tree: Tree, start: str) -> None:
    assert start_of(tree) == start


@pytest.mark.parametrize(
    ("tree", "install"),
    [
        ({"requirements.txt": "flask"}, f"{PIP} -r requirements.txt"),
        ({"pyproject.toml": '[project]\nname = "x"\ndependencies = ["flask>=2,<4"]'}, f"{PIP} 'flask>=2,<4'"),
        ({"pyproject.toml": '[build-system]\nrequires = []\n[project]\nname = "x"\ndependencies = ["flask"]'}, f"{PIP} ."),
        ({"setup.py": "from setuptools import setup\nsetup(install_requires=['flask'])"}, f"{PIP} ."),
        (
            {"pyproject.toml": '[project]\nname = "x"\ndependencies = ["flask"]', "uv.lock": ""},
            "python3 -m venv .venv-build && .venv-build/bin/python -m pip install uv"
            " && .venv-build/bin/uv sync --no-python-downloads --frozen --no-dev",
        ),
        (
            {"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.11"\nflask = "*"'},
            "python3 -m venv .venv && python3 -m venv .venv-build && .venv-build/bin/python -m pip install poetry"
            " && .venv-build/bin/poetry install --no-interaction --only main",
        ),
        (
            {"Pipfile": '[packages]\nflask = "*"', "Pipfile.lock": "{}"},
            "python3 -m venv .venv && python3 -m venv .venv-build && .venv-build/bin/python -m pip install pipenv"
            " && .venv-build/bin/pipenv install --deploy",
        ),
    ],
)
def test_install_command_of_each_package_manager(tree: Tree, install: str) -> None:
    found = detect(tree | {"app.py": FLASK})
    assert found is not None
    assert [command.text for command in found.recipe.install] == [install]


def test_every_claim_has_its_evidence() -> None:
    tree = {
        "requirements.txt": "# pinned\nflask==3.0\ngunicorn\npytest\n",
        ".python-version": "3.12.1\n",
        "src/shop/__init__.py": "",
        "src/shop/app.py": FLASK
        + "\n@app.get('/healthz')\ndef healthz(): return 'ok'\n\n@app.post('/health')\ndef wrong(): ...\n",
        "tests/test_shop.py": "",
    }
    found = detect(tree)
    assert found is not None
    evidence = {item.claim: (item.value, item.file, item.line) for item in found.evidence}
    assert evidence == {
        "package_manager": ("pip", "requirements.txt", 0),
        "framework": ("flask", "requirements.txt", 2),
        "start": (f"{RUN} gunicorn --bind 127.0.0.1:{{port}} shop.app:app", "src/shop/app.py", 3),
        "runtime": ("python 3.12.1", ".python-version", 1),
        "health": ("/healthz", "src/shop/app.py", 9),
        "test": ("pytest", "requirements.txt", 4),
        "module_type": ("api", "requirements.txt", 2),
    }
    texts = {item.claim: item.text for item in found.evidence}
    assert texts["start"] == "app = Flask(__name__)"
    assert texts["health"] == "@app.get('/healthz')"
    assert found.recipe.env == {"PYTHONPATH": "src"}
    assert found.recipe.health is not None
    assert [command.text for command in found.recipe.test] == [f"{RUN} pytest"]


def test_plain_server_reads_its_port_from_the_environment() -> None:
    found = detect({"server.py": SCRIPT})
    assert found is not None
    assert (found.recipe.takes_port, found.recipe.port, found.recipe.install) == (True, 8123, ())
    assert found.recipe.health is not None
    assert found.recipe.health.path == "/healthz"
    fixed = detect({"server.py": SCRIPT.replace('int(os.environ.get("PORT", "8123"))', "9000")})
    assert fixed is not None
    assert (fixed.recipe.takes_port, fixed.recipe.port) == (False, 9000)


@pytest.mark.parametrize(
    ("path", "code", "folder", "module"),
    [
        ("backend/app.py", "import db\n", "backend", "app"),
        ("backend/app.py", "from . import db\n", None, "backend.app"),
        ("backend/app.py", "from backend.db import x\n", None, "backend.app"),
        ("src/app.py", "", "src", "app"),
    ],
)
def test_module_path_of_an_application_in_a_folder(path: str, code: str, folder: str | None, module: str) -> None:
    found = detect({"requirements.txt": "flask\ngunicorn", path: code + FLASK})
    assert found is not None
    assert found.recipe.start is not None
    assert found.recipe.start.argv[0][-1] == f"{module}:app"
    assert found.recipe.env.get("PYTHONPATH") == folder


def test_tests_that_need_more_than_the_service_run_in_an_environment_of_their_own() -> None:
    tree = {
        "requirements.txt": "flask",
        "requirements-dev.txt": "-r requirements.txt\npytest",
        "app.py": FLASK,
        "tests/test_a.py": "",
    }
    found = detect(tree)
    assert found is not None
    assert found.recipe.test[0].text.startswith("python3 -m venv .venv-test && ")
    assert "pytest" not in found.recipe.install[0].text
    without = detect({name: text for name, text in tree.items() if not name.startswith("tests")})
    assert without is not None
    assert without.recipe.test == ()


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"README.md": "x"},
        {"composer.json": "{}", "index.js": "", "tool.py": SCRIPT, "a.js": "", "b.js": "", "c.js": ""},
        {"tests/test_app.py": FLASK, "docs/conf.py": FLASK},
    ],
)
def test_other_families_are_left_alone(tree: Tree) -> None:
    assert detect(tree) is None


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ({"requirements.txt": "requests", "main.py": "print('x')"}, "no Python module was found that serves"),
        ({"requirements.txt": "fastapi", "main.py": FASTAPI}, "fastapi is among the dependencies"),
        ({"requirements.txt": "flask", "app.py": "def broken(:"}, "flask is among the dependencies"),
    ],
)
def test_nothing_to_start_is_said_with_the_reason(tree: Tree, reason: str) -> None:
    found = detect(tree)
    assert found is not None
    assert found.recipe.start is None
    assert found.findings[0].code == "nothing_to_start"
    assert reason in found.findings[0].message


def test_code_is_never_executed_and_strange_files_do_no_harm() -> None:
    tree = {
        "requirements.txt": "flask\n\0",
        "pyproject.toml": "[project\n" + "[" * 5000,
        "setup.py": "raise SystemExit",
        "app.py": "import os\nos._exit(1)\n" + FLASK,
        "deep.py": "(" * 5000,
        "main.py": "x = 1\n" * 100_000,
        "-c.py": FLASK,
        "a\nb.py": FLASK,
        "größe.py": "\udc80".encode(errors="surrogateescape").decode("latin-1"),
        ".python-version": "x; rm -rf /",
    }
    found = detect(tree | {"requirements.txt": "flask\ngunicorn"})
    assert found is not None
    assert found.recipe.start is not None
    assert found.recipe.start.argv[0][-1] == "app:app"
    assert found.recipe.runtime == "python"
    for manifest in ("Pipfile", "pyproject.toml", "setup.py", "runtime.txt"):
        for text in (
            "x = " + "[" * 5000,
            "[project]\ndependencies = 5\nname = []\n[tool]\npoetry = 1\n",
            "(" * 5000,
            "\0",
            " \n\n",
        ):
            detect(tree | {manifest: text})


def test_few_of_many_files_are_read() -> None:
    tree = {f"shop/part{i // 50}/module{i}.py": "x = 1\n" for i in range(5000)}
    tree |= {"requirements.txt": "flask\ngunicorn", "shop/__init__.py": "", "shop/app.py": FLASK}
    seen: list[str] = []
    found = asyncio.run(detect_stack(list(tree), reader(tree, seen), "shop"))
    assert found is not None
    assert found.recipe.start is not None
    assert len(seen) < 40
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("tree", "kind"),
    [
        ({"main.tf": "", "modules/a/main.tf": ""}, "infrastructure"),
        ({"Chart.yaml": "", "templates/deployment.yaml": ""}, "infrastructure"),
        ({"dags/daily.py": "", "requirements.txt": "apache-airflow"}, "data_pipeline"),
        ({"dbt_project.yml": "", "models/a.sql": ""}, "data_pipeline"),
        ({"train.py": "", "requirements.txt": "torch==2\nnumpy"}, "ml_model"),
        ({"requirements.txt": "fastapi\ntorch", "main.py": FASTAPI}, "api"),
        ({"openapi.yaml": "", "main.go": ""}, "api"),
        ({"package.json": '{"dependencies": {\n"next": "15",\n"react-dom": "19"}}', "next.config.js": ""}, "web_app"),
        ({"requirements.txt": "flask", "app.py": FLASK, "templates/index.html": "", "static/a.css": ""}, "web_app"),
        ({"README": ""}, "api"),
    ],
)
def test_module_type(tree: Tree, kind: str) -> None:
    found, evidence = asyncio.run(detect_module_type(list(tree), reader(tree)))
    assert found == kind
    assert all(item.value == kind and item.file in tree for item in evidence)
    assert evidence or tree == {"README": ""}


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"main.tf": ""},
        {"dags/daily.py": "", "requirements.txt": "apache-airflow"},
        {"package.json": '{"dependencies": {"express": "5"}}'},
        {"requirements.txt": "flask\ngunicorn\npytest", "app.py": FLASK, "tests/test_a.py": ""},
        {"requirements.txt": "flask", "shop/__init__.py": FLASK_FACTORY, ".python-version": "3.12"},
        {"pyproject.toml": PYPROJECT, "main.py": FASTAPI},
        {"requirements.txt": "django", **DJANGO},
        {"server.py": SCRIPT},
        {"server.py": SCRIPT.replace('int(os.environ.get("PORT", "8123"))', "9000")},
        {"my server.py": SCRIPT},
        {"requirements.txt": "flask: # x", "app.py": FLASK.replace("index", "größe")},
    ],
)  # fmt: skip
async def test_template_is_accepted_and_says_what_was_found(tree: Tree) -> None:
    text = await module_template(list(tree), reader(tree), "shop")
    assert check_module(text) == []
    recipe = parse_module(text)
    assert recipe.module_type in MODULE_TYPES
    assert text.count("#") > 10
    found = await detect_stack(list(tree), reader(tree), "shop")
    if found is not None and found.recipe.start is not None:
        assert recipe.start is not None
        assert recipe.start.argv == found.recipe.start.argv
        assert [command.argv for command in recipe.install] == [command.argv for command in found.recipe.install]
        assert (recipe.takes_port, recipe.health, recipe.env) == (
            found.recipe.takes_port,
            found.recipe.health,
            found.recipe.env,
        )


async def test_commented_examples_of_a_template_are_right_when_uncommented() -> None:
    text = await module_template([], reader({}), "shop")
    assert check_module(text) == []
    lines = [re.sub(r"^# (?=[a-z_]+: )", "", line) for line in text.split("\n")]
    assert check_module("\n".join(lines)) == []
    assert parse_module("\n".join(lines)).replicas == 1
