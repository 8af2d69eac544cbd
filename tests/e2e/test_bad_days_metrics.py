"""Numbers that are missing, wrong or late: a canary pauses and asks, it is never promoted by what cannot be told."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from e2e.conftest import environment
from e2e.test_strategies import lost
from harness.http_target import Target, http_target
from harness.plane import Plane, until
from harness.prometheus import prometheus
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUERY = 'sum(faults{release="{release}"})'
JSON = "application/json"


def vector(*values: str) -> str:
    result = [{"metric": {"n": str(number)}, "value": [time.time(), value]} for number, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


LIES: dict[str, tuple[list[tuple[int, str, str | bytes]], str]] = {
    "not a number": ([(200, JSON, vector("NaN"))], "the value is NaN"),
    "no samples": ([(200, JSON, vector())], "no samples"),
    "several series": ([(200, JSON, vector("0", "9"))], "2 series where one is meant"),
    "stale": ([(200, JSON, vector("0")), (200, JSON, vector("600"))] * 40, "the newest sample is 600 s old"),
    "no Prometheus": ([(200, "text/html", "<html>welcome</html>")], "its answer cannot be read"),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def liar() -> AsyncIterator[Target]:
    """What the control plane takes for a Prometheus."""
    async with http_target() as target:
        yield target


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(liar: Target, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    made = Plane(tmp_path_factory.mktemp("plane"), environment(), prometheus_url=liar.url)
    await made.start()
    yield made
    await made.stop()
    await made.clear()


def canary(*checks: dict[str, Any], bake: float = 0.8) -> dict[str, Any]:
    """A module that is judged by these checks alone, in one step."""
    analysis = {"min_requests": 4, "checks": list(checks)}
    steps = [{"percent": 50, "bake": bake}]
    return {"deploy": {"strategy": "canary", "steps": steps, "drain": "1s", "analysis": analysis}}


async def begun(plane: Plane, sample: Sample, module: dict[str, Any], **behaviour: Any) -> str:
    """v1.0.0 serves, v1.1.0 comes as a canary; the id of its run."""
    sample.release("v1.0.0")
    sample.release("v1.1.0", module, **behaviour)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    return await plane.begin(f"deploy {sample.name} v1.1.0 to staging")


@asynccontextmanager
async def mended(liar: Target) -> AsyncIterator[None]:
    """Afterwards the target does nobody any harm."""
    yield
    liar.delay_s = 0
    liar.says(vector("0"), content_type=JSON)


async def question(plane: Plane, run_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        items = (await plane.get("/inbox"))["items"]
        return next((item for item in items if item["kind"] == "question" and run_id in str(item)), None)

    return await until(look, "a person is asked")


async def check_paused(plane: Plane, sample: Sample, item: dict[str, Any]) -> None:
    """Nobody is served by more of the candidate than before, and nothing is held against it."""
    assert item["options"] == ["look again", "promote", "abort"]
    serving = await plane.serving(sample)
    assert serving is not None
    assert serving["version"] == "v1.0.0"
    assert await plane.incidents(sample) == []


async def test_a_prometheus_that_is_away_or_lies_pauses_the_canary_and_asks_each_time_anew(
    plane: Plane, sample: Sample, liar: Target
) -> None:
    liar.says("no upstream", 503)
    async with mended(liar):
        run_id = await begun(plane, sample, canary({"name": "faults", "promql": QUERY, "max": 1}, bake=0.3))
        item = await question(plane, run_id)
        assert "it answered 503" in item["title"]
        for answers, reason in LIES.values():
            liar.answers = list(answers)
            await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "look again"})
            item = await question(plane, run_id)
            assert reason in item["title"]
            await check_paused(plane, sample, item)
        liar.answers = [(200, JSON, vector("0"))]
        await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "look again"})
        run = await plane.ended(run_id)
    assert run["status"] == "completed", run["error"]
    assert await plane.ask(sample) == (200, "v1.1.0")


async def test_a_person_may_abort_what_cannot_be_told_and_nothing_is_held_against_it(
    plane: Plane, sample: Sample, liar: Target
) -> None:
    liar.says(vector("NaN"), content_type=JSON)
    async with mended(liar):
        run_id = await begun(plane, sample, canary({"name": "faults", "promql": QUERY, "max": 1}, bake=0.3))
        item = await question(plane, run_id)
        await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "abort"})
        run = await plane.ended(run_id)
    assert (run["status"], run["error"]["code"]) == ("rolled_back", "stopped_by_person")
    assert await plane.ask(sample) == (200, "v1.0.0")
    assert await plane.incidents(sample) == []


async def test_a_canary_that_gets_ill_while_somebody_is_asked_about_it_is_brought_back(
    plane: Plane, sample: Sample, liar: Target, tmp_path: Path
) -> None:
    liar.says(vector("NaN"), content_type=JSON)
    illness = tmp_path / "ill"
    async with mended(liar):
        module = canary({"name": "faults", "promql": QUERY, "max": 1}, bake=0.3)
        run_id = await begun(plane, sample, module, unhealthy_while=str(illness))
        item = await question(plane, run_id)
        illness.touch()
        run = await plane.ended(run_id)
    assert (run["status"], run["error"]["code"]) == ("rolled_back", "analysis_failed")
    assert "the health check failed" in run["error"]["message"]
    answered = (await plane.get("/inbox", params={"state": "answered"}))["items"]
    (settled,) = [each for each in answered if each["item_id"] == item["item_id"]]
    assert (settled["answer"], settled["answered_by"]) == ("abort", "system:control-plane")
    assert await plane.ask(sample) == (200, "v1.0.0")
    (incident,) = await plane.incidents(sample)
    assert (incident["found_by"], incident["state"]) == ("run", "resolved")


@pytest.mark.slow
async def test_a_prometheus_that_is_too_slow_is_one_that_does_not_answer(plane: Plane, sample: Sample, liar: Target) -> None:
    liar.says(vector("0"), content_type=JSON)
    liar.delay_s = 60
    async with mended(liar):
        run_id = await begun(plane, sample, canary({"name": "faults", "promql": QUERY, "max": 1}))
        item = await question(plane, run_id)
        assert "no complete answer within" in item["title"]
        await check_paused(plane, sample, item)
        liar.delay_s = 0
        await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "abort"})
        await plane.ended(run_id)


async def test_a_real_prometheus_that_says_yes_promotes_and_one_that_says_no_brings_back(
    sample: Sample, tmp_path: Path
) -> None:
    module = canary({"name": "faults", "promql": "sum(faults)", "max": 1}, bake=3)
    async with http_target() as page:
        page.says("faults 0\n")
        async with prometheus(tmp_path / "server", [page.url.removeprefix("http://")]) as server:
            own = Plane(tmp_path / "plane", environment(), prometheus_url=server.url)
            await own.start()
            try:
                # Its first scrape is a moment away; the analysis cannot tell until then, and judges at its end.
                run = await own.ended(await begun(own, sample, module))
                assert run["status"] == "completed", run["error"]
                page.says("faults 7\n")
                sample.release("v1.2.0", module)
                run = await own.do(f"deploy {sample.name} v1.2.0 to staging")
                assert (run["status"], run["error"]["code"]) == ("rolled_back", "analysis_failed")
                assert "faults: 7; at most 1 wanted" in run["error"]["message"]
            finally:
                await own.stop()
                await own.clear()


@pytest.mark.slow
async def test_a_prometheus_that_dies_in_the_middle_of_a_bake_leaves_it_open(sample: Sample, tmp_path: Path) -> None:
    async with http_target() as page:
        page.says("faults 0\n")
        async with prometheus(tmp_path / "server", [page.url.removeprefix("http://")]) as server:
            own = Plane(tmp_path / "plane", environment(), prometheus_url=server.url)
            await own.start()
            try:
                run_id = await begun(own, sample, canary({"name": "faults", "promql": "sum(faults)", "max": 1}, bake=3))
                await own.task_runs(run_id, "analyse-staging-50")
                await server.stop()
                item = await question(own, run_id)
                assert "Prometheus does not answer" in item["title"]
                await check_paused(own, sample, item)
                await server.start()
                await until(partial(server.knows, "sum(faults)"), "it has looked again")
                await own.post(f"/inbox/{item['item_id']}/answer", {"answer": "look again"})
                assert (await own.ended(run_id))["status"] == "completed"
            finally:
                await own.stop()
                await own.clear()


@pytest.mark.parametrize(
    ("page", "ends"),
    [("queue_depth 3\n", "completed"), ("queue_depth 300\n", "rolled_back"), ("queue_depth NaN\n", "asks")],
)
async def test_the_page_of_the_service_itself_decides_or_leaves_it_open(
    plane: Plane, sample: Sample, page: str, ends: str
) -> None:
    run_id = await begun(plane, sample, canary({"name": "queue", "metric": "queue_depth", "max": 100}), metrics=page)
    if ends == "asks":
        await check_paused(plane, sample, await question(plane, run_id))
    else:
        assert (await plane.ended(run_id))["status"] == ends


async def test_a_candidate_that_writes_tracebacks_is_brought_back(plane: Plane, sample: Sample) -> None:
    sample.release("v1.0.0")
    module = canary({"name": "tracebacks", "log_pattern": "Traceback|ERROR", "max": 5})
    sample.release("v1.1.0", module, says="Traceback (most recent call last)")
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    async with plane.traffic(sample) as answers:
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
    assert (run["status"], run["error"]["code"]) == ("rolled_back", "analysis_failed")
    assert "tracebacks" in run["error"]["message"]
    assert lost(answers) == []
