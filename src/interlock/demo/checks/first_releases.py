"""Words become a plan, the approved plan becomes a run: a service with a module file, and one without."""

from pathlib import Path

from interlock.demo.findings import expect
from interlock.demo.scene import ENVIRONMENT, Scene
from interlock.demo.targets import ProcessFolder, process_folders

GREETER_WORDS = f"deploy greeter v1.0.0 to {ENVIRONMENT} and run the smoke tests"
QUOTES_WORDS = f"deploy quotes v1.0.0 to {ENVIRONMENT} and watch it for 6 seconds"


def deploy_greeter(scene: Scene) -> None:
    """The service whose `ai-module.yaml` says how it is tested, started, checked and watched."""
    scene.teller.chapter(
        "1  From a sentence to a running service",
        "greeter is a small HTTP service in a git repository of its own. Its ai-module.yaml says how to run it. "
        "Nothing happens before somebody has read the plan and approved exactly that.",
    )
    with scene.findings.check("deploy greeter v1.0.0", "a sentence, an approved plan, and the service answers") as check:
        scene.add_service("greeter")
        plan = scene.plan(GREETER_WORDS, is_whole=True)
        expect(plan["tier"] == 1, f"the plan is of tier {plan['tier']}")
        scene.approve(plan)
        status = scene.follow(plan)
        expect(status == "completed", f"the run ended as {status}")
        smoke = _smoke_tests(scene, plan["plan_id"])
        check.observed = f"{scene.expect_version('greeter', 'v1.0.0')}; {len(smoke)} smoke tests passed: {', '.join(smoke)}"
    scene.teller.verdict(check)


def deploy_quotes(scene: Scene) -> None:
    """The service that says nothing about itself: all has to be found in its files."""
    scene.teller.chapter(
        "2  A service that says nothing about itself",
        "quotes is a Flask service as people write it, without a module file. How to install and start it is found in its "
        "files; the plan shows each finding with its place. It has been on its way beside the first one all the time.",
    )
    with scene.findings.check("deploy quotes v1.0.0", "found by analysis, installed by pip into its own environment") as check:
        scene.add_service("quotes")
        plan = scene.plan(QUOTES_WORDS, is_whole=True)
        expect(plan["tier"] == 2, f"the plan is of tier {plan['tier']}")
        scene.approve(plan)
        status = scene.follow(plan)
        expect(status == "completed", f"the run ended as {status}")
        answer = scene.ask("quotes", "/quotes/2")
        expect(answer.status_code == 200 and answer.json().get("number") == 2, f"it answers {answer.status_code} {answer.text}")
        check.observed = f"GET {scene.urls['quotes']}/quotes/2 answers 200; {_where_flask_is(scene)}"
    scene.teller.verdict(check)


def _smoke_tests(scene: Scene, plan_id: str) -> list[str]:
    run = scene.api.get(f"/runs/{scene.api.run_of(plan_id)}")
    scene.memory["run_s"] = run["duration_s"]
    passed = [name for task in run["tasks"] if task["id"].startswith("smoke-") for name in task["output"].get("passed", [])]
    expect(bool(passed), "no smoke test was run")
    return passed


def _where_flask_is(scene: Scene) -> str:
    """The one process of quotes runs on a Flask that lies in the release's own environment."""
    serving = [folder for folder in process_folders(scene.stage.home) if _serves(folder, "/quotes/")]
    expect(len(serving) == 1, f"{len(serving)} processes of quotes run")
    bundle = Path(serving[0].spec["folder"])
    installed = [folder.name for folder in bundle.glob(".venv/lib/*/site-packages/[Ff]lask-*.dist-info")]
    expect(len(installed) == 1, f"in {bundle.name}/.venv: {installed or 'no Flask'}")
    program = serving[0].spec["commands"][-1][0]
    expect(program.startswith((".venv/", str(bundle))), f"it is run by {program}")
    return f"{installed[0].removesuffix('.dist-info')} in the release's own .venv, and that runs it"


def _serves(folder: ProcessFolder, part: str) -> bool:
    is_running = folder.process is not None and folder.process.is_alive
    return is_running and folder.spec["kind"] == "service" and part in folder.spec["folder"]
