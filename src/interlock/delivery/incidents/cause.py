"""A draft of the cause, from facts alone: every sentence names the fact that it rests on. Pure."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from interlock.delivery.incidents.evidence import compared
from interlock.delivery.incidents.facts import Facts
from interlock.delivery.model import Incident

_MEMORY = re.compile(r"(?i)out of memory|memoryerror|oom|cannot allocate memory")
SIGKILL = -9
MAX_NAMED = 5


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of the draft, and the fact behind it."""

    text: str
    fact: str


def draft(incident: Incident, facts: Facts) -> tuple[Statement, ...]:
    """What the facts say about the cause; the last sentence says it where they do not suffice."""
    found = [
        *_blame(incident),
        *_signals(incident),
        *_onset(incident, facts),
        *_endings(facts),
        *_log(facts),
        *_changes(facts),
    ]
    points_somewhere = incident.found_by == "host" or any(item.is_bad and item.is_new is not False for item in facts.log)
    if not points_somewhere:
        found.append(
            Statement(
                text="The facts do not suffice to name a cause: no error in the log stands out as new with this release.",
                fact="log" if "log" not in facts.missing else f"no log: {facts.missing['log']}",
            )
        )
    return tuple(found)


def _blame(incident: Incident) -> Iterator[Statement]:
    if incident.found_by == "host":
        text = "Nothing is known against the release: its process was stopped from outside, or the host was restarted."
        yield Statement(text=text, fact="found by: host")


def _signals(incident: Incident) -> Iterator[Statement]:
    readings: list[dict[str, Any]] = incident.evidence.get("readings", [])
    for reading in readings:
        if reading["crossed"]:
            yield Statement(text=f"{_capital(reading['detail'])}.", fact=f"evidence: {reading['signal']}")
    for item in compared(incident.evidence):
        if item.verdict == "fail":
            yield Statement(text=f"{_capital(item.detail)}.", fact=f"evidence: {item.name} of the candidate")
    for failure in incident.evidence.get("smoke_tests", [])[:MAX_NAMED]:
        yield Statement(text=f"The smoke test failed: {failure}.", fact="evidence: smoke tests")
    error = incident.evidence.get("rollback_error")
    if error:
        yield Statement(text=f"The way back failed too: {error.get('message', '')}.", fact="evidence: rollback error")


def _onset(incident: Incident, facts: Facts) -> Iterator[Statement]:
    samples = [item for item in incident.evidence.get("samples", []) if item["requests"]]
    if not samples or not any(item["errors"] for item in samples):
        return
    first = samples[0]
    seen = f"{first['errors']} of {first['requests']} requests failed in the first interval with traffic that was sampled"
    if incident.found_by != "run":
        yield Statement(
            text=f"It had had traffic since {facts.live_at or 'an unknown time'} before it was found; whether its first request"
            " failed is not in the facts.",
            fact="samples of the standing watch",
        )
    elif first["errors"]:
        text = f"The errors came with the release's first requests: {seen}, {first['before_s']:g} s before the verdict."
        yield Statement(text=text, fact="samples of the watch")
    else:
        later = next(item for item in samples if item["errors"])
        text = f"The first requests were answered; errors began {later['before_s']:g} s before the verdict."
        yield Statement(text=text, fact="samples of the watch")


def _endings(facts: Facts) -> Iterator[Statement]:
    memory = next((item for item in facts.log if _MEMORY.search(item.example)), None)
    for process in facts.processes:
        if process.state == "exited" and process.reason != "stopped":
            how = f"exit code {process.exit_code}" if (process.exit_code or 0) >= 0 else f"signal {-(process.exit_code or 0)}"
            text = f"The process ended by itself ({how}; {process.message or process.reason})."
            yield Statement(text=text, fact=f"process {process.key}")
            if process.exit_code == SIGKILL and memory is None:
                text = "Signal 9 is what the kernel sends when memory runs out; whether it was the sender is not in the facts."
                yield Statement(text=text, fact=f"process {process.key}")
        if process.restarts:
            why = f" ({process.message})" if process.message else ""
            text = f"It was restarted {process.restarts} times, so it ended by itself that often{why}."
            yield Statement(text=text, fact=f"process {process.key}")
    if memory is not None:
        yield Statement(text=f"The log speaks of memory running out: {memory.example}", fact=f"log line {memory.first_line}")


def _log(facts: Facts) -> Iterator[Statement]:
    bad = [item for item in facts.log if item.is_bad]
    for item in [item for item in bad if item.is_new is not False][:3]:
        new = " The last good release's log has no such line." if item.is_new else ""
        touched = _touched(facts, item.example)
        yield Statement(
            text=f"The log says {item.count} times: {item.example}.{new}{touched}",
            fact=f"log lines {item.first_line} to {item.last_line}",
        )
    known = [item for item in bad if item.is_new is False]
    if known:
        kinds = "One kind of error is" if len(known) == 1 else f"{len(known)} kinds of error are"
        text = f"{kinds} in the last good release's log as well; that says nothing against this one."
        yield Statement(text=text, fact="both logs")


def _touched(facts: Facts, line: str) -> str:
    for commit in facts.commits:
        for file in commit.files:
            name = file.rpartition("/")[2]
            if len(name) > 3 and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", line):
                return f" It names {name}, which {commit.commit} touched ({commit.subject})."
    return ""


def _changes(facts: Facts) -> Iterator[Statement]:
    if facts.good is None:
        yield Statement(text="There is no earlier good release in this place to compare with.", fact="deployments")
        return
    span = f"{facts.good.version} and {facts.bad.version}"
    if facts.good.content == facts.bad.content:
        text = f"{span} are the same content, byte for byte: what differs lies outside of the release."
        yield Statement(text=text, fact="content hashes")
        return
    if facts.commits:
        files = list(dict.fromkeys(file for commit in facts.commits for file in commit.files))
        more = f" and {len(files) - MAX_NAMED} more" if len(files) > MAX_NAMED else ""
        commits = "1 commit lies" if len(facts.commits) == 1 else f"{len(facts.commits)} commits lie"
        what = "it touched" if len(facts.commits) == 1 else "they touched"
        text = f"{commits} between {span}; {what} {', '.join(files[:MAX_NAMED]) or 'no file'}{more}."
        yield Statement(text=text, fact="git log")
    else:
        why = facts.missing.get("commits", "the newer one is not built on the older one")
        yield Statement(text=f"Which commits lie between {span} is not known: {why}.", fact="git log")
    if facts.recipe:
        names = ", ".join(item.field for item in facts.recipe[:MAX_NAMED])
        more = f" and {len(facts.recipe) - MAX_NAMED} more" if len(facts.recipe) > MAX_NAMED else ""
        yield Statement(text=f"The recipe changed between {span}: {names}{more}.", fact="both recipes")
    else:
        yield Statement(text=f"The recipe is the same in {span}.", fact="both recipes")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
