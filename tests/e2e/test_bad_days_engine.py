"""The container engine goes away and comes back, at every step: nobody is asked, nothing is done twice, no request is lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio

from e2e.conftest import environment
from e2e.test_containers import contained, inspect
from harness.containers import TestEngine
from harness.engine_proxy import EngineProxy
from harness.plane import Plane, until
from harness.sample import MODULE, Sample
from interlock.delivery.logs.places import Away, LogQuery, Output

pytestmark = pytest.mark.asyncio(loop_scope="module")

AWAY_S = 1.2
LONG_WATCH = {"watch": MODULE["watch"] | {"window": 2}}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def proxy(container_engine: TestEngine) -> AsyncIterator[EngineProxy]:
    made = EngineProxy(container_engine.url)
    await made.start()
    yield made
    await made.clear()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(
    container_engine: TestEngine, proxy: EngineProxy, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Plane]:
    """A control plane that reaches the engine of the tests through what may be cut."""
    python = await asyncio.to_thread(container_engine.python)
    settings = {
        "container_engine": proxy.url,
        "container_registry": container_engine.registry,
        "container_python_image": python,
    }
    made = Plane(tmp_path_factory.mktemp("plane"), environment(), **settings)
    await made.start()
    yield made
    containers = made.inside.services.targets.of("container")
    for key in await containers.list():
        await containers.stop(key, 0)
        await containers.remove(key)
    await made.stop()
    await made.clear()


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path / "repositories", f"away{crc32(str(tmp_path).encode()) % 10**6}")


async def serving_first(plane: Plane, sample: Sample, second: dict[str, Any] | None = None, **behaviour: Any) -> None:
    """v1.0.0 serves; v1.1.0 is there to be deployed."""
    quick = {"deploy": {"drain": "1s"}}
    sample.release("v1.0.0", contained(**quick))
    sample.release("v1.1.0", contained(**(quick | (second or {}))), **behaviour)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")


async def check_only(plane: Plane, sample: Sample, engine: TestEngine, version: str) -> None:
    """``version`` serves, in one container, and nobody was bothered."""
    assert await plane.ask(sample) == (200, version)
    found = await asyncio.to_thread(inspect, engine, sample)
    assert len(found) == 1, [item["Name"] for item in found]
    assert await plane.inbox(sample) == []


async def is_back(proxy: EngineProxy) -> bool:
    return proxy.is_there


async def test_whoever_follows_a_log_is_told_that_it_cannot_be_read_and_reads_on_afterwards(
    plane: Plane, sample: Sample, proxy: EngineProxy
) -> None:
    await serving_first(plane, sample)
    place = f"/services/{sample.name}/environments/staging/logs"
    query = LogQuery(service=sample.name, environment="staging")
    async with aclosing(plane.inside.services.logs.follow(plane.inside.scope, query)) as events, asyncio.timeout(60):
        assert [(await anext(events)).__struct_config__.tag for _ in range(2)] == ["deployment", "log"]
        proxy.cut()
        away = await anext(events)
        assert isinstance(away, Away)
        assert "engine" in away.message
        for path in (place, f"{place}/stream"):
            assert (await plane.get(path, 503))["code"] == "engine_down"
        await proxy.start()
        assert await plane.ask(sample, "/crash") != (200, "")
        more = await anext(events)
        assert isinstance(more, Output)
        assert more.text.startswith("crashing")


async def test_that_it_is_away_is_told_by_ready_and_by_the_metrics_and_nothing_else_stops(
    plane: Plane, sample: Sample, proxy: EngineProxy
) -> None:
    async def ready() -> tuple[int, dict[str, Any]]:
        answer = await plane.http.get("/ready")
        return answer.status_code, answer.json()["components"]["containers"]

    await serving_first(plane, sample)
    status, told = await ready()
    assert (status, told["ok"], told["containers"] > 0) == (200, True, True)
    proxy.cut()
    status, told = await ready()
    assert (status, told["ok"], told["optional"], told["problem"]) == (200, False, True, "no answer")
    assert 'interlock_component_up{component="containers"} 0.0' in (await plane.http.get("/api/v1/metrics")).text
    await proxy.start()
    assert (await ready())[1]["ok"] is True


async def test_during_a_build_and_two_pushes_the_step_is_tried_again_and_the_release_is_whole(
    plane: Plane, sample: Sample, proxy: EngineProxy, container_engine: TestEngine
) -> None:
    sample.release("v1.0.0", contained())
    await plane.add(sample)
    plan = await plane.plan(f"deploy {sample.name} v1.0.0 to staging")
    deaths = [proxy.dies("POST .*/build[?]", "after", AWAY_S)]
    deaths += [proxy.dies("POST .*/images/.*/push", when, AWAY_S) for when in ("before", "after")]  # type: ignore[arg-type]
    await plane.approve(plan)
    run = await plane.ended(await plane.run_of(plan["plan_id"]), 120)
    assert run["status"] == "completed", run["error"]
    assert all(death.happened.is_set() for death in deaths)
    events = (await plane.get(f"/runs/{run['run_id']}/events"))["items"]
    again = [event["task"] for event in events if event["type"] == "TaskRetryScheduled"]
    assert (set(again), again.count("push") >= 2) == ({"image", "push"}, True)
    await check_only(plane, sample, container_engine, "v1.0.0")


async def test_during_start_check_switch_and_retirement_no_request_is_lost_and_nothing_is_started_twice(
    plane: Plane, sample: Sample, proxy: EngineProxy, container_engine: TestEngine
) -> None:
    slow = {"health": MODULE["health"] | {"healthy_after": 10, "interval": 0.2}}
    await serving_first(plane, sample, slow)
    plan = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
    deaths = [proxy.dies("POST .*/containers/create", "before", AWAY_S)]
    deaths.append(proxy.dies(r"POST .*/containers/.*start-staging.*/start ", "after", AWAY_S))
    deaths.append(proxy.dies(r"POST .*/containers/.*start-staging.*/stop", "after", AWAY_S))
    async with plane.traffic(sample) as answers:
        await plane.approve(plan)
        run_id = await plane.run_of(plan["plan_id"])
        await plane.task_runs(run_id, "verify-staging")
        await proxy.away(AWAY_S)
        # Switching asks for the image of what it leaves, to be sure of the way back.
        deaths.append(proxy.dies(r"GET .*/images/sha256:[^ ]*/json", "before", AWAY_S))
        run = await plane.ended(run_id, 120)
    assert run["status"] == "completed", run["error"]
    assert all(death.happened.is_set() for death in deaths), deaths
    assert set(answers) <= {(200, "v1.0.0"), (200, "v1.1.0")}
    assert answers[-1] == (200, "v1.1.0")
    await check_only(plane, sample, container_engine, "v1.1.0")


async def test_during_the_watch_nothing_is_promoted_or_brought_back_before_it_was_seen_for_a_whole_window(
    plane: Plane, sample: Sample, proxy: EngineProxy, container_engine: TestEngine
) -> None:
    await serving_first(plane, sample, LONG_WATCH)
    run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
    await plane.task_runs(run_id, "watch-staging")
    await asyncio.sleep(1)
    await proxy.away(AWAY_S)
    assert (await plane.get(f"/runs/{run_id}"))["status"] == "running"
    run = await plane.ended(run_id, 120)
    assert run["status"] == "completed", run["error"]
    assert await plane.incidents(sample) == []
    await check_only(plane, sample, container_engine, "v1.1.0")


async def test_during_a_way_back_the_bad_one_still_goes_and_the_good_one_is_not_started_twice(
    plane: Plane, sample: Sample, proxy: EngineProxy, container_engine: TestEngine
) -> None:
    await serving_first(plane, sample, LONG_WATCH)
    first = (await asyncio.to_thread(inspect, container_engine, sample))[0]["Id"]
    run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
    await plane.task_runs(run_id, "watch-staging")
    stopped = proxy.dies(r"POST .*/containers/.*start-staging.*/stop", "after", AWAY_S)
    await plane.behave(sample, unhealthy=True)

    async def is_restoring() -> bool:
        run = await plane.get(f"/runs/{run_id}")
        return any(task["id"] == "restore-staging" and task["status"] != "pending" for task in run["tasks"])

    await until(is_restoring, "the way back has begun")
    await proxy.away(AWAY_S)
    run = await plane.ended(run_id, 120)
    assert (run["status"], run["error"]["code"]) == ("rolled_back", "threshold_crossed")
    assert stopped.happened.is_set()
    await check_only(plane, sample, container_engine, "v1.0.0")
    assert (await asyncio.to_thread(inspect, container_engine, sample))[0]["Id"] == first
    assert (await plane.refusal(f"deploy {sample.name} v1.1.0 to staging"))["code"] == "quarantined"


@pytest.mark.slow
async def test_during_a_canary_s_analysis_its_requests_are_counted_anew_and_it_is_judged_by_what_was_seen(
    plane: Plane, sample: Sample, proxy: EngineProxy, container_engine: TestEngine
) -> None:
    deploy = {"strategy": "canary", "steps": [{"percent": 50, "bake": 3}], "analysis": {"min_requests": 4}, "drain": "1s"}
    await serving_first(plane, sample, {"deploy": deploy})
    async with plane.traffic(sample) as answers:
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        await plane.task_runs(run_id, "analyse-staging-50")
        await proxy.away(AWAY_S)
        run = await plane.ended(run_id, 120)
    assert run["status"] == "completed", run["error"]
    assert {status for status, _ in answers} == {200}
    await check_only(plane, sample, container_engine, "v1.1.0")


@pytest.mark.slow
async def test_away_too_long_for_a_step_what_serves_was_never_touched_and_the_next_plan_goes_through(
    plane: Plane, sample: Sample, proxy: EngineProxy, container_engine: TestEngine
) -> None:
    await serving_first(plane, sample)
    plan = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
    proxy.cut()
    try:
        assert (await plane.approve(plan, 503))["code"] == "engine_down"
    finally:
        await proxy.start()
    death = proxy.dies("POST .*/build[?]", "before", 15)
    async with plane.traffic(sample) as answers:
        await plane.approve(plan)
        run = await plane.ended(await plane.run_of(plan["plan_id"]), 60)
    await until(lambda: is_back(proxy), "the engine is back")
    assert death.happened.is_set()
    assert (run["status"], run["error"]["code"], run["error"]["task"]) == ("failed", "engine_down", "image")
    assert "INTERLOCK_CONTAINER_ENGINE" in json.dumps(run["error"])
    assert set(answers) == {(200, "v1.0.0")}
    await plane.deploy(sample, "v1.1.0")
    await check_only(plane, sample, container_engine, "v1.1.0")
