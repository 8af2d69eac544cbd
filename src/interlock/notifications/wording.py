"""Events in words, for people who read them in a mail: what happened, and the commands that come next. Pure."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

MAX_LINE = 400
MAX_SUBJECT = 160

_EMPTY_TIME = "unknown time"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A subject on one line, what happened, and the commands that say more or settle it."""

    subject: str
    happened: str
    commands: tuple[str, ...] = ()


def mail(event: dict[str, Any]) -> tuple[str, str]:
    """Subject and text of the mail about a CloudEvent."""
    message = message_of(event)
    lines = ["What happened", f"  {line(message.happened)}", f"  at {line(event.get('time', _EMPTY_TIME))}"]
    if message.commands:
        lines += ["", "What to do next", *(f"  {line(command)}" for command in message.commands)]
    about = {"event": event.get("type", ""), "subject": event.get("subject", ""), "id": event.get("id", "")}
    lines += ["", "Details", *(f"  {name}: {line(value)}" for name, value in about.items())]
    # The signature separator of RFC 3676; what follows is about the mail, not about the event.
    lines += ["", "-- ", "Sent by Interlock because a channel asks for it; see: interlock notify list"]
    return "[interlock] " + line(message.subject, MAX_SUBJECT), "\n".join(lines) + "\n"


def message_of(event: dict[str, Any]) -> Message:
    """What is said about an event; about one that nobody has words for, its own."""
    kind = str(event.get("type", "")).removeprefix("interlock.")
    data: dict[str, Any] = event.get("data") or {}
    tell = _TOLD.get(kind)
    try:
        return tell(data) if tell else _plain(kind, str(event.get("subject", "")), data)
    except KeyError:
        return _plain(kind, str(event.get("subject", "")), data)


def line(text: object, limit: int = MAX_LINE) -> str:
    """``text`` on one line of bounded length: it was written by strangers, and must not add lines or headers of its own."""
    flat = re.sub(r"\s+", " ", "".join(letter if letter.isprintable() else " " for letter in str(text))).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _plain(kind: str, subject: str, data: dict[str, Any]) -> Message:
    said = ", ".join(f"{name} {value}" for name, value in data.items() if isinstance(value, str | int | float) and value != "")
    return Message(subject=f"{kind} {subject}".strip(), happened=f"{kind}: {said}" if said else kind)


def _incident_opened(data: dict[str, Any]) -> Message:
    incident = data["incident_id"]
    return Message(
        subject=f"{data['severity']} incident: {data['title']}",
        happened=f"Incident {incident} was opened for {data['service']} in {data['environment']}: {data['title']}",
        commands=(
            f"interlock incidents show {incident}",
            f"interlock incidents ack {incident}",
            f"interlock status --service {data['service']}",
        ),
    )


def _incident_acknowledged(data: dict[str, Any]) -> Message:
    note = f": {data['note']}" if data.get("note") else ""
    return Message(
        subject=f"incident {data['incident_id']} is acknowledged",
        happened=f"{data['by']} takes care of it{note}",
        commands=(f"interlock incidents show {data['incident_id']}",),
    )


def _incident_resolved(data: dict[str, Any]) -> Message:
    return Message(
        subject=f"resolved: {data['service']} in {data['environment']}",
        happened=f"Incident {data['incident_id']} is over: {data['how']}",
        commands=(f"interlock incidents export {data['incident_id']} --output report.md",),
    )


def _drift_found(data: dict[str, Any]) -> Message:
    where = f"{data['service']} in {data['environment']}"
    return Message(
        subject=f"{where} is not as it should be",
        happened=f"{where} was changed from outside: " + "; ".join(drift["detail"] for drift in data["drifts"]),
        commands=("interlock drift", "interlock inbox"),
    )


def _inbox_opened(data: dict[str, Any]) -> Message:
    return Message(
        subject=f"{data['kind'].replace('_', ' ')}: {data['title']}",
        happened=f"Something waits for a person: {data['title']}",
        commands=("interlock inbox",),
    )


def _plan_changed(data: dict[str, Any]) -> Message:
    reason = f": {data['reason']}" if data["reason"] else ""
    return Message(
        subject=f"{data['plan_id']} is {data['state'].replace('_', ' ')}",
        happened=f"The plan {data['plan_id']} is {data['state'].replace('_', ' ')} now{reason}",
        commands=(f"interlock show {data['plan_id']}",),
    )


def _plan_proposed(data: dict[str, Any]) -> Message:
    return Message(
        subject=f"a plan waits for approval: {data['text']}",
        happened=f"The plan {data['plan_id']} was made of the words: {data['text']}",
        commands=(f"interlock show {data['plan_id']}", f"interlock approve {data['plan_id']}"),
    )


def _deployment_changed(data: dict[str, Any]) -> Message:
    state = data["state"].replace("_", " ")
    return Message(
        subject=f"{data['service']} {data['version']} is {state} in {data['environment']}",
        happened=f"{data['service']} {data['version']} is {state} in {data['environment']}: {data['reason']}",
        commands=(f"interlock status --service {data['service']}",),
    )


def _quarantined(data: dict[str, Any]) -> Message:
    return Message(
        subject=f"{data['service']} {data['version']} is in quarantine",
        happened=f"The content of {data['service']} {data['version']} is not deployed any more: {data['reason']}",
        commands=(f"interlock incidents show {data['incident_id']}", "interlock quarantine list"),
    )


def _run_paused(data: dict[str, Any]) -> Message:
    reason = f": {data['reason']}" if data["reason"] else ""
    return Message(
        subject=f"run {data['run_id']} is paused",
        happened=f"{data['by']} paused the run {data['run_id']} of {data['plan_id']}{reason}; no further step of it starts",
        commands=(f"interlock why {data['run_id']}", f"interlock resume {data['run_id']}"),
    )


def _run_resumed(data: dict[str, Any]) -> Message:
    return Message(
        subject=f"run {data['run_id']} goes on",
        happened=f"{data['by']} ended the pause of the run {data['run_id']} of {data['plan_id']}",
        commands=(f"interlock watch {data['run_id']}",),
    )


def _run_finished(data: dict[str, Any]) -> Message:
    error = f": {data['error'].get('message', '')}" if data["error"] else ""
    return Message(
        subject=f"run {data['run_id']} is {data['status'].replace('_', ' ')}",
        happened=f"The run {data['run_id']} of {data['plan_id']} is {data['status'].replace('_', ' ')}{error}",
        commands=(f"interlock watch {data['run_id']}",),
    )


def _tested(data: dict[str, Any]) -> Message:
    return Message(
        subject=f"test of the channel {data['name']}",
        happened=data["message"],
        commands=(f"interlock notify deliveries --channel {data['name']}",),
    )


_TOLD: dict[str, Callable[[dict[str, Any]], Message]] = {
    "incident.opened": _incident_opened,
    "incident.acknowledged": _incident_acknowledged,
    "incident.resolved": _incident_resolved,
    "drift.found": _drift_found,
    "inbox.opened": _inbox_opened,
    "plan.changed": _plan_changed,
    "plan.proposed": _plan_proposed,
    "deployment.changed": _deployment_changed,
    "release.quarantined": _quarantined,
    "run.paused": _run_paused,
    "run.resumed": _run_resumed,
    "run.finished": _run_finished,
    "notification.test": _tested,
}
