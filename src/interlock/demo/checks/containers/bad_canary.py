"""A worse release comes as a canary: its own numbers end it, and nobody but its share of the traffic was ever hurt."""

import re

from interlock.demo.checks.containers.good_canary import Rollout, deploy_under_traffic
from interlock.demo.checks.containers.observing import ANALYSE, SERVICE, serving, shares
from interlock.demo.checks.quarantine import refused
from interlock.demo.engine import INSTANCE_LABEL, Engine
from interlock.demo.findings import NotObserved, expect
from interlock.demo.scene import Scene
from interlock.demo.traffic import tally

BAD, GOOD, DISGUISED = "v1.2.0", "v1.1.1", "v1.2.1"
DEFECT = "KeyError"


def abort_canary(scene: Scene, engine: Engine) -> None:
    """v1.2.0 under traffic: it passes its tests and its health check, and fails every fifth request."""
    scene.teller.chapter(
        "4  A canary that is worse",
        "v1.2.0 has two more stations, one of which measures no wind: every fifth request fails. Its tests and its health "
        "check do not see it. Nobody tells Interlock about it.",
    )
    rollout: Rollout | None = None
    with scene.findings.check(f"abort {BAD}", "its analysis fails, it loses its traffic, and nobody had to decide") as aborted:
        rollout = deploy_under_traffic(scene, BAD)
        aborted.observed = _aborted(scene, engine, rollout)
    with scene.findings.check("hurt only its share", "counted by the client: who got an error, and from whom") as hurt:
        if rollout is None:
            raise NotObserved(f"{BAD} was not deployed")
        hurt.observed = _hurt(scene, rollout)
    for check in (aborted, hurt):
        scene.teller.verdict(check)
    with scene.findings.check(f"refuse it as {DISGUISED}", "its content is in quarantine, whatever it is called") as refusal:
        commit = scene.repositories[SERVICE].tag_same_files(BAD, DISGUISED)
        scene.teller.command(f"git tag {DISGUISED} {commit[:12]}   # a new commit, the same files")
        refusal.observed = refused(scene, SERVICE, DISGUISED, GOOD, lambda: len(engine.containers(**_labels(scene))))
    scene.teller.verdict(refusal)
    with scene.findings.check("report the incident", "exported, with its numbers and the errors of its log") as report:
        report.observed = _report(scene)
    scene.teller.verdict(report)


def _labels(scene: Scene) -> dict[str, str]:
    return {INSTANCE_LABEL: scene.instance()}


def _aborted(scene: Scene, engine: Engine, rollout: Rollout) -> str:
    run = scene.api.get(f"/runs/{rollout.run_id}")
    expect(run["status"] == "rolled_back", f"the run ended as {run['status']}")
    expect(run["error"].get("code") == "analysis_failed", f"it ended for another reason: {run['error']}")
    failed = [task["id"] for task in run["tasks"] if task["id"].startswith(ANALYSE) and task["status"] == "failed"]
    expect(len(failed) == 1, f"analyses that failed: {failed}")
    percent = failed[0].removeprefix(ANALYSE)
    found = [item for item in scene.api.get("/incidents")["items"] if item["version"] == BAD]
    expect(len(found) == 1, f"there are {len(found)} incidents about {BAD}")
    scene.memory["incident"] = found[0]["incident_id"]
    seen = [answer.at for answer in rollout.answers if answer.version == BAD]
    expect(bool(seen), f"{BAD} never answered")
    serving(scene, engine)
    reason = run["error"]["message"]
    return (
        f"at {percent} %: {reason}; {max(seen) - min(seen):.1f} s from its first answer to its last one, its container is "
        f"stopped, {found[0]['incident_id']} is on record; {scene.expect_version(SERVICE, GOOD)}"
    )


def _hurt(scene: Scene, rollout: Rollout) -> str:
    everything = tally(rollout.answers)
    expect(everything.lost == 0, str(everything))
    expect(everything.failed > 0, f"{BAD} never failed a request: {everything}")
    by_others = [answer for answer in rollout.answers if answer.status == 500 and answer.version != BAD]
    expect(not by_others, f"{len(by_others)} errors came from others than {BAD}")
    spoke = [number for number, answer in enumerate(rollout.answers) if answer.version == BAD]
    after = rollout.answers[spoke[-1] + 1 :]
    expect(
        bool(after) and {answer.version for answer in after} == {GOOD}, f"{GOOD} alone does not answer after it: {tally(after)}"
    )
    found = "; ".join(str(share) for share in shares(scene, rollout.run_id, BAD, rollout.answers))
    return (
        f"{BAD} gave {found}; of its {len(spoke)} answers in all {everything.failed} were errors; the other "
        f"{everything.requests - len(spoke)} requests were answered well by {GOOD}, none was lost"
    )


def _report(scene: Scene) -> str:
    incident = str(scene.memory.get("incident", ""))
    expect(bool(incident), "there is no incident")
    file = scene.stage.folder / "report.md"
    output = scene.run("incidents", "export", incident, "--output", str(file))
    expect(output.exit_code == 0 and file.is_file(), "it cannot be exported")
    text = file.read_text()
    scene.teller.output(_section(text, "Cause (draft)"))
    expect(DEFECT in text, f"the report does not name {DEFECT}")
    expect(BAD in text and GOOD in text, "the report does not name both releases")
    lines = [line for line in text.splitlines() if DEFECT in line]
    return f"{len(text.splitlines())} lines about {incident}; “{DEFECT}” of the canary's log is named {len(lines)} times"


def _section(text: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return f"…\n## {heading}\n{found[1].rstrip()}\n…" if found else "…"
