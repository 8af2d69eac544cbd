"""The control plane dies in the middle of a deployment: traffic goes on, and so does the run, with each effect once."""

from interlock.demo.checks.dying import Episode, deploy_and_kill, ended_well, traffic_unharmed
from interlock.demo.findings import NotObserved, expect
from interlock.demo.scene import ENVIRONMENT, Scene
from interlock.demo.targets import ProcessFolder, lines_with, process_folders, upstream_ports

NEW, OLD = "v1.2.0", "v1.0.0"
USUAL_RUN_S = 8.0
RETIRE_S = 1.0
"""By so much a deployment over another one lasts longer than a first one: the old one is drained before it is stopped."""


def kill_control_plane(scene: Scene) -> None:
    """SIGKILL at a random moment of the run of v1.2.0, then a new control plane on the same data folder."""
    scene.teller.chapter(
        "5  The control plane is killed in the middle of a deployment",
        "v1.2.0 mends the defect. While it is deployed, under the same traffic, the control plane gets SIGKILL at a random "
        "moment between the approval and the end of the run. Then one is started again; nobody tells it what to do.",
    )
    episode: Episode | None = None
    stopped_before = 0
    with scene.findings.check("outlive the control plane", "services and their traffic do not notice its death") as alive:
        stopped_before = lines_with(scene.stage.home, f"greeter {OLD} stopped")
        usual_s = float(scene.memory.get("run_s", USUAL_RUN_S)) + RETIRE_S
        words = f"deploy greeter {NEW} to {ENVIRONMENT} and run the smoke tests"
        episode = deploy_and_kill(scene, "greeter", words, usual_s)
        alive.observed = traffic_unharmed(episode)
    with scene.findings.check(f"finish {NEW}, nothing twice", "counted at supervisors, forwarder and services' logs") as once:
        if episode is None:
            raise NotObserved(f"{NEW} was not deployed")
        once.observed = f"{ended_well(scene, episode, 'greeter', NEW)}; {_nothing_twice(scene, episode, stopped_before)}"
    scene.teller.verdict(alive)
    scene.teller.verdict(once)


def _nothing_twice(scene: Scene, episode: Episode, stopped_before: int) -> str:
    """Counted where the effects are, not where they are planned."""
    home, run = scene.stage.home, scene.api.run_of(episode.plan["plan_id"]).replace("_", "-")
    starts = process_folders(home, f"{run}-start-")
    expect(len(starts) == 1, f"{len(starts)} supervisors' folders for one start; {episode.death}")
    lines = lines_with(home, f"greeter {NEW} started")
    expect(lines == 1, f"{NEW} was started {lines} times; {episode.death}")
    tests = len(process_folders(home, f"{run}-test-"))
    expect(tests == 1, f"its tests were run {tests} times; {episode.death}")
    stopped = lines_with(home, f"greeter {OLD} stopped") - stopped_before
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
