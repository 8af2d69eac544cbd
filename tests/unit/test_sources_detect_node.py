"""What is found in repositories with a package.json."""

import asyncio
import json
from typing import Any

import pytest

from interlock.sources.detect.detection import Detection
from interlock.sources.detect.families import detect_stack
from interlock.sources.model import Recipe

SERVER = "const app = require('express')()\napp.get('/health', ok)\napp.listen(process.env.PORT || 3000)\n"


def detect(package: Any, **files: str) -> Detection | None:
    tree = {"package.json": package if isinstance(package, str) else json.dumps(package)}
    tree |= {name.replace("_", "."): text for name, text in files.items()}

    async def read(path: str) -> bytes | None:
        return tree[path].encode() if path in tree else None

    return asyncio.run(detect_stack(list(tree), read, "shop"))


def recipe(package: Any, **files: str) -> Recipe:
    found = detect(package, **files)
    assert found is not None
    return found.recipe


def test_a_start_script_that_runs_node_is_the_start_command() -> None:
    package = {
        "version": "1.2.0",
        "scripts": {"start": "node server.js"},
        "engines": {"node": ">=20"},
        "dependencies": {"express": "4"},
    }
    found = recipe(package, server_js=SERVER, **{"package-lock_json": "{}"})
    assert found.start is not None
    assert (found.start.text, found.install[0].text, found.runtime, found.version) == (
        "node server.js",
        "npm ci",
        "node >=20",
        "1.2.0",
    )
    assert (found.takes_port, found.port, found.health and found.health.path) == (True, 3000, "/health")


def test_any_other_start_script_is_run_by_npm() -> None:
    found = recipe({"scripts": {"start": "next start -p $PORT"}, "dependencies": {"next": "15"}})
    assert found.start is not None
    assert (found.start.text, found.install[0].text, found.takes_port) == ("npm start", "npm install", False)


def test_a_service_without_packages_installs_nothing() -> None:
    found = recipe({"scripts": {"start": "node index.js"}}, index_js="listen(process.env['PORT'])")
    assert (found.install, found.takes_port, found.port, found.runtime) == ((), True, None, "node")


def test_evidence_names_the_line() -> None:
    found = detect({"scripts": {"start": "node server.js"}}, server_js=SERVER)
    assert found is not None
    places = {item.claim: (item.file, item.line) for item in found.evidence}
    assert places["takes_port"] == ("server.js", 3)
    assert places["health"] == ("server.js", 2)


@pytest.mark.parametrize("package", ["{}", "[1]", "no json", '{"scripts": []}', '{"scripts": {"start": 1}}', "[" * 100_000])
def test_a_manifest_without_a_start_script_starts_nothing(package: str) -> None:
    found = detect(package)
    assert found is not None
    assert found.recipe.start is None


def test_another_package_manager_is_mentioned() -> None:
    found = detect({"scripts": {"start": "node server.js"}}, yarn_lock="")
    assert found is not None
    assert [finding.code for finding in found.findings] == ["other_package_manager"]
