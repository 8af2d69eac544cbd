"""A control plane that is killed while it deploys, and what traffic saw of it. What is deployed may run anywhere."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

from interlock.demo.api import Doc
from interlock.demo.findings import expect
from interlock.demo.progress import Progress
from interlock.demo.scene import Scene
from interlock.demo.traffic import RATE_PER_S, Answer, Traffic, tally

SETTLING_S = 0.5
END_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """When the control plane was killed, in seconds after the approval, and for how long there was none."""

    after_s: float
    last_event: str
    killed_at: float
    back_at: float

    def __str__(self) -> str:
        return f"killed {self.after_s:.2f} s after the approval (last event seen: {self.last_event})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What was done, how the run ended, and what traffic saw of it all, from the approval on."""

    plan: Doc
    death: Death
    status: str
    adoptions: int
    answers: list[Answer]


def deploy_and_kill(scene: Scene, service: str, words: str, usual_s: float, rate_per_s: float = RATE_PER_S) -> Episode:
    """Deploy under traffic on ``service``, with a SIGKILL at a random moment of the ``usual_s`` that such a run takes."""
    with Traffic(scene.urls[service], rate_per_s) as traffic:
        time.sleep(SETTLING_S)
        plan = scene.plan(words)
        # By HTTP: a command would return some tenths of a second later, and those belong to the run too.
        scene.teller.command(f"POST /api/v1/plans/{plan['plan_id']}/approve")
        scene.teller.output(f'{{"content_hash": "{plan["content_hash"]}"}}')
        scene.api.post(f"/plans/{plan['plan_id']}/approve", {"content_hash": plan["content_hash"]})
        approved_at = time.monotonic()
        progress = Progress(scene.teller)
        with scene.teller.waiting("the run goes on …"):
            follower = _follow_aside(scene, plan, progress)
            death = _die_and_rise(scene, progress, approved_at, usual_s, follower)
            follower.join(END_PATIENCE_S)
        scene.settled(plan)
        time.sleep(SETTLING_S)
        return Episode(
            plan=plan,
            death=death,
            status=progress.status,
            adoptions=progress.adoptions,
            answers=traffic.since(approved_at),
        )


def traffic_unharmed(episode: Episode) -> str:
    """That nothing was lost or failed, in words. Raises NotObserved."""
    death = episode.death
    away = tally(answer for answer in episode.answers if death.killed_at <= answer.sent_at < death.back_at)
    everything = tally(episode.answers)
    expect(away.requests > 0, "there was no traffic while it was away")
    expect(everything.lost == everything.failed == 0, f"{everything}, {everything.failed} answered 500; {death}")
    away_s = death.back_at - death.killed_at
    return f"{death}; {away} in the {away_s:.1f} s without it; {everything} in the whole deployment"


def ended_well(scene: Scene, episode: Episode, service: str, version: str) -> str:
    """That the run is completed and did nothing twice by its own journal, in words. Raises NotObserved."""
    plan = scene.api.get(f"/plans/{episode.plan['plan_id']}")
    run = scene.api.get(f"/runs/{plan['run_id']}")
    expect(run["status"] == "completed", f"the run is {run['status']}: {run['error']}; {episode.death}")
    events = scene.api.get(f"/runs/{plan['run_id']}/events", limit=1000)["items"]
    for kind, what in (("TaskCompleted", "task"), ("ReceiptRecorded", "key")):
        counts = Counter(event[what] for event in events if event["type"] == kind)
        twice = [name for name, count in counts.items() if count > 1]
        expect(not twice, f"{kind} twice: {', '.join(twice)}; {episode.death}")
    return f"the run is completed and its plan {plan['state']}; {scene.expect_version(service, version)}"


def _follow_aside(scene: Scene, plan: Doc, progress: Progress) -> threading.Thread:
    def follow() -> None:
        progress.tell(scene.api.follow(scene.api.run_of(plan["plan_id"])))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    return thread


def _die_and_rise(scene: Scene, progress: Progress, approved_at: float, usual_s: float, follower: threading.Thread) -> Death:
    moment_s = random.SystemRandom().uniform(0.0, usual_s)
    # It ends early only where this run is quicker than the one before.
    follower.join(max(0.0, approved_at + moment_s - time.monotonic()))
    scene.plane.kill()
    killed_at = time.monotonic()
    after_s, last_event = killed_at - approved_at, progress.last_event
    scene.teller.alarm(f"SIGKILL to the control plane, {after_s:.2f} s after the approval; last event seen: {last_event}")
    scene.teller.command("interlock serve --port 0")
    ready_s = scene.plane.start()
    scene.teller.output(f"ready after {ready_s:.1f} s, on the same data folder")
    return Death(after_s=after_s, last_event=last_event, killed_at=killed_at, back_at=time.monotonic())
