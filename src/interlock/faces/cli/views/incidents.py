"""Incidents: listed, shown with what is known of them, and what people did with them."""

from collections.abc import Iterable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from interlock.faces.cli.text import Doc, as_text, moment, since
from interlock.faces.cli.views.parts import listing, next_step, number, pairs, section, state, title

BESIDE = {"readings", "samples", "comparisons"}
"""Evidence that is shown in another way, or only exported."""


def incidents(page: Doc, now: datetime) -> RenderableType:
    """Incidents, newest first."""
    rows = [
        (
            item["incident_id"],
            state(item["state"]),
            state(item["severity"]),
            since(item["opened_at"], now),
            item["title"],
        )
        for item in page["items"]
    ]
    return listing(("incident", "state", "severity", "age", "what"), rows, "No incident.", wrapped=("what",))


def report(found: Doc) -> RenderableType:
    """An incident with its timeline, the numbers that opened it, and the draft of its cause."""
    cause = [Text(f"- {item['text']} ({item['fact']})") for item in found["cause"]]
    steps = [next_step(f"interlock incidents export {found['incident']['incident_id']} --output report.md", "all of it")]
    if found["incident"]["state"] == "open":
        steps.insert(0, next_step(f"interlock incidents ack {found['incident']['incident_id']}", "take care of it"))
    return Group(incident(found["incident"]), section("Cause (draft)", *cause), Text(""), *steps)


def incident(found: Doc) -> RenderableType:
    """An incident with its timeline and the numbers that opened it."""
    header = pairs(
        (
            ("state", state(found["state"])),
            ("severity", state(found["severity"])),
            ("opened", moment(found["opened_at"])),
            ("acknowledged", f"{found['acknowledged_by']} {moment(found['acknowledged_at'])}".strip()),
            ("resolved", moment(found["resolved_at"])),
            ("service", f"{found['service']} {found['version']} in {found['environment']}"),
            ("deployment", found["deployment_id"]),
            ("release", found["release_id"]),
        )
    )
    timeline = pairs((moment(at), what) for at, what in found["timeline"])
    return Group(
        title(found["incident_id"], found["title"]),
        Text(""),
        header,
        section("Timeline", timeline),
        section("Evidence", *_evidence(found["evidence"])),
    )


def _evidence(evidence: Doc) -> Iterable[RenderableType]:
    readings: list[Doc] = evidence.get("readings", [])
    if readings:
        rows = [(item["signal"], number(item["observed"]), number(item["threshold"]), _crossed(item)) for item in readings]
        yield listing(("signal", "observed", "threshold", "verdict"), rows, "", wrapped=("verdict",))
    compared: list[Doc] = evidence.get("comparisons", [])
    if compared:
        rows = [_compared(item) for item in compared]
        yield listing(("check", "candidate", "what serves", "verdict"), rows, "", wrapped=("verdict",))
    rest = {name: value for name, value in evidence.items() if name not in BESIDE}
    if rest:
        yield pairs((name.replace("_", " "), as_text(value)) for name, value in rest.items())


def _compared(item: Doc) -> tuple[str, str, str, Text]:
    signs = {"fail": ("✗ fail", "red"), "pass": ("✓ pass", "green")}
    sign = signs.get(item["verdict"], ("? inconclusive", "yellow"))
    stable = item["stable"] or {"value": None}
    name: str = item["check"]["name"]
    values = number(item["candidate"]["value"]), number(stable["value"])
    return name, *values, Text.assemble(sign, f"  {item['detail']}")


def _crossed(reading: Doc) -> Text:
    if reading["crossed"] is None:
        return Text.assemble(("? cannot be told", "yellow"), f"  {reading['detail']}")
    sign = ("✗ crossed", "red") if reading["crossed"] else ("✓ within", "green")
    return Text.assemble(sign, f"  {reading['detail']}")


def acknowledged(found: Doc) -> RenderableType:
    """An incident that somebody takes care of."""
    return Text(f"{found['incident_id']} is acknowledged: {found['acknowledged_by']} takes care of it.")


def resolved(found: Doc) -> RenderableType:
    """An incident that was closed by hand."""
    return Text(f"{found['incident_id']} is resolved.")


def noted(found: Doc) -> RenderableType:
    """An incident with one more line in its timeline."""
    at, what = found["timeline"][-1]
    return Text(f"{found['incident_id']} {moment(at)}: {what}")
