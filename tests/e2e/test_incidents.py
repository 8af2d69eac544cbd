"""Incidents as people need them: taken up, noted, resolved, and reported on with what is known."""

from typing import Any

import pytest

from harness.plane import MakePlane, Plane, until
from harness.sample import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def proposed(plane: Plane, sample: Sample) -> dict[str, Any]:
    """An incident that no plan acts on by itself: the rollback is only proposed."""
    sample.release("v1.0.0")
    sample.write("greeting.txt", "hello")
    sample.release("v1.1.0", {"rollback": {"policy": "propose"}, "env": {"GREETING": "geheim-value"}})
    await plane.add(sample)
    await plane.deploy(sample, "v1.0.0")
    await plane.deploy(sample, "v1.1.0")
    await plane.behave(sample, unhealthy=True)
    [incident] = await until(lambda: plane.incidents(sample, "open"), "an incident is opened")
    return incident


class TestByHand:
    async def test_acknowledged_it_is_still_open_for_the_watch(self, plane: Plane, sample: Sample) -> None:
        incident = await proposed(plane, sample)
        path = f"/incidents/{incident['incident_id']}"
        taken = await plane.post(f"{path}/acknowledge", {"note": "looking at it"})
        assert (taken["state"], taken["acknowledged_by"]) == ("acknowledged", "user:owner")
        assert taken["timeline"][-1][1] == "user:owner takes care of it: looking at it"
        assert await plane.post(f"{path}/acknowledge") == taken, "saying it again changes nothing"
        noted = await plane.post(f"{path}/notes", {"text": "the cache is cold"})
        assert noted["timeline"][-1][1] == "user:owner notes: the cache is cold"

        # The watch looks on; what goes on being wrong is this incident, not another one.
        samples = plane.inside.watcher._samples
        seen = samples[incident["deployment_id"]][-1].at_s

        async def looked() -> bool:
            return samples[incident["deployment_id"]][-1].at_s > seen

        await until(looked, "the watch looks again")
        assert [item["incident_id"] for item in await plane.incidents(sample)] == [incident["incident_id"]]
        metrics = (await plane.http.get("/api/v1/metrics")).text
        assert "interlock_incidents_open 0.0" not in metrics

        await plane.behave(sample, unhealthy=False)
        resolved = await plane.post(f"{path}/resolve", {"reason": "the cache is warm"})
        assert (resolved["state"], resolved["resolved_by"]) == ("resolved", "user:owner")
        for action, body in (("acknowledge", {}), ("resolve", {"reason": "again"})):
            assert (await plane.post(f"{path}/{action}", body, 409))["code"] == "incident_resolved"
        assert (await plane.post(f"{path}/notes", {"text": "afterwards"}))["state"] == "resolved"
        events = (await plane.get("/events", params={"subject": f"incident:{incident['incident_id']}"}))["items"]
        kinds = [event["type"].removeprefix("interlock.incident.") for event in events]
        assert kinds == ["opened", "acknowledged", "noted", "resolved", "noted"]
        assert {event["originatingagent"] for event in events[1:]} == {"user:owner"}

        async def withdrawn() -> bool:
            return await plane.inbox(sample) == []

        await until(withdrawn, "nothing is asked about it any more")

    async def test_what_does_not_exist_or_says_nothing_is_refused(self, plane: Plane) -> None:
        for action, body in (("acknowledge", {}), ("resolve", {"reason": "x"}), ("notes", {"text": "x"})):
            assert (await plane.post(f"/incidents/inc_none/{action}", body, 404))["code"] == "incident"
        await plane.get("/incidents/inc_none/report", 404)
        await plane.post("/incidents/inc_none/resolve", {"reason": ""}, 422)


class TestReport:
    async def test_it_says_what_changed_and_what_was_seen(self, plane: Plane, sample: Sample) -> None:
        incident = await proposed(plane, sample)
        path = f"/incidents/{incident['incident_id']}/report"
        report = await plane.get(path)
        facts = report["facts"]
        assert (facts["good"]["version"], facts["bad"]["version"]) == ("v1.0.0", "v1.1.0")
        assert [commit["subject"] for commit in facts["commits"]] == ["v1.1.0"]
        assert "greeting.txt" in facts["commits"][0]["files"]
        fields = {change["field"] for change in facts["recipe"]}
        assert fields == {"rollback", "env.GREETING"}
        assert any("started <text>" in item["template"] or "started v1.1.0" in item["example"] for item in facts["log"])
        whats = [entry["what"] for entry in report["timeline"]]
        assert "v1.1.0 got traffic" in whats
        assert any("approved plan_" in what for what in whats)
        assert any(item["fact"] == "evidence: health" for item in report["cause"])
        text = (await plane.http.get(f"/api/v1{path}", params={"format": "markdown"})).text
        assert text.startswith(f"# Incident {incident['incident_id']}\n")
        for heading in ("Summary", "Impact", "Cause (draft)", "Evidence", "From v1.0.0 to v1.1.0", "Log", "Timeline"):
            assert f"\n## {heading}\n" in text
        assert "geheim-value" not in text

    async def test_the_facts_outlive_the_process_and_the_repository(self, make_plane: MakePlane, sample: Sample) -> None:
        plane = await make_plane()
        sample.release("v1.0.0")
        sample.release("v1.1.0", fail_every=1)
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        run_id = await plane.begin(f"deploy {sample.name} v1.1.0 to staging")
        async with plane.traffic(sample):
            await plane.ended(run_id)
        [incident] = await plane.incidents(sample)
        path = f"/incidents/{incident['incident_id']}/report"
        before = await plane.get(path)
        assert before["facts"]["log"]
        assert before["impact"]["errors"]
        assert any("errors came with the release's first requests" in item["text"] for item in before["cause"])
        for process in before["facts"]["processes"]:
            await plane.host.remove(process["key"])
        sample.path.rename(sample.path.with_name("gone"))
        assert (await plane.get(path))["facts"] == before["facts"]

    async def test_a_release_that_has_nothing_before_it_is_reported_too(self, plane: Plane, sample: Sample) -> None:
        sample.release("v1.0.0", {"smoke_tests": [{"name": "root", "path": "/", "expect_status": 418}]})
        await plane.add(sample)
        run = await plane.do(f"deploy {sample.name} v1.0.0 to staging")
        assert run["status"] != "completed"
        [incident] = await plane.incidents(sample)
        report = await plane.get(f"/incidents/{incident['incident_id']}/report")
        said = [item["text"] for item in report["cause"]]
        assert any("smoke test failed: root" in text for text in said)
        assert "There is no earlier good release in this place to compare with." in said
