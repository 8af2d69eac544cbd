"""What was rolled back is not deployed again, whatever it is called."""

from collections.abc import Callable

from interlock.demo.checks.bad_release import BAD, GOOD
from interlock.demo.findings import expect
from interlock.demo.scene import ENVIRONMENT, Scene, last_line
from interlock.demo.targets import process_folders

DISGUISED = "v1.1.1"


def try_again(scene: Scene) -> None:
    """The same tag, then a new tag on a new commit with the same files."""
    scene.teller.chapter(
        "4  What was rolled back stays away",
        "The content of v1.1.0 is in quarantine: not its name but its files. So it is refused under another tag too.",
    )

    def started() -> int:
        return len(process_folders(scene.stage.home))

    with scene.findings.check(f"refuse {BAD}", "it is in quarantine, and the refusal names the incident") as same:
        same.observed = refused(scene, "greeter", BAD, GOOD, started)
    scene.teller.verdict(same)
    with scene.findings.check(f"refuse it as {DISGUISED}", "a new tag and commit with the same files are refused too") as other:
        commit = scene.repositories["greeter"].tag_same_files(BAD, DISGUISED)
        scene.teller.command(f"git tag {DISGUISED} {commit[:12]}   # a new commit, the same files")
        other.observed = refused(scene, "greeter", DISGUISED, GOOD, started)
    scene.teller.verdict(other)


def refused(scene: Scene, service: str, version: str, good: str, started: Callable[[], int]) -> str:
    """That no plan is made for what is in quarantine, in words; ``started`` counts what was started so far.

    Raises NotObserved.
    """
    incident = str(scene.memory.get("incident", ""))
    expect(bool(incident), "there is no incident to be named")
    before = started()
    output = scene.run("plan", f"deploy {service} {version} to {ENVIRONMENT}")
    expect(output.exit_code != 0, f"{version} is planned again")
    expect(incident in output.said, f"{incident} is not named: {last_line(output)}")
    expect(started() == before, f"{started() - before} were started")
    return f"“{last_line(output)}” ({incident}); nothing was started; {scene.expect_version(service, good)}"
