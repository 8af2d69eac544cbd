"""The control plane dies while a canary is rolled out: the engine and traffic go on, and each container is started once."""

from collections import Counter

from interlock.demo.checks.containers.observing import RATE_PER_S, SERVICE, name_of, serving
from interlock.demo.checks.dying import Episode, deploy_and_kill, ended_well, traffic_unharmed
from interlock.demo.engine import INSTANCE_LABEL, Engine
from interlock.demo.findings import NotObserved, expect
from interlock.demo.scene import ENVIRONMENT, Scene

NEW = "v1.1.1"
USUAL_RUN_S = 18.0


def kill_during_canary(scene: Scene, engine: Engine) -> None:
    """SIGKILL at a random moment of the run of v1.1.1, then a new control plane on the same data folder."""
    scene.teller.chapter(
        "3  The control plane is killed in the middle of a deployment",
        "v1.1.1 mends a trifle. While it is built and rolled out, under the same traffic, the control plane gets SIGKILL at a "
        "random moment. Then one is started again; nobody tells it what to do.",
    )
    episode: Episode | None = None
    starts: Counter[str] = Counter()
    with scene.findings.check("outlive the control plane", "the containers and their traffic do not notice its death") as alive:
        with engine.starts(scene.instance()) as counted:
            words, usual_s = f"deploy {SERVICE} {NEW} to {ENVIRONMENT}", float(scene.memory.get("canary_s", USUAL_RUN_S))
            episode = deploy_and_kill(scene, SERVICE, words, usual_s, RATE_PER_S)
        starts = counted.by_name()
        alive.observed = traffic_unharmed(episode)
    with scene.findings.check(f"finish {NEW}, nothing twice", "counted at the engine: starts, containers, images") as once:
        if episode is None:
            raise NotObserved(f"{NEW} was not deployed")
        once.observed = f"{ended_well(scene, episode, SERVICE, NEW)}; {_nothing_twice(scene, engine, episode, starts)}"
    scene.teller.verdict(alive)
    scene.teller.verdict(once)


def _nothing_twice(scene: Scene, engine: Engine, episode: Episode, starts: Counter[str]) -> str:
    run_id, plan_id = scene.api.run_of(episode.plan["plan_id"]), episode.plan["plan_id"]
    often = [f"{name}: {count}" for name, count in starts.items() if count > 1]
    expect(not often, f"started more than once: {', '.join(often)}; {episode.death}")
    of_run = [name for name in starts if run_id.replace("_", "-") in name]
    tests = [name for name in of_run if "-test-" in name]
    container = serving(scene, engine)
    expect(len(tests) == 1, f"its tests were run {len(tests)} times; {episode.death}")
    expect([name for name in of_run if name not in tests] == [name_of(container)], f"started: {of_run}; {episode.death}")
    expect(container["RestartCount"] == 0, f"the engine restarted it {container['RestartCount']} times; {episode.death}")
    images = engine.images(**{INSTANCE_LABEL: scene.instance(), "interlock.plan": plan_id})
    expect(len(images) == 1, f"{len(images)} images were made; {episode.death}")
    return "the engine counts 1 start of its container, 1 of the tests in its image, and has 1 image of it; 1 container runs"
