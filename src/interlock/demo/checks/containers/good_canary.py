"""A canary gets a rising part of the traffic, is judged by numbers at each step, and is promoted."""

import time
from dataclasses import dataclass

from interlock.demo.api import Doc
from interlock.demo.checks.containers.observing import (
    ANALYSE,
    RATE_PER_S,
    SERVICE,
    SETTLING_S,
    nothing_lost,
    serving,
    shares,
    tasks_of,
)
from interlock.demo.engine import Engine
from interlock.demo.findings import NotObserved, expect
from interlock.demo.scene import ENVIRONMENT, Scene
from interlock.demo.traffic import Answer, Traffic

NEW, OLD = "v1.1.0", "v1.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a run ended, and all answers from the approval on."""

    run_id: str
    status: str
    answers: list[Answer]


def promote_canary(scene: Scene, engine: Engine) -> None:
    """v1.1.0 under traffic."""
    scene.teller.chapter(
        "2  A canary that does well",
        f"From now on {RATE_PER_S} requests a second go to weather. v1.1.0 gets 25 % of them, then 50 %; after each step its "
        "error rate and its latency are compared with those of v1.0.0, which gets the rest.",
    )
    rollout: Rollout | None = None
    with scene.findings.check(f"show {NEW} to a part", "counted by the client: who answered while it was a canary") as part:
        rollout = deploy_under_traffic(scene, NEW, "Build", ENVIRONMENT)
        expect(rollout.status == "completed", f"the run ended as {rollout.status}")
        part.observed = "; ".join(str(share) for share in shares(scene, rollout.run_id, NEW, rollout.answers))
    with scene.findings.check(
        f"promote {NEW}", "its numbers pass, it gets all traffic, no request is lost or fails"
    ) as all_of_it:
        if rollout is None:
            raise NotObserved(f"{NEW} was not deployed")
        passed = [task["id"].removeprefix(ANALYSE) for task in _analyses(scene, rollout) if task["status"] == "completed"]
        serving(scene, engine)
        all_of_it.observed = (
            f"the analyses at {' and '.join(passed)} % passed; {nothing_lost(rollout.answers)}; "
            f"{scene.expect_version(SERVICE, NEW)}; 1 container runs"
        )
        scene.memory["canary_s"] = scene.api.get(f"/runs/{rollout.run_id}")["duration_s"]
    scene.teller.verdict(part)
    scene.teller.verdict(all_of_it)


def deploy_under_traffic(scene: Scene, version: str, *sections: str) -> Rollout:
    """Deploy a version while requests go to the service; these sections of its plan are shown too."""
    with Traffic(scene.urls[SERVICE], RATE_PER_S) as traffic:
        time.sleep(SETTLING_S)
        plan = scene.plan(f"deploy {SERVICE} {version} to {ENVIRONMENT}", sections=("Changes", *sections))
        began = time.monotonic()
        scene.approve(plan)
        status = scene.follow(plan)
        time.sleep(SETTLING_S)
        return Rollout(run_id=scene.api.run_of(plan["plan_id"]), status=status, answers=traffic.since(began))


def _analyses(scene: Scene, rollout: Rollout) -> list[Doc]:
    found = [task for task in tasks_of(scene, rollout.run_id).values() if task["id"].startswith(ANALYSE)]
    expect(bool(found), "there was no analysis")
    return found
