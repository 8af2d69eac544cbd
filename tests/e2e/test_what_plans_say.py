"""A plan says what will not happen as well as what will; and whoever asks for what is not there is told what is."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.plane import Plane
from harness.ports import port_range
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

WITHOUT_EFFECT = {
    "runtime": "python >=3.11",
    "resources": {"cpu": 0.5, "memory_mb": 256},
    "replicas": 3,
    "dependencies": ["accounts"],
}
CHECK = (
    "import os, sys, urllib.request as web\n"
    "port = sys.argv[1]\n"
    "assert os.environ['SERVICE_URL'] == f'http://127.0.0.1:{port}', os.environ['SERVICE_URL']\n"
    "print(web.urlopen(f'http://127.0.0.1:{port}/').read().decode())\n"
)
SMOKE = {
    "smoke_tests": [
        {"name": "by path", "path": "/", "expect_text": "v1.0.0"},
        {"name": "by command", "command": "python3 -I check.py {port}", "expect_text": "v1.0.0"},
    ]
}


def granted(plan: dict[str, Any], task: str, tool: str) -> dict[str, Any]:
    return next(item["arguments"] for item in plan["content"]["grants"] if (item["task"], item["tool"]) == (task, tool))


async def test_what_nothing_acts_on_is_said_with_its_place(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0", WITHOUT_EFFECT)
    await plane.add(sample)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    findings = {item["code"]: item for item in plan["findings"]}
    lines = (sample.path / "ai-module.yaml").read_text().splitlines()
    codes = {
        "resources": "resources_not_limited",
        "dependencies": "dependencies",
        "runtime": "runtime_not_checked",
    }
    for field, code in codes.items():
        line = next(number for number, text in enumerate(lines, 1) if f'"{field}"' in text)
        assert findings[code]["where"] == f"ai-module.yaml:{line}"
        assert findings[code]["hint"]
    assert "cpu 0.5, memory_mb 256" in findings["resources_not_limited"]["message"]


async def test_smoke_tests_reach_what_users_reach(plane: Plane, sample: Sample) -> None:
    sample.write("check.py", CHECK)
    sample.release("v1.0.0", SMOKE)
    await plane.add(sample)
    run = await plane.deploy(sample, "v1.0.0")
    plan = await plane.get(f"/plans/{run['plan_id']}")
    stable = (await plane.url(sample)).rpartition(":")[2]
    assert granted(plan, "smoke-staging", "command.run")["commands"]["value"] == [["python3", "-I", "check.py", stable]]


async def test_a_service_that_takes_no_port_is_tested_where_it_listens(plane: Plane, sample: Sample) -> None:
    port = port_range()[1]
    own = {"start": f"python3 -I service.py {port}", "port": port}
    sample.write("check.py", CHECK)
    sample.release("v1.0.0", SMOKE | own)
    await plane.add(sample)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    assert {"no_port", "health_not_asked"} <= {item["code"] for item in plan["findings"]}
    assert plan["changes"][0]["url"] == f"http://127.0.0.1:{port}/"
    await plane.deploy(sample, "v1.0.0")
    assert await plane.url(sample) == f"http://127.0.0.1:{port}"
    await plane.do(f"stop {sample.name} in staging")


async def test_a_stop_promises_no_way_back_and_may_stop_that_process_alone(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    serving = await plane.serving(sample)
    assert serving is not None
    plan = await plane.plan(f"stop {sample.name} in staging")
    assert plan["changes"][0]["rollback"].startswith("none by itself")
    assert f"deploy v1.0.0 of {sample.name} to staging" in plan["changes"][0]["rollback"]
    switch = next(task for task in plan["content"]["graph"]["tasks"] if task["id"] == "switch-staging")
    assert switch["inputs"]["expects"] == serving["deployment_id"]
    assert granted(plan, "retire-staging", "process.stop") == {
        "key": {"rule": "one_of", "value": [serving["instances"][0]["key"]]}
    }
    stopped = await plane.do(f"stop {sample.name} in staging")
    assert stopped["status"] == "completed", stopped["error"]
    assert await plane.serving(sample) is None
    nothing = await plane.refusal(f"stop {sample.name} in staging")
    assert (nothing["code"], "interlock plan" in nothing["hint"]) == ("nothing_serves", True)


async def test_with_nothing_to_go_back_to_it_says_what_can_be_done(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    refused = await plane.refusal(f"roll back {sample.name} in staging")
    assert refused["code"] == "rollback_target_missing"
    assert f"deploy VERSION of {sample.name} to staging" in refused["hint"]
    assert f"stop {sample.name} in staging" in refused["hint"]
    approved = (await plane.get("/plans", params={"service": sample.name, "state": "succeeded"}))["items"][0]
    twice = await plane.approve(approved, 409)
    assert twice["title"] == f"{approved['plan_id']} is not open any more: succeeded, approved by user:owner"


async def test_a_filter_by_what_does_not_exist_is_an_error_with_what_was_meant(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    await plane.add(sample)
    near = sample.name[:-1] + "x"
    for path in ("/status", "/releases", "/deployments", "/plans"):
        problem = await plane.get(path, 404, params={"service": near})
        assert problem["code"] == "service", path
        assert sample.name in problem["hint"], path
        assert (await plane.get(path, params={"service": sample.name}))["items"] is not None
    for path in ("/status", "/deployments"):
        problem = await plane.get(path, 404, params={"environment": "stagng"})
        assert (problem["code"], "did you mean staging?" in problem["hint"]) == ("environment", True)
    assert (await plane.get("/runs", 404, params={"plan": "plan_nope"}))["code"] == "plan"
    asked = {"query": '{ releases(service: "nope") { version } }'}
    answer = await plane.post("/graphql", asked)
    assert answer["errors"][0]["extensions"]["code"] == "service", json.dumps(answer)


@pytest.mark.parametrize("given", [{}, {"INTERLOCK_SECRET_SHOP_API_KEY_1": "s3cr3t"}], ids=["missing", "given"])
async def test_a_secret_is_the_variable_that_its_hint_names(sample: Sample, tmp_path: Path, given: dict[str, str]) -> None:
    sample.release("v1.0.0", {"secrets": {"TOKEN": "shop/api.key-1"}})
    plane = Plane(tmp_path / "plane", dict(os.environ) | given)
    await plane.start()
    try:
        await plane.add(sample)
        run = await plane.do(f"deploy {sample.name} v1.0.0 to staging")
    finally:
        await plane.stop()
        await plane.clear()
    start = next(task for task in run["tasks"] if task["id"] == "start-staging")
    assert (run["status"] == "completed") is bool(given), run["error"]
    assert given or "INTERLOCK_SECRET_SHOP_API_KEY_1" in start["error"]["hint"]
