"""What is changed by hand is found, and healed or asked about as the environment's rule says."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from e2e.conftest import environment
from harness.people import rules
from harness.plane import MakePlane, Plane, until
from harness.sample import Sample
from interlock.tools.ports import ProcessSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFTEN = {"drift_interval_s": 0.2}
THREE = {"replicas": 3}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    """Staging asks, production heals."""
    shared = Plane(tmp_path_factory.mktemp("plane"), environment(), **OFTEN)
    await shared.start()
    await rules(shared, "production", drift="heal")
    yield shared
    await shared.stop()
    await shared.clear()


async def deployed(plane: Plane, sample: Sample, place: str, module: dict[str, Any] | None = None) -> dict[str, Any]:
    """What serves of v1.0.0 in the environment."""
    sample.release("v1.0.0", module)
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0", place)
    serving = await plane.serving(sample, place)
    assert serving is not None
    return serving


def kill(plane: Plane, key: str) -> None:
    """End a supervisor and its process, as `kill -9` on both does."""
    for name in ("supervisor.json", "process.json"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads((plane.home / "processes" / key / name).read_text())["pid"], signal.SIGKILL)


async def drift(plane: Plane, sample: Sample) -> list[dict[str, Any]]:
    return (await plane.get("/drift", params={"service": sample.name}))["items"]


async def found(plane: Plane, sample: Sample, kind: str) -> dict[str, Any]:
    async def look() -> Any:
        return next((item for item in await drift(plane, sample) if kind in {each["kind"] for each in item["drifts"]}), None)

    return await until(look, f"{kind} is found")


async def gone(plane: Plane, sample: Sample) -> None:
    async def look() -> bool:
        return not await drift(plane, sample)

    await until(look, "nothing differs any more")


async def question(plane: Plane, sample: Sample) -> dict[str, Any]:
    async def look() -> Any:
        return next((item for item in await plane.inbox(sample) if item["subject"].startswith("drift:")), None)

    return await until(look, "a person is asked")


async def answer(plane: Plane, item: dict[str, Any], said: str) -> None:
    await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": said})


async def events(plane: Plane, sample: Sample, place: str) -> list[str]:
    """The kinds of what happened to the drift of a place, oldest first."""
    found = (await plane.get("/events", params={"subject": f"drift:{sample.name}.{place}"}))["items"]
    return [event["type"].removeprefix("interlock.") for event in found]


async def heal_runs(plane: Plane, plan_id: str) -> list[dict[str, Any]]:
    runs = (await plane.get("/runs", params={"plan": plan_id}))["items"]
    return [run for run in runs if run["role"].startswith("heal:")]


async def healed(plane: Plane, sample: Sample, place: str, before: str) -> dict[str, Any]:
    """What serves, once it is another deployment than before and nothing is out of order."""

    async def look() -> Any:
        serving = await plane.serving(sample, place)
        is_well = serving and serving["deployment_id"] != before and serving["observed"]["health"] == "healthy"
        return serving if is_well and not await drift(plane, sample) else None

    return await until(look, "it is healed")


class TestAsked:
    async def test_a_killed_process_is_one_question_and_healed_when_a_person_says_so(
        self, plane: Plane, sample: Sample
    ) -> None:
        serving = await deployed(plane, sample, "staging")
        assert await drift(plane, sample) == []
        kill(plane, serving["instances"][0]["key"])
        item = await question(plane, sample)
        assert item["options"] == ["heal", "leave"]
        assert "stopped from outside" in item["title"]
        (incident,) = await until(lambda: plane.incidents(sample), "the watch sees it too")
        assert incident["found_by"] == "host"
        assert len(await plane.inbox(sample)) == 1
        status = (await plane.get("/status", params={"service": sample.name, "environment": "staging"}))["items"]
        assert "stopped from outside" in status[0]["drift"][0]
        assert await heal_runs(plane, serving["plan_id"]) == []
        await answer(plane, item, "heal")
        again = await healed(plane, sample, "staging", serving["deployment_id"])
        assert await plane.ask(sample) == (200, "v1.0.0")
        assert (again["release_id"], again["state"]) == (serving["release_id"], "good")
        (run,) = await heal_runs(plane, serving["plan_id"])
        assert (await plane.ended(run["run_id"]))["status"] == "completed"
        assert await plane.state(serving["plan_id"]) == "succeeded"
        (incident,) = await plane.incidents(sample)
        assert (incident["state"], incident["timeline"][-1][1]) == ("resolved", "healed")
        assert await events(plane, sample, "staging") == [
            "drift.found",
            "inbox.opened",
            "inbox.answered",
            "drift.gone",
        ]

    async def test_what_is_left_is_shown_and_not_asked_about_again(self, plane: Plane, sample: Sample) -> None:
        serving = await deployed(plane, sample, "staging")
        kill(plane, serving["instances"][0]["key"])
        await answer(plane, await question(plane, sample), "leave")

        async def is_left() -> bool:
            return (await drift(plane, sample))[0]["state"] == "left"

        await until(is_left, "it is left")
        await asyncio.sleep(1)
        assert await plane.inbox(sample) == []
        assert (await drift(plane, sample))[0]["drifts"][0]["kind"] == "stopped"
        await plane.do(f"restart {sample.name} in staging")
        await gone(plane, sample)

    async def test_an_orphan_may_be_accepted(self, plane: Plane, sample: Sample) -> None:
        serving = await deployed(plane, sample, "staging")
        key = await started_by_hand(plane, serving)
        item = await question(plane, sample)
        assert item["options"] == ["heal", "accept", "leave"]
        await answer(plane, item, "accept")
        await gone(plane, sample)
        await asyncio.sleep(1)
        assert await plane.inbox(sample) == []
        assert (await plane.host.status(key)).state == "running"
        await plane.host.stop(key, 0)

    async def test_a_question_is_withdrawn_when_the_matter_settles_itself(self, plane: Plane, sample: Sample) -> None:
        serving = await deployed(plane, sample, "staging")
        key = await started_by_hand(plane, serving)
        item = await question(plane, sample)
        await plane.host.stop(key, 0)
        await gone(plane, sample)

        async def is_withdrawn() -> bool:
            return not await plane.inbox(sample)

        await until(is_withdrawn, "the question is withdrawn")
        assert (await plane.post(f"/inbox/{item['item_id']}/answer", {"answer": "heal"}, 409))["code"] == "already_answered"


async def started_by_hand(plane: Plane, serving: dict[str, Any]) -> str:
    """A second process under a key of the deployment's run, which nothing on record has."""
    key = "run-" + serving["run_id"].removeprefix("run_") + "-by-hand"
    spec = ProcessSpec(kind="service", commands=(("/bin/sleep", "600"),), folder="/", environment={})
    await plane.host.start(key, spec)
    return key


class TestHealed:
    async def test_a_killed_process_comes_back_without_a_question(self, plane: Plane, sample: Sample) -> None:
        serving = await deployed(plane, sample, "production")
        kill(plane, serving["instances"][0]["key"])
        await healed(plane, sample, "production", serving["deployment_id"])
        assert await plane.ask(sample, environment="production") == (200, "v1.0.0")
        assert await plane.inbox(sample) == []

    async def test_one_of_three_comes_back_and_no_request_is_lost(self, plane: Plane, sample: Sample) -> None:
        serving = await deployed(plane, sample, "production", THREE)
        before = {instance["key"] for instance in serving["instances"]}
        async with traffic(plane, sample) as answers:
            kill(plane, serving["instances"][1]["key"])
            again = await healed(plane, sample, "production", serving["deployment_id"])
            count = len(answers)
            await until(lambda: enough(answers, count + 20), "requests went on")
        after = {instance["key"] for instance in again["instances"]}
        assert len(after) == 3
        assert before - after == {serving["instances"][1]["key"]}
        assert set(answers) == {(200, "v1.0.0")}

    async def test_a_leg_that_was_edited_or_removed_is_led_as_before(self, plane: Plane, sample: Sample) -> None:
        await deployed(plane, sample, "production")
        leg = plane.home / "forwarder" / "legs" / f"{sample.name}.production.stable"
        line = leg.read_text()
        ports = line.split(" ")[:100]
        leg.write_text(" ".join(["9"] * 100) + " by-hand")
        await until(lambda: answers_again(plane, sample), "the leg leads as before")
        assert leg.read_text().split(" ")[:100] == ports
        await gone(plane, sample)
        await plane.inside.forwarder.remove(f"{sample.name}.production", "stable")
        await until(lambda: answers_again(plane, sample), "the leg is there again")
        await gone(plane, sample)

    async def test_an_orphan_is_stopped(self, plane: Plane, sample: Sample) -> None:
        serving = await deployed(plane, sample, "production")
        key = await started_by_hand(plane, serving)

        async def is_stopped() -> bool:
            return (await plane.host.status(key)).state == "exited"

        await until(is_stopped, "the orphan is stopped")
        await gone(plane, sample)
        now = await plane.serving(sample, "production")
        assert now is not None
        assert now["deployment_id"] == serving["deployment_id"]


async def enough(answers: list[Any], count: int) -> bool:
    return len(answers) >= count


async def answers_again(plane: Plane, sample: Sample) -> bool:
    return await plane.ask(sample, environment="production") == (200, "v1.0.0")


@contextlib.asynccontextmanager
async def traffic(plane: Plane, sample: Sample) -> AsyncIterator[list[tuple[int, str]]]:
    answers: list[tuple[int, str]] = []

    async def send() -> None:
        while True:
            answers.append(await plane.ask(sample, environment="production"))
            await asyncio.sleep(0.01)

    sender = asyncio.create_task(send())
    try:
        yield answers
    finally:
        sender.cancel()
        await asyncio.wait([sender])


class TestBounded:
    async def test_what_does_not_help_is_given_up_after_three_attempts_with_an_incident_and_an_alarm(
        self, make_plane: MakePlane, sample: Sample, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("interlock.delivery.drift.comparison.BACKOFF", timedelta(seconds=0.5))
        plane = await make_plane(**OFTEN)
        await rules(plane, "staging", drift="heal")
        sample.write("start.py", UNLESS_BLOCKED.format(sample.path.parent / "blocked"))
        serving = await deployed(plane, sample, "staging", {"start": "python3 -I start.py {port}"})
        (sample.path.parent / "blocked").touch()
        kill(plane, serving["instances"][0]["key"])

        async def alarm() -> Any:
            return next((item for item in await plane.inbox(sample) if item["kind"] == "alarm"), None)

        item = await until(alarm, "it is given up", 90)
        assert "3 attempts to heal it did not help" in item["title"]
        runs = await heal_runs(plane, serving["plan_id"])
        assert [run["status"] for run in runs] == ["failed"] * 3
        (incident,) = await plane.incidents(sample, "open")
        assert incident["severity"] == "critical"
        assert (await drift(plane, sample))[0]["state"] == "given_up"
        assert await services(plane) == []
        (sample.path.parent / "blocked").unlink()
        await answer(plane, item, "heal")
        await healed(plane, sample, "staging", serving["deployment_id"])
        assert await plane.incidents(sample, "open") == []


UNLESS_BLOCKED = """
import pathlib, runpy, sys
if pathlib.Path("{}").exists():
    raise SystemExit("blocked")
runpy.run_path("service.py", run_name="__main__")
"""


async def services(plane: Plane) -> list[str]:
    """What runs, but for the forwarder."""
    return [key for key in await plane.host.survey() if not key.startswith("interlock-forwarder")]


class TestBesideOthers:
    async def test_a_roll_out_is_no_drift(self, plane: Plane, sample: Sample) -> None:
        serving = await deployed(plane, sample, "production", THREE)
        sample.release("v1.1.0", THREE | {"deploy": {"strategy": "rolling"}})
        run = await plane.deploy(sample, "v1.1.0", "production")
        now = await plane.serving(sample, "production")
        assert now is not None
        assert now["deployment_id"] != serving["deployment_id"]
        await asyncio.sleep(1)
        assert await events(plane, sample, "production") == []
        assert await heal_runs(plane, serving["plan_id"]) + await heal_runs(plane, run["plan_id"]) == []

    async def test_what_a_person_stopped_through_interlock_stays_stopped(self, plane: Plane, sample: Sample) -> None:
        await deployed(plane, sample, "production")
        run = await plane.do(f"stop {sample.name} in production")
        assert run["status"] == "completed"
        await asyncio.sleep(1)
        assert await events(plane, sample, "production") == []
        assert await plane.serving(sample, "production") is None

    async def test_after_a_restart_of_the_host_everything_comes_back_one_after_the_other(
        self, make_plane: MakePlane, tmp_path: Path
    ) -> None:
        plane = await make_plane(**OFTEN)
        await rules(plane, "staging", drift="heal")
        samples = [Sample(tmp_path / "repositories", f"svc{number}x") for number in range(3)]
        before = [await deployed(plane, sample, "staging") for sample in samples]
        await plane.stop()
        for key in await plane.host.survey():
            kill(plane, key)
        await plane.start()
        for sample, serving in zip(samples, before, strict=True):
            await healed(plane, sample, "staging", serving["deployment_id"])
            assert await plane.ask(sample) == (200, "v1.0.0")
        times = []
        for serving in before:
            (run,) = await heal_runs(plane, serving["plan_id"])
            run = await plane.ended(run["run_id"])
            times.append((run["started_at"], run["ended_at"]))
        assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(sorted(times)))

    async def test_a_control_plane_that_dies_while_it_heals_goes_on_with_it(
        self, make_plane: MakePlane, sample: Sample
    ) -> None:
        plane = await make_plane(**OFTEN)
        await rules(plane, "staging", drift="heal")
        serving = await deployed(plane, sample, "staging")
        kill(plane, serving["instances"][0]["key"])

        async def is_healing() -> bool:
            return bool(await heal_runs(plane, serving["plan_id"]))

        await until(is_healing, "it is being healed")
        await plane.stop()
        await plane.start()
        await healed(plane, sample, "staging", serving["deployment_id"])
        assert await plane.ask(sample) == (200, "v1.0.0")
        (run,) = await heal_runs(plane, serving["plan_id"])
        assert (await plane.ended(run["run_id"]))["status"] == "completed"
        assert await plane.state(serving["plan_id"]) == "succeeded"
        assert len(await services(plane)) == 1
