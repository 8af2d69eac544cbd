"""The control plane dies in the middle of a deployment: traffic goes on, and so does the run, with each effect once."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

from interlock.demo.api import Doc
from interlock.demo.findings import NotObserved, expect
from interlock.demo.progress import Progress
from interlock.demo.scene import ENVIRONMENT, Scene
from interlock.demo.targets import ProcessFolder, lines_with, process_folders, upstream_ports
from interlock.demo.traffic import Answer, Traffic, tally

NEW, OLD = "v1.2.0", "v1.0.0"
USUAL_RUN_S = 8.0
RETIRE_S = 1.0
"""By so much a deployment over another one lasts longer than a first one: the old one is drained before it is stopped."""
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
    stopped_before: int
    answers: list[Answer]


def kill_control_plane(scene: Scene) -> None:
    """SIGKILL at a random moment of the run of v1.2.0, then a new control plane on the same data folder."""
    scene.teller.chapter(
        "5  The control plane is killed in the middle of a deployment",
        "v1.2.0 mends the defect. While it is deployed, under the same traffic, the control plane gets SIGKILL at a random "
        "moment between the approval and the end of the run. Then one is started again; nobody tells it what to do.",
    )
    episode: Episode | None = None
    with scene.findings.check("outlive the control plane", "services and their traffic do not notice its death") as alive:
        episode = _play(scene)
        alive.observed = _traffic_unharmed(episode)
    with scene.findings.check(f"finish {NEW}, nothing twice", "counted at supervisors, forwarder and services' logs") as once:
        if episode is None:
            raise NotObserved(f"{NEW} was not deployed")
        once.observed = f"{_ended_well(scene, episode)}; {_nothing_twice(scene, episode)}"
    scene.teller.verdict(alive)
    scene.teller.verdict(once)


def _play(scene: Scene) -> Episode:
    with Traffic(scene.urls["greeter"]) as traffic:
        time.sleep(SETTLING_S)
        plan = scene.plan(f"deploy greeter {NEW} to {ENVIRONMENT} and run the smoke tests")
        stopped_before = lines_with(scene.stage.home, f"greeter {OLD} stopped")
        # By HTTP: a command would return some tenths of a second later, and those belong to the run too.
        scene.teller.command(f"POST /api/v1/plans/{plan['plan_id']}/approve")
        scene.teller.output(f'{{"content_hash": "{plan["content_hash"]}"}}')
        scene.api.post(f"/plans/{plan['plan_id']}/approve", {"content_hash": plan["content_hash"]})
        approved_at = time.monotonic()
        progress = Progress(scene.teller)
        with scene.teller.waiting("the run goes on …"):
            follower = _follow_aside(scene, plan, progress)
            death = _die_and_rise(scene, progress, approved_at, follower)
            follower.join(END_PATIENCE_S)
        scene.settled(plan)
        time.sleep(SETTLING_S)
        return Episode(
            plan=plan,
            death=death,
            status=progress.status,
            adoptions=progress.adoptions,
            stopped_before=stopped_before,
            answers=traffic.since(approved_at),
        )


def _follow_aside(scene: Scene, plan: Doc, progress: Progress) -> threading.Thread:
    def follow() -> None:
        progress.tell(scene.api.follow(scene.api.run_of(plan["plan_id"])))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    return thread


def _die_and_rise(scene: Scene, progress: Progress, approved_at: float, follower: threading.Thread) -> Death:
    usual_s = float(scene.memory.get("run_s", USUAL_RUN_S)) + RETIRE_S
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


def _traffic_unharmed(episode: Episode) -> str:
    death = episode.death
    away = tally(answer for answer in episode.answers if death.killed_at <= answer.sent_at < death.back_at)
    everything = tally(episode.answers)
    expect(away.requests > 0, "there was no traffic while it was away")
    expect(everything.lost == everything.failed == 0, f"{everything}, {everything.failed} answered 500; {death}")
    away_s = death.back_at - death.killed_at
    return f"{death}; {away} in the {away_s:.1f} s without it; {everything} in the whole deployment"


def _ended_well(scene: Scene, episode: Episode) -> str:
    plan = scene.api.get(f"/plans/{episode.plan['plan_id']}")
    run = scene.api.get(f"/runs/{plan['run_id']}")
    expect(run["status"] == "completed", f"the run is {run['status']}: {run['error']}; {episode.death}")
    events = scene.api.get(f"/runs/{plan['run_id']}/events", limit=1000)["items"]
    for kind, what in (("TaskCompleted", "task"), ("ReceiptRecorded", "key")):
        counts = Counter(event[what] for event in events if event["type"] == kind)
        twice = [name for name, count in counts.items() if count > 1]
        expect(not twice, f"{kind} twice: {', '.join(twice)}; {episode.death}")
    return f"the run is completed and its plan {plan['state']}; {scene.expect_version('greeter', NEW)}"


def _nothing_twice(scene: Scene, episode: Episode) -> str:
    """Counted where the effects are, not where they are planned."""
    home, run = scene.stage.home, scene.api.run_of(episode.plan["plan_id"]).replace("_", "-")
    starts = process_folders(home, f"{run}-start-")
    expect(len(starts) == 1, f"{len(starts)} supervisors' folders for one start; {episode.death}")
    lines = lines_with(home, f"greeter {NEW} started")
    expect(lines == 1, f"{NEW} was started {lines} times; {episode.death}")
    tests = len(process_folders(home, f"{run}-test-"))
    expect(tests == 1, f"its tests were run {tests} times; {episode.death}")
    stopped = lines_with(home, f"greeter {OLD} stopped") - episode.stopped_before
    expect(stopped == 1, f"{OLD} was stopped {stopped} times; {episode.death}")
    return (
        f"1 supervisor's folder and 1 start line of {NEW}, 1 stop line of {OLD}, tests run once; {_leads_to(scene, starts[0])}"
    )


def _leads_to(scene: Scene, only: ProcessFolder) -> str:
    home, port = scene.stage.home, int(only.spec["port"])
    running = [folder.key for folder in process_folders(home) if _runs_greeter(folder)]
    expect(running == [only.key], f"of greeter run: {', '.join(running) or 'nothing'}")
    stable, candidate = (upstream_ports(home, f"greeter.{ENVIRONMENT}.{kind}") for kind in ("stable", "candidate"))
    expect(stable == {port}, f"the forwarder's stable leg leads to {stable}, the process listens on {port}")
    expect(not candidate, f"the forwarder's candidate leg still leads to {candidate}")
    return f"the forwarder's stable leg leads to its port {port}"


def _runs_greeter(folder: ProcessFolder) -> bool:
    is_running = folder.process is not None and folder.process.is_alive
    return is_running and folder.spec["kind"] == "service" and "/greeter/" in folder.spec["folder"]
