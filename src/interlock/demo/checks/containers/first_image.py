"""A sentence becomes a plan with a Dockerfile, the approved plan an image, and the image a closed container that serves."""

import re

import httpx

from interlock.demo.api import Doc
from interlock.demo.checks.containers.observing import SERVICE, bindings, serving, tasks_of
from interlock.demo.engine import Engine
from interlock.demo.findings import NotObserved, expect
from interlock.demo.repeating import Repeating
from interlock.demo.scene import ENVIRONMENT, Scene

VERSION = "v1.0.0"
WORDS = f"deploy {SERVICE} {VERSION} to {ENVIRONMENT} and run the smoke tests"
POLL_S = 0.2
ROOT = {"root", "0"}
_STEP = re.compile(r"step \d+(?!.*LABEL interlock)", re.IGNORECASE)


def build_and_run(scene: Scene, engine: Engine) -> None:
    """v1.0.0: nobody has written a Dockerfile, so the plan brings one."""
    scene.teller.chapter(
        "1  From a sentence to a container",
        "weather is a small HTTP service in a git repository of its own, without a Dockerfile. Its ai-module.yaml says that it "
        "runs in a container. The Dockerfile that is made for it is a part of the plan, so it is approved with it.",
    )
    plan: Doc | None = None
    with scene.findings.check("plan an image", "the Dockerfile and every step are in the plan that is approved") as planned:
        scene.add_service(SERVICE)
        plan = scene.plan(WORDS, is_whole=True)
        planned.observed = _planned(scene, plan)
    scene.teller.verdict(planned)
    with scene.findings.check(f"deploy {SERVICE} {VERSION}", "the image is built, tested, run, and the service answers") as up:
        if plan is None:
            raise NotObserved("there is no plan")
        scene.approve(plan)
        status = _follow(scene, plan)
        expect(status == "completed", f"the run ended as {status}")
        up.observed = _built(scene, plan)
    with scene.findings.check("keep the container closed", "user, file system, rights, port and labels, by the engine") as shut:
        shut.observed = _closed(scene, engine)
    for check in (up, shut):
        scene.teller.verdict(check)


def _planned(scene: Scene, plan: Doc) -> str:
    output = scene.run("show", plan["plan_id"], is_shown=False)
    section = re.search(r"^ +\d+ +image .*?(?=^\s*$)", output.text, re.MULTILINE | re.DOTALL)
    expect(section is not None, "the plan has no step that builds an image")
    shown = section[0] if section else ""
    scene.teller.output(f"…\n{shown.rstrip()}\n…")
    rights = {grant["tool"]: grant["arguments"] for grant in plan["content"]["grants"] if grant["task"] in ("image", "test")}
    text = str(rights["image.build"]["dockerfile_text"]["value"])
    lines = text.strip().splitlines()
    expect(_squeezed(text) in _squeezed(shown.replace("␊", "")), "another Dockerfile is shown than the one in the plan")
    expect("container.run" in rights, "the tests are not run in the image")
    return f"a Dockerfile of {len(lines)} lines under {plan['content_hash'][:19]}…, from “{lines[0]}” to “{lines[-1]}”"


def _squeezed(text: str) -> str:
    """Without what a narrow screen adds."""
    return "".join(text.split())


def _follow(scene: Scene, plan: Doc) -> str:
    """Tell the run, and what the engine prints while it builds."""
    run_id, told = scene.api.run_of(plan["plan_id"]), 0

    def look() -> None:
        nonlocal told
        try:
            found = scene.api.get(f"/runs/{run_id}/tasks/image/log", offset=told)
        except httpx.HTTPStatusError:
            # The build has not begun.
            return
        told = int(found["next_offset"])
        for line in str(found["text"]).splitlines():
            if _STEP.match(line):
                scene.teller.output(f"    {line.lower()[:5]}{line[5:]}")

    output = Repeating(look, POLL_S)
    output.start()
    try:
        return scene.follow(plan)
    finally:
        output.end()


def _built(scene: Scene, plan: Doc) -> str:
    tasks = tasks_of(scene, scene.api.run_of(plan["plan_id"]))
    image = str(tasks["image"]["output"]["image"])
    passed = [name for task in tasks.values() if task["id"].startswith("smoke-") for name in task["output"].get("passed", [])]
    expect(bool(passed), "no smoke test was run")
    tests = f"its tests passed in it, {len(passed)} smoke test passed at the service"
    return f"image {image.removeprefix('sha256:')[:12]} was built, {tests}; {scene.expect_version(SERVICE, VERSION)}"


def _closed(scene: Scene, engine: Engine) -> str:
    container = serving(scene, engine)
    users, rights, labels = engine.users(container["Id"]), container["HostConfig"], container["Config"]["Labels"]
    expect(bool(users) and not users & ROOT, f"it runs as {', '.join(sorted(users)) or 'nobody knows whom'}")
    expect(rights["ReadonlyRootfs"] is True, "its root file system can be written to")
    expect(
        rights["CapDrop"] == ["ALL"] and not rights["CapAdd"], f"its capabilities: {rights['CapAdd']}, not {rights['CapDrop']}"
    )
    expect(not rights["Privileged"], "it is privileged")
    addresses = [f"{binding['HostIp']}:{binding['HostPort']}" for binding in bindings(container)]
    expect(all(address.startswith("127.0.0.1:") for address in addresses), f"it is published at {', '.join(addresses)}")
    (release,) = scene.api.get("/releases", service=SERVICE)["items"]
    expect(container["Image"] == release["image"], f"it runs {container['Image']}, the release is {release['image']}")
    wanted = {"service": SERVICE, "environment": ENVIRONMENT, "release": release["release_id"]}
    seen = {name: labels.get(f"interlock.{name}", "") for name in wanted}
    expect(seen == wanted, f"its labels: {seen}")
    bounds = f"{rights['Memory'] // 1024**2} MiB, {rights['PidsLimit']} processes"
    return (
        f"as user {', '.join(sorted(users))}, root file system read-only, no capabilities, at most {bounds}, published at "
        f"{', '.join(addresses)} alone; its image is the release's, its labels say {', '.join(wanted.values())}"
    )
