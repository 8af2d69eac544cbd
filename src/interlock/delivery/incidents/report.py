"""The report of an incident: a pure function of what is on record, and its Markdown. No model has a part in it."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from interlock.core.clock import from_text
from interlock.core.markdown import plain_line, table, time_span
from interlock.delivery.incidents.cause import Statement, draft
from interlock.delivery.incidents.evidence import Compared, compared
from interlock.delivery.incidents.facts import Facts
from interlock.delivery.logs.clusters import mask
from interlock.delivery.model import Incident
from interlock.events.model import Envelope


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, and the record that says so."""

    at: str
    what: str
    source: str


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """What was observed, beside what was allowed."""

    signal: str
    observed: float | None
    threshold: float
    verdict: str
    detail: str


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """How long it took and how many requests were seen to suffer; None where nobody could see."""

    opened_at: str
    resolved_at: str
    duration_s: float
    with_traffic_s: float | None
    """From the deployment's first traffic to the end of the incident."""
    requests: int | None
    errors: int | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a reader of the incident needs, derived anew from the record each time."""

    incident: Incident
    summary: str
    impact: Impact
    timeline: tuple[Entry, ...]
    evidence: tuple[Threshold, ...]
    comparisons: tuple[Compared, ...]
    facts: Facts
    cause: tuple[Statement, ...]


def report_of(incident: Incident, facts: Facts, events: Sequence[Envelope], now: datetime) -> Report:
    """Put together what the incident, its facts and the events around it say."""
    impact = _impact(incident, facts, now)
    return Report(
        incident=incident,
        summary=_summary(incident, facts),
        impact=impact,
        timeline=_timeline(incident, events),
        evidence=tuple(_thresholds(incident.evidence)),
        comparisons=compared(incident.evidence),
        facts=facts,
        cause=draft(incident, facts),
    )


def _summary(incident: Incident, facts: Facts) -> str:
    place = f"{incident.service} {incident.version} in {incident.environment}"
    good = f" The last release known to be good there is {facts.good.version}." if facts.good else ""
    states = {"open": "Nobody has taken it up yet.", "acknowledged": f"{incident.acknowledged_by} takes care of it."}
    over = f"It was resolved at {incident.resolved_at}: {incident.timeline[-1][1]}." if incident.timeline else ""
    return f"{_capital(incident.severity)} incident of {place}: {incident.title}. {states.get(incident.state, over)}{good}"


def _impact(incident: Incident, facts: Facts, now: datetime) -> Impact:
    end = from_text(incident.resolved_at) if incident.resolved_at else now
    samples: list[dict[str, Any]] = incident.evidence.get("samples", [])
    counted = [item["errors"] for item in samples if item["errors"] is not None]
    requests = incident.evidence.get("requests")
    for item in compared(incident.evidence):
        if item.signal == "error_rate" and item.candidate is not None:
            requests, counted = item.samples, [round(item.candidate * item.samples)]
    began = from_text(facts.live_at) if facts.live_at else None
    return Impact(
        opened_at=incident.opened_at,
        resolved_at=incident.resolved_at,
        duration_s=max(0.0, (end - from_text(incident.opened_at)).total_seconds()),
        with_traffic_s=max(0.0, (end - began).total_seconds()) if began else None,
        requests=requests,
        errors=sum(counted) if counted else None,
    )


def _thresholds(evidence: dict[str, Any]) -> Iterable[Threshold]:
    words = {True: "crossed", False: "within", None: "cannot be told"}
    for reading in evidence.get("readings", []):
        fields = {name: reading[name] for name in ("signal", "observed", "threshold", "detail")}
        yield Threshold(verdict=words[reading["crossed"]], **fields)


def _timeline(incident: Incident, events: Sequence[Envelope]) -> tuple[Entry, ...]:
    found = [Entry(at=at, what=what, source=f"incident {incident.incident_id}") for at, what in incident.timeline]
    for event in events:
        # What the incident says of itself stands in its own words already.
        what = "" if event.event_type.startswith("incident.") else _words(event)
        if what:
            found.append(Entry(at=event.timestamp, what=what, source=f"{event.event_type} {event.subject}"))
    # Sorting is stable: what happened in the same instant stays in the order of the record.
    return tuple(sorted(found, key=lambda entry: entry.at))


def _words(event: Envelope) -> str:
    data = event.data
    match event.event_type:
        case "deployment.changed":
            return f"{data['version']} is {data['state'].replace('_', ' ')} in {data['environment']}: {data['reason']}"
        case "plan.proposed":
            return f"{event.originating_agent} asked: {data['text']}"
        case "plan.approved":
            return f"{event.originating_agent} approved {data['plan_id']}"
        case "plan.changed":
            reason = f": {data['reason']}" if data["reason"] else ""
            return f"{data['plan_id']} is {data['state'].replace('_', ' ')}{reason}"
        case "inbox.opened":
            return f"a person is asked: {data['title']}"
        case "inbox.answered":
            return f"{event.originating_agent} answered: {data['answer']}"
        case "release.quarantined":
            return f"the content of {data['version']} is in quarantine"
        case _:
            return ""


# --- Markdown ---


def markdown(report: Report) -> str:
    """The report as a Markdown document. Whatever comes from outside is text in it, and nothing else."""
    parts = [
        _heading(report),
        ["## Summary", "", md(report.summary)],
        _impact_part(report.impact),
        ["## Cause (draft)", "", "Drawn from the record; each sentence names its fact. A person decides.", "", *_cause(report)],
        _evidence_part(report),
        _changes_part(report.facts),
        _log_part(report.facts),
        ["## Timeline", "", *_table(("when", "what", "source"), [(e.at, e.what, e.source) for e in report.timeline])],
        _missing_part(report.facts),
    ]
    return "\n".join(line for part in parts if part for line in [*part, ""]).rstrip("\n") + "\n"


def _heading(report: Report) -> list[str]:
    incident = report.incident
    place = f"{incident.service} {incident.version} in {incident.environment}"
    rows = [
        ("state", incident.state),
        ("severity", incident.severity),
        ("where", place),
        ("deployment", incident.deployment_id),
        ("release", incident.release_id),
        ("plan", report.facts.plan_id),
        ("found by", incident.found_by),
        ("acknowledged", f"{incident.acknowledged_by} {incident.acknowledged_at}".strip()),
        ("facts kept", report.facts.captured_at),
    ]
    return [f"# Incident {incident.incident_id}", "", *_table(("", ""), [row for row in rows if row[1]])]


def _impact_part(impact: Impact) -> list[str]:
    over = impact.resolved_at or "not resolved yet"
    seen = "not observed" if impact.requests is None else str(impact.requests)
    failed = "not observed" if impact.errors is None else str(impact.errors)
    traffic = "no traffic" if impact.with_traffic_s is None else time_span(impact.with_traffic_s)
    rows = [
        ("opened", impact.opened_at),
        ("resolved", over),
        ("duration", time_span(impact.duration_s)),
        ("from the first traffic to the end", traffic),
        ("requests in the window that was judged", seen),
        ("of them answered with 5xx, as sampled", failed),
    ]
    return ["## Impact", "", *_table(("", ""), rows)]


def _cause(report: Report) -> list[str]:
    return [f"- {md(item.text)} *({md(item.fact)})*" for item in report.cause]


def _evidence_part(report: Report) -> list[str]:
    rows = [
        (item.signal, "–" if item.observed is None else f"{item.observed:g}", f"{item.threshold:g}", item.verdict, item.detail)
        for item in report.evidence
    ]
    rest = {
        name: value
        for name, value in report.incident.evidence.items()
        if name not in {"readings", "samples", "verdict", "requests", "comparisons"}
    }
    beside = [
        (item.name, item.signal, item.shown(item.candidate), item.shown(item.stable), item.limit, item.verdict, item.detail)
        for item in report.comparisons
    ]
    said = [f"- {md(name.replace('_', ' '))}: {md(msgspec.json.encode(value).decode())}" for name, value in rest.items()]
    headings = ("check", "signal", "candidate", "what serves", "limit", "verdict", "in words")
    parts = [
        _table(("signal", "observed", "threshold", "verdict", "in words"), rows) if rows else [],
        _table(headings, beside) if beside else [],
        said,
    ]
    lines = [line for part in parts if part for line in ("", *part)]
    return ["## Evidence", *lines] if lines else []


def _changes_part(facts: Facts) -> list[str]:
    if facts.good is None:
        return []
    lines = [f"## From {md(facts.good.version)} to {md(facts.bad.version)}", ""]
    lines += _table(
        ("release", "version", "commit"),
        [(item.release_id, item.version, item.commit[:12]) for item in (facts.good, facts.bad)],
    )
    if facts.commits:
        rows = [(item.commit, item.author, item.subject, ", ".join(item.files)) for item in facts.commits]
        lines += ["", *_table(("commit", "author", "subject", "files"), rows)]
    if facts.recipe:
        rows = [(item.field, item.now or "not said", item.then or "not said") for item in facts.recipe]
        lines += ["", *_table(("recipe", "before", "after"), rows)]
    return lines


def _log_part(facts: Facts) -> list[str]:
    if not facts.log:
        return []
    new = {True: "yes", False: "no", None: "unknown"}
    rows = [
        (str(item.count), new[item.is_new], f"{item.first_line}–{item.last_line}", item.first_at, item.last_at, item.example)
        for item in facts.log
    ]
    count = "1 line" if facts.log_lines == 1 else f"{facts.log_lines} lines"
    intro = f"{count} of the bad deployment's log, in groups that say the same; errors come first."
    return ["## Log", "", intro, "", *_table(("lines", "new", "from–to", "first", "last", "example"), rows)]


def _missing_part(facts: Facts) -> list[str]:
    if not facts.missing:
        return []
    return ["## What could not be had", "", *(f"- {md(name)}: {md(why)}" for name, why in facts.missing.items())]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return table(headings, ([md(cell) for cell in row] for row in rows))


def md(text: str) -> str:
    """``text`` as one line of plain Markdown, without what looks like a secret."""
    return plain_line(mask(text))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
