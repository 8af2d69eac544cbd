"""Back by hand: the last good release is there as an image, and comes back by the same careful steps."""

import time

from interlock.demo.api import Doc
from interlock.demo.checks.containers.good_canary import Rollout
from interlock.demo.checks.containers.observing import RATE_PER_S, SERVICE, SETTLING_S, nothing_lost, serving
from interlock.demo.engine import INSTANCE_LABEL, Engine
from interlock.demo.findings import NotObserved, expect
from interlock.demo.scene import ENVIRONMENT, PLAN_ID, Scene
from interlock.demo.traffic import Traffic

NOW, BEFORE = "v1.1.1", "v1.1.0"


def roll_back(scene: Scene, engine: Engine) -> None:
    """From v1.1.1 to v1.1.0 under traffic, without building anything."""
    scene.teller.chapter(
        "5  Back by hand",
        f"Somebody does not want {NOW} after all. The way back is a plan like any other: the image of {BEFORE} is still there "
        "and pinned, so nothing is built; it takes over step by step, as everything does here.",
    )
    with scene.findings.check(f"go back to {BEFORE}", "from its own image, under traffic, with nothing built or lost") as back:
        before = _images(scene, engine)
        rollout = _play(scene)
        expect(rollout.status == "completed", f"the run ended as {rollout.status}")
        expect(_images(scene, engine) == before, "an image was built")
        release = _release(scene)
        container = serving(scene, engine)
        expect(container["Image"] == release["image"], f"it runs {container['Image']}, {BEFORE} is {release['image']}")
        back.observed = (
            f"{nothing_lost(rollout.answers)}; {scene.expect_version(SERVICE, BEFORE)}, from its image "
            f"{release['image'].removeprefix('sha256:')[:12]}; no image was built"
        )
    scene.teller.verdict(back)


def _play(scene: Scene) -> Rollout:
    with Traffic(scene.urls[SERVICE], RATE_PER_S) as traffic:
        time.sleep(SETTLING_S)
        began = time.monotonic()
        output = scene.run("rollback", SERVICE, "--env", ENVIRONMENT, "--yes")
        found = PLAN_ID.search(output.text)
        if output.exit_code or found is None:
            raise NotObserved(f"it was not planned: {output.said}")
        plan = scene.api.get(f"/plans/{found[0]}")
        status = scene.follow(plan)
        time.sleep(SETTLING_S)
        return Rollout(run_id=scene.api.run_of(plan["plan_id"]), status=status, answers=traffic.since(began))


def _images(scene: Scene, engine: Engine) -> set[str]:
    return {image["Id"] for image in engine.images(**{INSTANCE_LABEL: scene.instance()})}


def _release(scene: Scene) -> Doc:
    found = [release for release in scene.api.get("/releases", service=SERVICE)["items"] if release["version"] == BEFORE]
    expect(len(found) == 1, f"there are {len(found)} releases of {BEFORE}")
    return found[0]
