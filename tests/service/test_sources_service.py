"""Sources on real repositories: mirrors, names, versions, and what a repository is."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from interlock.adapters.git.git import GitProgram
from interlock.core.errors import Invalid, NotFound
from interlock.core.scope import Scope, system_scope
from interlock.sources.service import Sources

SCOPE = system_scope("test")
MODULE = "name: shop\nmodule_type: api\nversion: '{version}'\nstart: python3 -m shop --port {{port}}\n"
FLASK = "from flask import Flask\napp = Flask(__name__)\n\n@app.get('/health')\ndef health(): return 'ok'\n"


def git(folder: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(folder),
    }
    identity = ["-c", "user.name=Author", "-c", "user.email=author@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, files: dict[str, str], tag: str = "") -> str:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", tag or "change")
    if tag:
        git(folder, "tag", "--force", tag)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "Shop_Service.git"
    folder.mkdir()
    git(folder, "init", "--quiet", "-b", "main")
    for version in ("1.9.0", "1.10.0", "2.0.0-rc.1"):
        commit(folder, {"ai-module.yaml": MODULE.format(version=version)}, f"v{version}")
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(GitProgram(timeout_s=30, fetch_timeout_s=30), tmp_path / "mirrors")


async def test_latest_is_the_highest_release_tag(sources: Sources, origin: Path) -> None:
    latest = await sources.resolve(SCOPE, str(origin), "latest")
    assert (latest.kind, latest.name, latest.commit) == ("tag", "v1.10.0", git(origin, "rev-parse", "v1.10.0"))
    assert [ref.name for ref in await sources.versions(SCOPE, str(origin))] == ["v2.0.0-rc.1", "v1.10.0", "v1.9.0"]
    git(origin, "branch", "latest", "v1.9.0")
    await sources.sync(SCOPE, str(origin))
    assert (await sources.resolve(SCOPE, str(origin), "latest")).commit == git(origin, "rev-parse", "v1.9.0")


@pytest.mark.parametrize(
    ("name", "nearest"), [("1.10.0", "v1.10.0"), ("v1.11.0", "v1.10.0"), ("mian", "main"), ("-x", "v2.0.0-rc.1")]
)
async def test_unknown_name_lists_the_nearest(sources: Sources, origin: Path, name: str, nearest: str) -> None:
    with pytest.raises(NotFound) as caught:
        await sources.resolve(SCOPE, str(origin), name)
    assert caught.value.code == "unknown_version"
    assert caught.value.details["nearest"][0] == nearest
    assert nearest in caught.value.hint


async def test_repository_without_versions_has_no_latest(sources: Sources, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet", "-b", "main")
    with pytest.raises(NotFound):
        await sources.resolve(SCOPE, str(empty), "latest")
    assert await sources.versions(SCOPE, str(empty)) == []


async def test_names_are_as_of_the_last_sync(sources: Sources, origin: Path) -> None:
    before = await sources.resolve(SCOPE, str(origin), "v1.9.0")
    moved = commit(origin, {"x": "y"}, "v1.9.0")
    assert await sources.resolve(SCOPE, str(origin), "v1.9.0") == before
    await sources.sync(SCOPE, str(origin))
    assert (await sources.resolve(SCOPE, str(origin), "v1.9.0")).commit == moved


async def test_each_tenant_and_url_has_one_mirror(sources: Sources, origin: Path, tmp_path: Path) -> None:
    mirrors = await asyncio.gather(*(sources.sync(SCOPE, str(origin)) for _ in range(4)))
    assert len(set(mirrors)) == 1
    other = await sources.sync(Scope(tenant="other", principal="user:x"), str(origin))
    assert other != mirrors[0]
    assert {path.name for path in (tmp_path / "mirrors").glob("*.git")} == {Path(mirrors[0]).name, Path(other).name}


async def test_module_file_decides(sources: Sources, origin: Path) -> None:
    commit(origin, {"requirements.txt": "flask\n", "app.py": FLASK})
    ref = await sources.resolve(SCOPE, str(origin), "main")
    analysis = await sources.analyse(SCOPE, str(origin), ref)
    assert (analysis.tier, analysis.commit, analysis.tree) == (1, ref.commit, ref.tree)
    assert (analysis.recipe.name, analysis.recipe.version) == ("shop", "2.0.0-rc.1")
    assert analysis.findings == ()
    assert analysis.places["module_type"] == "ai-module.yaml:2"
    old = await sources.analyse(SCOPE, str(origin), await sources.resolve(SCOPE, str(origin), "v1.9.0"))
    assert old.recipe.version == "1.9.0"


async def test_findings_of_a_module(sources: Sources, origin: Path) -> None:
    text = "name: shop\nmodule_type: api\nstart: ./serve\nport: 8080\nenv: {DB_PASSWORD: x, LOG: y}\n"
    commit(origin, {"ai-module.yaml": text, "ai-module.yml": text})
    analysis = await sources.analyse(SCOPE, str(origin), await sources.resolve(SCOPE, str(origin), "main"))
    found = [(finding.code, finding.where) for finding in analysis.findings]
    assert found == [("two_module_files", "ai-module.yml"), ("secret_inlined", "ai-module.yaml:5")]


@pytest.mark.parametrize("content", ["name: [", "x: 1\n" * 100_000])
async def test_module_file_with_problems_is_refused_and_not_passed_over(sources: Sources, origin: Path, content: str) -> None:
    (origin / "ai-module.yaml").unlink()
    commit(origin, {"ai-module.yml": content, "requirements.txt": "flask\n", "app.py": FLASK})
    with pytest.raises(Invalid) as caught:
        await sources.analyse(SCOPE, str(origin), await sources.resolve(SCOPE, str(origin), "main"))
    assert caught.value.code == "module_file"
    assert caught.value.where.startswith("ai-module.yml")


async def test_repository_without_a_module_file_is_understood(sources: Sources, origin: Path) -> None:
    (origin / "ai-module.yaml").unlink()
    (origin / "requirements.txt").symlink_to("/etc/passwd")
    many = {f"shop/part{i // 50}/module{i}.py": "" for i in range(500)}
    commit(
        origin,
        {"base.txt": "flask\ngunicorn\n", "app.py": FLASK, "pyproject.toml": "[project]\ndependencies=['flask']\n"} | many,
    )
    ref = await sources.resolve(SCOPE, str(origin), "main")
    analysis = await sources.analyse(SCOPE, str(origin), ref)
    assert (analysis.tier, analysis.recipe.name, analysis.recipe.module_type) == (2, "shop-service", "api")
    assert analysis.recipe.start is not None
    assert analysis.recipe.start.argv[0][:3] == (".venv/bin/python", "-m", "flask")
    assert {"package_manager", "framework", "start", "health", "module_type"} <= {item.claim for item in analysis.evidence}
    assert [finding.code for finding in analysis.findings] == ["development_server"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [({"README.md": "x"}, "nothing was found"), ({"requirements.txt": "fastapi", "main.py": ""}, "fastapi is among")],
)
async def test_what_is_not_understood_says_what_to_do(
    sources: Sources, origin: Path, files: dict[str, str], reason: str
) -> None:
    (origin / "ai-module.yaml").unlink()
    commit(origin, files)
    with pytest.raises(Invalid) as caught:
        await sources.analyse(SCOPE, str(origin), await sources.resolve(SCOPE, str(origin), "main"))
    assert caught.value.code == "not_understood"
    assert reason in caught.value.message
    assert "interlock module init" in caught.value.hint
