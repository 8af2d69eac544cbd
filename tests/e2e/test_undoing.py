"""A release that changes a real database: what is undone when it goes wrong, in which order, and what is said of it."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness.migrating import Databases, up
from harness.plane import Plane, until
from harness.sample import MODULE, Sample
from harness.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG_WATCH = {"watch": MODULE["watch"] | {"window": "60s"}}
BOTH = ("staging", "production")
ILL = {"health": MODULE["health"] | {"start_timeout": "1s"}}


def statuses(run: dict[str, Any]) -> dict[str, str]:
    return {task["id"]: task["status"] for task in run["tasks"]}


async def began(plane: Plane, run: dict[str, Any]) -> list[str]:
    """The tasks of a run in the order in which they began."""
    events = (await plane.get(f"/runs/{run['run_id']}/events", params={"limit": 1000}))["items"]
    return [event["task"] for event in events if event["type"] == "TaskStarted"]


async def reason(plane: Plane, run: dict[str, Any]) -> str:
    return (await plane.get(f"/plans/{run['plan_id']}"))["reason"]


async def versions(plane: Plane, sample: Sample, *environments: str) -> dict[str, str]:
    """What the users of each environment get."""
    return {name: (await plane.ask(sample, environment=name))[1] for name in environments}


async def settled(plane: Plane, sample: Sample, *environments: str) -> Databases:
    """v1.0.0 serves there, with the table ``users``."""
    databases = Databases(sample)
    sample.release("v1.0.0", databases.module(up("users")))
    await plane.add(sample)
    for name in environments:
        await plane.deploy(sample, "v1.0.0", name)
        assert databases.tables(name) == {"users"}
    return databases


async def test_a_release_that_goes_well_keeps_what_its_migrations_did(plane: Plane, sample: Sample) -> None:
    databases = await settled(plane, sample, "staging")
    sample.release("v1.1.0", databases.module(up("orders"), up("invoices")))
    run = await plane.deploy(sample, "v1.1.0")
    assert databases.tables() == {"users", "orders", "invoices"}
    order = await began(plane, run)
    assert order.index("migrate-staging-1") < order.index("migrate-staging-2") < order.index("start-staging")
    assert statuses(run)["unmigrate-staging-1"] == "skipped"
    await plane.do(f"restart {sample.name} in staging")
    assert databases.done() == ["up users", "up orders", "up invoices"], "a restart migrates nothing"


async def test_back_by_hand_leaves_the_database_as_it_is_and_says_so_before(plane: Plane, sample: Sample) -> None:
    databases = await settled(plane, sample, "staging")
    sample.release("v1.1.0", databases.module(up("orders")))
    await plane.deploy(sample, "v1.1.0")
    plan = await plane.plan(f"roll {sample.name} back to v1.0.0 in staging")
    found = {item["code"]: item["message"] for item in plan["findings"]}
    assert found["migrations_stay"] == "the migrations of v1.1.0 are not undone: v1.0.0 gets what they left"
    assert "quarantine-staging cannot be undone" in found["one_way"]
    await plane.approve(plan)
    run = await plane.ended(await plane.run_of(plan["plan_id"]))
    assert run["status"] == "completed"
    assert databases.tables() == {"users", "orders"}


async def test_a_failure_after_the_migrations_undoes_them_once_the_old_one_serves(plane: Plane, sample: Sample) -> None:
    databases = await settled(plane, sample, "staging")
    smoke = {"smoke_tests": [{"name": "never", "path": "/", "expect_text": "something else"}]}
    sample.release("v1.1.0", databases.module(up("orders"), up("invoices"), **smoke))
    async with plane.traffic(sample) as answers:
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
    assert run["status"] == "rolled_back"
    assert {status for status, _ in answers} == {200}
    assert databases.tables() == {"users"}
    assert databases.done()[1:] == ["up orders", "up invoices", "down invoices", "down orders"]
    order = await began(plane, run)
    assert order[-3:] == ["take-out-staging", "unmigrate-staging-2", "unmigrate-staging-1"]
    assert run["summary"]["left"] == []
    assert {"migrate-staging-1", "migrate-staging-2", "start-staging", "switch-staging"} <= set(run["summary"]["undone"])
    assert "staging was brought back to v1.0.0; undone: migrate-staging-1, migrate-staging-2" in await reason(plane, run)
    await check_report(plane, run)


async def check_report(plane: Plane, run: dict[str, Any]) -> None:
    """What is told of the run is what was seen of it."""
    report = await plane.get(f"/runs/{run['run_id']}/report")
    assert (report["status"], report["asked"]) == ("rolled_back", (await plane.get(f"/plans/{run['plan_id']}"))["text"])
    assert (report["requested_by"], report["approved_by"]) == ("user:owner", ["user:owner"])
    assert "staging was brought back to v1.0.0" in report["outcome"]
    assert [(item["task"], item["code"], item["is_tried_again"]) for item in report["failures"]] == [
        ("smoke-staging", "smoke_tests_failed", False)
    ]
    steps = {step["task"]: step["status"] for step in report["steps"]}
    assert steps == statuses(run)
    assert report["costs"]["effects"] == len(run["effects"]) > 0
    assert report["costs"]["duration_s"] == run["duration_s"]
    (made,) = [item["name"] for item in report["artifacts"] if item["kind"] == "release"]
    assert made in [item["release_id"] for item in (await plane.get("/releases"))["items"]]
    for link in {item["link"] for item in report["artifacts"] if item["link"]}:
        await plane.get(link)


async def test_a_migration_that_fails_itself_is_undone_as_well_and_nothing_was_started(plane: Plane, sample: Sample) -> None:
    databases = await settled(plane, sample, "staging")
    sample.release("v1.1.0", databases.module(up("orders"), up("invoices")))
    databases.tell("break", "staging-up-invoices")
    run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
    assert (run["status"], run["error"]["code"]) == ("failed", "command_failed")
    assert statuses(run)["start-staging"] == "skipped"
    assert databases.tables() == {"users"}
    assert "staging still has v1.0.0; undone: migrate-staging-1, migrate-staging-2" in await reason(plane, run)


async def test_what_is_one_way_is_said_before_and_left_and_told_after(plane: Plane, sample: Sample) -> None:
    databases = await settled(plane, sample, "staging")
    drop = up("archive", one_way="moves the orders of last year")
    sample.release("v1.1.0", databases.module(up("orders"), drop, **ILL), unhealthy=True)
    plan = await plane.plan(f"deploy {sample.name} v1.1.0 to staging")
    (finding,) = [item for item in plan["findings"] if item["code"] == "one_way"]
    assert finding["message"] == "migrate-staging-2 cannot be undone: moves the orders of last year"
    assert finding["severity"] == "warning"
    assert finding["where"].startswith("ai-module.yaml:")
    await plane.approve(plan)
    run = await plane.ended(await plane.run_of(plan["plan_id"]))
    assert run["status"] == "failed"
    assert databases.tables() == {"users", "archive"}
    why = "cannot be undone: moves the orders of last year"
    assert run["summary"]["left"] == [{"task": "migrate-staging-2", "reason": why}]
    assert f"staging still has v1.0.0; undone: migrate-staging-1; not undone: migrate-staging-2 ({why})" in await reason(
        plane, run
    )


async def test_an_undo_that_fails_is_told_and_alarms(plane: Plane, sample: Sample) -> None:
    databases = await settled(plane, sample, "staging")
    sample.release("v1.1.0", databases.module(up("orders"), up("invoices"), **ILL), unhealthy=True)
    databases.tell("break", "staging-down-invoices")
    run = await plane.do(f"deploy {sample.name} v1.1.0 to staging")
    assert run["status"] == "failed"
    assert databases.tables() == {"users", "orders", "invoices"}
    assert [item["task"] for item in run["summary"]["left"]] == ["migrate-staging-1", "migrate-staging-2"]
    assert "unmigrate-staging-2 failed, and migrate-staging-2 rests on migrate-staging-1" in await reason(plane, run)
    assert await until(lambda: plane.inbox(sample), "somebody is called")


@pytest.mark.parametrize("moment", ["migrate-staging-2", "verify-staging", "watch-staging", "unmigrate-staging-2"])
async def test_cancelled_in_the_middle_everything_is_undone_all_the_same(plane: Plane, sample: Sample, moment: str) -> None:
    databases = await settled(plane, sample, "staging")
    slow = {"health": MODULE["health"] | {"healthy_after": 100}} if moment == "verify-staging" else LONG_WATCH
    ill = moment == "unmigrate-staging-2"
    sample.release("v1.1.0", databases.module(up("orders"), up("invoices"), **(ILL if ill else slow)), unhealthy=ill)
    held = databases.tell("hold", f"staging-{'down' if ill else 'up'}-invoices") if "migrate" in moment else None
    run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
    await plane.task_runs(run_id, moment)
    if held:
        await until(lambda: _said(databases, f"staging {'down' if ill else 'up'} invoices"), "it is in the middle")
    await plane.post(f"/runs/{run_id}/cancel", {"reason": "not today"})
    if held:
        held.unlink()
    run = await plane.ended(run_id)
    assert run["status"] == "cancelled"
    assert databases.tables() == {"users"}
    assert await plane.ask(sample) == (200, "v1.0.0")
    assert run["summary"]["left"] == []
    assert {"migrate-staging-1", "migrate-staging-2"} <= set(run["summary"]["undone"])


async def _said(databases: Databases, line: str) -> bool:
    return line in databases.said()


class TestBoth:
    async def test_what_was_watched_stays_and_the_run_says_what_is_where(self, plane: Plane, sample: Sample) -> None:
        databases = await settled(plane, sample, *BOTH)
        sample.release("v1.1.0", databases.module(up("orders")))
        databases.tell("break", "production-up-orders")
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging and production")
        assert await versions(plane, sample, *BOTH) == {"staging": "v1.1.0", "production": "v1.0.0"}
        assert (databases.tables("staging"), databases.tables("production")) == ({"users", "orders"}, {"users"})
        assert {"migrate-staging-1", "start-staging", "retire-staging"} <= set(run["summary"]["stands"])
        assert "staging has v1.1.0; production still has v1.0.0; undone: migrate-production-1" in await reason(plane, run)

    @pytest.mark.parametrize("bad", ["production", "staging"])
    async def test_all_or_nothing_brings_the_first_one_back_too(self, plane: Plane, sample: Sample, bad: str) -> None:
        """Also when it is the first one that turns bad, while the run is at work in the second."""
        databases = await settled(plane, sample, *BOTH)
        marker = databases.folder / "ill"
        module = databases.module(up("orders"), deploy={"all_or_nothing": True})
        sample.release("v1.1.0", module, unhealthy_while=str(marker))
        held = databases.tell("hold", "production-up-orders")
        before = await plane.serving(sample)
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging and production")
        await until(lambda: _said(databases, "production up orders"), "staging is done")
        assert (await plane.ask(sample)) == (200, "v1.1.0")
        if bad == "production":
            databases.tell("break", "production-up-orders")
            held.unlink()
        else:
            marker.touch()
        run = await plane.ended(run_id)
        assert run["status"] == ("rolled_back" if bad == "production" else "cancelled")
        held.unlink(missing_ok=True)
        assert await versions(plane, sample, *BOTH) == {"staging": "v1.0.0", "production": "v1.0.0"}
        after = await plane.serving(sample)
        assert before is not None
        assert after is not None
        assert after["deployment_id"] == before["deployment_id"], "the old one was kept running for this"
        assert databases.tables("staging") == databases.tables("production") == {"users"}
        assert (await began(plane, run))[-2:] == ["unmigrate-production-1", "unmigrate-staging-1"]
        told = (
            "staging was brought back to v1.0.0; production still has v1.0.0; undone: migrate-staging-1, migrate-production-1"
        )
        assert told in await reason(plane, run)

    async def test_all_or_nothing_that_goes_well_stops_the_old_ones_last(self, plane: Plane, sample: Sample) -> None:
        databases = await settled(plane, sample, *BOTH)
        sample.release("v1.1.0", databases.module(up("orders"), deploy={"all_or_nothing": True}))
        run = await plane.do(f"deploy {sample.name} v1.1.0 to staging and production")
        assert run["status"] == "completed", run["error"]
        assert (await began(plane, run))[-3:] == ["watch-production", "retire-staging", "retire-production"]
        assert await versions(plane, sample, *BOTH) == {"staging": "v1.1.0", "production": "v1.1.0"}


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    own = Server(tmp_path / "home")
    yield own
    await own.clear()


@pytest.mark.parametrize("is_over", [False, True], ids=["goes on", "is over meanwhile"])
async def test_killed_in_the_middle_of_a_migration_and_of_its_undo_each_is_done_once(
    server: Server, sample: Sample, *, is_over: bool
) -> None:
    """The command goes on without the control plane; it is over before the next one looks, or not."""
    await server.start()
    databases = Databases(sample)
    sample.release("v1.0.0", databases.module(up("users")))
    sample.release("v1.1.0", databases.module(up("orders"), up("invoices"), **ILL), unhealthy=True)
    await server.add(sample)
    await server.deploy(sample, "v1.0.0")
    held = ["up invoices", "down invoices", "down orders"]
    files = [databases.tell("hold", f"staging-{what.replace(' ', '-')}") for what in held]
    run_id = await server.begin(f"deploy {sample.name} v1.1.0 to staging")
    for what, file in zip(held, files, strict=True):
        await until(partial(_said, databases, f"staging {what}"), "it is in the middle")
        await server.kill()
        if is_over:
            file.unlink()
            await until(partial(_done, databases, what), "it ends by itself")
        await server.start()
        file.unlink(missing_ok=True)
    run = await server.ended(run_id)
    assert (run["status"], run["adoptions"]) == ("failed", 3)
    once = ["up orders", "up invoices", "down invoices", "down orders"]
    assert databases.done()[1:] == once
    assert databases.said()[1:] == [f"staging {what}" for what in once]
    assert databases.tables() == {"users"}
    assert run["summary"]["left"] == []
    assert await server.ask(sample) == (200, "v1.0.0")


async def _done(databases: Databases, what: str) -> bool:
    return what in databases.done()
