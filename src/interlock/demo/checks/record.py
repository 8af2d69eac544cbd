"""The record of all that happened: it verifies, here and elsewhere, and stops to do so when one byte is changed."""

import json
from pathlib import Path

from interlock.demo.checks.altered_plan import change_one_byte
from interlock.demo.findings import expect
from interlock.demo.scene import Scene, last_line


def verify_record(scene: Scene) -> None:
    """Verify, export, verify the export without the control plane, change a byte, verify again."""
    scene.teller.chapter(
        "7  The record",
        "Every decision, command, effect and approval of this story lies in a chain of signed seals. Anybody can verify it.",
    )
    file = scene.stage.folder / "record.jsonl"
    with scene.findings.check("verify the record", "the whole chain, by the server and from an exported file") as whole:
        verdict = json.loads(scene.run("audit", "verify", "--json").text)
        expect(bool(verdict.get("ok")), f"it does not verify: {verdict.get('problem') or verdict.get('title')}")
        expect(scene.run("audit", "export", str(file)).exit_code == 0, "it cannot be exported")
        output = scene.run("audit", "verify", "--file", str(file), "--head", verdict["head"])
        expect(output.exit_code == 0, f"the exported file does not verify: {last_line(output)}")
        whole.observed = f"{verdict['rows']} rows under {verdict['seals']} seals verify, and so does the file of {_size(file)}"
    scene.teller.verdict(whole)
    with scene.findings.check("notice one changed byte", "the exported record no longer verifies") as changed:
        expect(file.exists(), "there is no exported record")
        position = change_one_byte(file)
        scene.teller.say(f"  Byte {position} of {file.name} is changed.")
        output = scene.run("audit", "verify", "--file", str(file), "--json")
        expect(output.exit_code != 0, f"it still verifies with byte {position} changed")
        changed.observed = f"with byte {position} changed: {json.loads(output.text)['problem']}"
    scene.teller.verdict(changed)


def _size(file: Path) -> str:
    return f"{file.stat().st_size / 1024:.0f} KiB"
