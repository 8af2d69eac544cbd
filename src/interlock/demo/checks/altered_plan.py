"""An approval is bound to content: one changed byte is a different plan."""

import hashlib
import random
import re
from pathlib import Path

from interlock.demo.findings import expect
from interlock.demo.scene import Scene, last_line

_LONG_HASH = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
WORDS = "deploy greeter v1.2.0 to production"


def approve_altered(scene: Scene) -> None:
    """Take the bytes of a plan, change one, and try to approve that."""
    scene.teller.chapter(
        "6  A plan with one changed byte",
        "What is approved are the exact bytes of a plan. Here somebody changes one of them on the way to the approver.",
    )
    with scene.findings.check("refuse an altered plan", "one byte of the content is changed before the approval") as check:
        plan = scene.plan(WORDS)
        file = scene.stage.folder / "plan.json"
        content = _content(scene, plan["plan_id"], file)
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        expect(digest == plan["content_hash"], f"the content's hash is {digest}, the plan says {plan['content_hash']}")
        position = change_one_byte(file)
        scene.teller.say(f"  … and byte {position} of {len(content)} is changed.")
        output = scene.run("approve", plan["plan_id"], "--file", str(file))
        expect(output.exit_code != 0 and "altered" in output.said, f"it was not refused: {last_line(output)}")
        state = scene.api.get(f"/plans/{plan['plan_id']}")["state"]
        expect(state == "pending_approval", f"the plan is {state} now")
        refusal = _LONG_HASH.sub(r"\1…", last_line(output))
        check.observed = f"the bytes hash to what the plan says; with byte {position} changed: “{refusal}”"
        scene.run("reject", plan["plan_id"])
    scene.teller.verdict(check)


def change_one_byte(file: Path) -> int:
    """Flip the lowest bit of a random byte; returns its position."""
    content = bytearray(file.read_bytes())
    position = random.SystemRandom().randrange(len(content))
    content[position] ^= 1
    file.write_bytes(content)
    return position


def _content(scene: Scene, plan_id: str, file: Path) -> bytes:
    scene.teller.command(f"interlock show {plan_id} --content > {file.name}")
    output = scene.cli.run("show", plan_id, "--content")
    expect(output.exit_code == 0, f"the content cannot be had: {last_line(output)}")
    file.write_bytes(output.stdout)
    return output.stdout
