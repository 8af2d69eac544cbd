"""A release that starts healthy and turns bad under traffic comes back by itself, and stays away."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from interlock.demo.findings import NotObserved, expect
from interlock.demo.scene import ENVIRONMENT, Scene
from interlock.demo.traffic import Answer, Traffic, tally

BAD, GOOD = "v1.1.0", "v1.0.0"
SETTLING_S = 0.5


@dataclass(frozen=True, slots=True)
class Episode:
    """How the run ended, and all answers from just before the approval on, oldest first."""

    status: str
    answers: list[Answer]


def deploy_bad_release(scene: Scene) -> None:
    """v1.1.0 under traffic: up without a loss, and back when the watch sees its errors."""
    scene.teller.chapter(
        "3  A release that turns bad under traffic",
        "From now on about 50 requests a second go to greeter, on new and on kept connections. v1.1.0 passes its tests and its "
        "health check, but has a defect that only ordinary traffic brings out. Nobody tells Interlock about it.",
    )
    episode: Episode | None = None
    with scene.findings.check(f"switch to {BAD}", "no request is lost while traffic moves over from v1.0.0") as up:
        episode = _play(scene)
        up.observed = _way_up(episode.answers)
    with scene.findings.check(f"roll {BAD} back", "errors cross the threshold, it goes, an incident says why") as back:
        if episode is None:
            raise NotObserved(f"{BAD} was not deployed")
        expect(episode.status == "rolled_back", f"the run ended as {episode.status}")
        incident = _incident(scene)
        back.observed = f"{_way_back(episode.answers)}; {incident}; {scene.expect_version('greeter', GOOD)}"
    scene.teller.verdict(up)
    scene.teller.verdict(back)


def _play(scene: Scene) -> Episode:
    with Traffic(scene.urls["greeter"]) as traffic:
        time.sleep(SETTLING_S)
        plan = scene.plan(f"deploy greeter {BAD} to {ENVIRONMENT} and run the smoke tests")
        began = time.monotonic()
        scene.approve(plan)
        status = scene.follow(plan)
        time.sleep(SETTLING_S)
        return Episode(status, traffic.since(began))


def _way_up(answers: Sequence[Answer]) -> str:
    """From the approval to the first answer of the new version."""
    first = next((number for number, answer in enumerate(answers) if answer.version == BAD), None)
    expect(first is not None, f"{BAD} never answered; {tally(answers)}")
    before = tally(answers[:first])
    expect(before.lost == before.failed == 0, f"{before}, {before.failed} answered 500")
    seconds = answers[first or 0].at - answers[0].at
    return f"{before} in the {seconds:.1f} s until {BAD} answered"


def _way_back(answers: Sequence[Answer]) -> str:
    """From the first answer of the new version to the first one of the old version behind it."""
    spoke = [number for number, answer in enumerate(answers) if answer.version == BAD or answer.status == 500]
    expect(bool(spoke), f"{BAD} never answered")
    during, after = answers[spoke[0] : spoke[-1] + 1], answers[spoke[-1] + 1 :]
    expect(bool(after) and after[0].version == GOOD, f"{GOOD} does not answer after {BAD}: {tally(after)}")
    counts, settled = tally(during), tally(after)
    expect(counts.failed > 0, f"{BAD} never failed a request: {counts}")
    expect(counts.lost == settled.lost == settled.failed == 0, f"during {BAD}: {counts}; after it: {settled}")
    seconds = after[0].at - during[0].at
    return f"{BAD} answered {counts.requests} requests, {counts.failed} of them with 500; {GOOD} was back after {seconds:.1f} s"


def _incident(scene: Scene) -> str:
    """The incident with its evidence; remembered for the chapter about the quarantine."""
    found = [item for item in scene.api.get("/incidents")["items"] if item["service"] == "greeter" and item["version"] == BAD]
    expect(len(found) == 1, f"there are {len(found)} incidents about {BAD}")
    incident = found[0]
    scene.memory["incident"] = incident["incident_id"]
    output = scene.run("incidents", incident["incident_id"])
    expect(output.exit_code == 0 and incident["incident_id"] in output.text, "the incident cannot be shown")
    expect(bool(incident["evidence"].get("readings")), f"the incident has no evidence: {incident['evidence']}")
    return f"{incident['incident_id']} says: {incident['title'].partition(': ')[2] or incident['title']}"
