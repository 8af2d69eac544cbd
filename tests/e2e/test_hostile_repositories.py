"""Repositories that are gone, and module files by somebody who means harm: refused with the place, and nothing is run."""

import shutil
from pathlib import Path

import pytest

from harness.plane import Plane
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD = "name: svc\nversion: '1'\nmodule_type: api\nhealth: /health\n"
START = "start: python3 service.py {port}\n"
BOMB = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10) or 'a'}]\n" for n in range(9)).replace("[a]", "[a, a]")


def hostile(mark: Path) -> dict[str, tuple[str, str]]:
    """Module files, and where the first thing wrong with each of them is."""
    return {
        "a shell's pipe": (HEAD + f"start: python3 service.py | tee {mark}\n", "ai-module.yaml:5:27"),
        "a command in a command": (HEAD + f"start: python3 service.py $(touch {mark})\n", "ai-module.yaml:5:27"),
        "a redirection": (HEAD + f"start: python3 service.py > {mark}\n", "ai-module.yaml:5:27"),
        "a variable": (HEAD + "start: python3 $HOME/service.py\n", "ai-module.yaml:5:16"),
        "a background job": (HEAD + f"start: python3 service.py & touch {mark}\n", "ai-module.yaml:5:27"),
        "a list of commands": (HEAD + f"start: python3 service.py; touch {mark}\n", "ai-module.yaml:5:26"),
        "a path out of the repository": (HEAD + START + "build: ../../../bin/evil\n", "ai-module.yaml:6:8"),
        "a health path upwards": (HEAD.replace("/health", "/../../admin") + START, "ai-module.yaml:4:9"),
        "a bomb of aliases": (BOMB + HEAD + START, "ai-module.yaml:"),
        "a tag that makes objects": (HEAD + "start: !!python/object/apply:os.system [touch x]\n", "ai-module.yaml:5:8"),
        "a wrong type": (HEAD + START + "replicas: [1]\n", "ai-module.yaml:6:11"),
        "a number too large": (HEAD + START + "port: 1e300\n", "ai-module.yaml:6:7"),
        "no YAML": (HEAD + "start: [unclosed\n", "ai-module.yaml:"),
        "nesting without end": (HEAD + START + "env: " + "[" * 300 + "]" * 300 + "\n", "ai-module.yaml:6"),
        "a control character": (HEAD + "start: python3 \x07service.py\n", "ai-module.yaml:5"),
        "a variable that is ours": (HEAD + START + "env: {PORT: '1'}\n", "ai-module.yaml:6:7"),
        "nothing": ("", "ai-module.yaml:1:1"),
    }


async def test_a_hostile_module_file_is_refused_at_its_place(plane: Plane, sample: Sample, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    kinds = hostile(mark)
    for number, (text, _) in enumerate(kinds.values()):
        sample.release(f"v1.{number}.0", text)
    await plane.add(sample)
    for number, (kind, (_, place)) in enumerate(kinds.items()):
        command = f"deploy {sample.name} v1.{number}.0 to staging"
        problem = await plane.refusal(command, 422)
        assert problem["code"] == "module_file", kind
        assert problem["where"].startswith(place), (kind, problem)
        assert not mark.exists(), kind
        assert (await plane.get("/runs"))["items"] == []
        assert await plane.host.list() == {}
        events = (await plane.get("/events", params={"subject": "plan:refused"}))["items"]
        assert command in [event["data"]["text"] for event in events], kind


async def test_all_problems_of_a_file_are_told_at_once(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0", HEAD + "start: a | b\nreplicas: many\nenvv: {}\n")
    await plane.add(sample)
    problem = await plane.refusal(f"deploy {sample.name} v1.0.0 to staging", 422)
    assert [item["line"] for item in problem["details"]["problems"]] == [5, 6, 7]


async def test_a_repository_that_is_gone_is_said_so_and_what_runs_runs_on(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    sample.release("v1.1.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    plan = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
    away = sample.path.with_name("away")
    sample.path.rename(away)
    problem = await plane.refusal(f"deploy {sample.name} v1.1.0 to staging", 503)
    assert problem["code"] == "repository_unreachable"
    assert str(sample.path) in str(problem)
    refused = await plane.approve(plan, 503)
    assert refused["code"] == "repository_unreachable"
    assert await plane.ask(sample) == (200, "v1.0.0")
    # What needs no repository works without it.
    run = await plane.do(f"restart {sample.name} in staging")
    assert run["status"] == "completed", run["error"]
    away.rename(sample.path)
    await plane.approve(plan, 409)
    await plane.deploy(sample, "v1.1.0")


async def test_a_repository_that_never_was_is_not_registered(plane: Plane, sample: Sample) -> None:
    shutil.rmtree(sample.path)
    body = {"name": sample.name, "repository": str(sample.path)}
    assert (await plane.post("/services", body, 503))["code"] == "repository_unreachable"
    assert sample.name not in [service["name"] for service in (await plane.get("/services"))["items"]]


async def test_a_link_out_of_the_repository_gives_nothing_away(plane: Plane, sample: Sample, tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("name: very-secret-content\n")
    (sample.path / "ai-module.yaml").symlink_to(secret)
    sample.commit_all("v1.0.0", tag=True)
    await plane.add(sample)
    problem = await plane.refusal(f"deploy {sample.name} v1.0.0 to staging", 422)
    assert "very-secret-content" not in str(problem)
