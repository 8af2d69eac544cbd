"""The report of an incident: what it says, what it rests on, and what it must not become."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.delivery.incidents.evidence import told
from interlock.delivery.incidents.facts import Facts, ProcessFact, ReleaseFact, without_secrets
from interlock.delivery.incidents.report import markdown, md, report_of
from interlock.delivery.judging.analysis import compare, conclude, error_rate
from interlock.delivery.judging.watch import Sample, Thresholds, judge
from interlock.delivery.logs.clusters import clusters_of
from interlock.delivery.model import Incident
from interlock.delivery.ports import LegCounters
from interlock.events.model import Envelope
from interlock.sources.model import Check
from interlock.sources.ports import Commit
from interlock.sources.recipe_changes import FieldChange

NOW = datetime(2026, 1, 1, 12, 10, tzinfo=UTC)
GOOD = ReleaseFact(release_id="rel_1", version="v1.0.0", commit="a" * 40, content="sha256:1")
BAD = ReleaseFact(release_id="rel_2", version="v1.1.0", commit="b" * 40, content="sha256:2")
COMMIT = Commit(commit="bbbbbbb", subject="Greet faster", author="Anna", files=("app/greet.py", "README.md"))


def sample(at_s: float, requests: int | None, errors: int = 0, generation: str = "g") -> Sample:
    counters = None
    if requests is not None:
        counters = LegCounters(generation=generation, requests=requests, server_errors=errors, buckets={"inf": requests})
    return Sample(at_s=at_s, counters=counters, healthy=True, is_running=True, restarts=0)


def evidence(*samples: Sample) -> dict[str, Any]:
    judged = judge(samples, Thresholds(min_requests=1), has_health_check=False)
    return msgspec.to_builtins(judged) | {"samples": told(samples)}


def incident(**fields: Any) -> Incident:
    given: dict[str, Any] = {
        "incident_id": "inc_1",
        "service": "greeter",
        "environment": "production",
        "deployment_id": "dep_1",
        "release_id": "rel_2",
        "version": "v1.1.0",
        "severity": "warning",
        "title": "5 of 10 requests failed",
        "evidence": evidence(sample(0, 0), sample(2, 10, 5)),
        "found_by": "run",
        "opened_at": "2026-01-01T12:00:00.000Z",
        "state": "open",
        "timeline": (("2026-01-01T11:59:00.000Z", "v1.1.0 got traffic"), ("2026-01-01T12:00:00.000Z", "it failed")),
    }
    return Incident(**(given | fields))


def facts(**fields: Any) -> Facts:
    given: dict[str, Any] = {
        "incident_id": "inc_1",
        "captured_at": "2026-01-01T12:00:01.000Z",
        "plan_id": "plan_1",
        "live_at": "2026-01-01T11:59:00.000Z",
        "bad": BAD,
        "good": GOOD,
        "commits": (COMMIT,),
    }
    return Facts(**(given | fields))


def cause(found: Incident, known: Facts) -> str:
    return "\n".join(f"{item.text} ({item.fact})" for item in report_of(found, known, [], NOW).cause)


def test_a_report_says_impact_evidence_and_what_lies_between() -> None:
    text = markdown(report_of(incident(), facts(), [], NOW))
    assert "| duration | 10 min 0 s |" in text
    assert "| requests in the window that was judged | 10 |" in text
    assert "| of them answered with 5xx, as sampled | 5 |" in text
    assert "| error\\_rate | 0.5 | 0.05 | crossed |" in text
    assert "| bbbbbbb | Anna | Greet faster | app/greet.py, README.md |" in text


def test_the_numbers_of_an_analysis_stand_beside_each_other() -> None:
    def leg(requests: int, errors: int) -> LegCounters:
        return LegCounters(generation="g", requests=requests, server_errors=errors, buckets={"inf": requests})

    candidate, stable = leg(40, 20), leg(360, 4)
    found = [
        compare(check, error_rate(candidate, 20), error_rate(stable, 20))
        for check in (
            Check(name="errors", signal="error_rate", max=0.02, max_increase=0.01),
            Check(name="alone", signal="error_rate", max=0.9),
        )
    ]
    proof = msgspec.to_builtins(conclude(found))
    report = report_of(incident(evidence=proof), facts(), [], NOW)
    text = markdown(report)
    assert "| errors | error\\_rate | 50% | 1.11% | at most 2%, at most 1% more | fail |" in text
    assert "| alone | error\\_rate | 50% | 1.11% | at most 90% | pass |" in text
    assert "comparisons" not in text, "nothing is left as raw data"
    assert "| requests in the window that was judged | 40 |" in text
    assert "| of them answered with 5xx, as sampled | 20 |" in text
    said = cause(incident(evidence=proof), facts())
    assert "Errors: 50.0% of 40 requests failed; at most 0.02 wanted; what serves has 0.01111" in said
    assert "Alone" not in said
    assert [(item.name, item.verdict) for item in report.comparisons] == [("errors", "fail"), ("alone", "pass")]


def test_the_timeline_is_of_all_records_in_their_order() -> None:
    def event(kind: str, at: str, **data: Any) -> Envelope:
        return Envelope(
            event_id=at, event_type=kind, version="1", subject="x", timestamp=at, originating_agent="user:owner", data=data
        )

    events = [
        event("plan.approved", "2026-01-01T11:58:00.000Z", plan_id="plan_1"),
        event("incident.opened", "2026-01-01T12:00:00.000Z", title="twice?"),
        event("some.other", "2026-01-01T12:00:00.000Z"),
    ]
    timeline = report_of(incident(), facts(), events, NOW).timeline
    assert [entry.what for entry in timeline] == ["user:owner approved plan_1", "v1.1.0 got traffic", "it failed"]


class TestCause:
    def test_errors_with_the_first_requests(self) -> None:
        said = cause(incident(), facts())
        assert "The errors came with the release's first requests: 5 of 10 requests failed" in said
        later = incident(evidence=evidence(sample(0, 0), sample(2, 10, 0), sample(4, 20, 8)))
        assert "The first requests were answered; errors began 0 s before the verdict" in cause(later, facts())
        assert "whether its first request failed is not in the facts" in cause(incident(found_by="watch"), facts())

    def test_a_file_in_the_error_that_a_commit_touched(self) -> None:
        log = clusters_of(['File "app/greet.py", line 3, in greet: ZeroDivisionError'], frozenset())
        said = cause(incident(), facts(log=log))
        assert "It names greet.py, which bbbbbbb touched (Greet faster)." in said
        assert "The last good release's log has no such line." in said
        assert "do not suffice" not in said

    def test_errors_that_the_good_release_has_too_do_not_suffice(self) -> None:
        log = clusters_of(["TimeoutError: late"], frozenset({"TimeoutError: late"}))
        said = cause(incident(), facts(log=log))
        assert "One kind of error is in the last good release's log as well" in said
        assert "The facts do not suffice to name a cause" in said

    @pytest.mark.parametrize(
        ("exit_code", "words"),
        [(1, "ended by itself (exit code 1"), (-11, "ended by itself (signal 11"), (-9, "whether it was the sender is not")],
    )
    def test_how_a_process_ended(self, exit_code: int, words: str) -> None:
        process = ProcessFact(key="p", state="exited", restarts=2, exit_code=exit_code, reason="gave_up", message="")
        said = cause(incident(), facts(processes=(process,)))
        assert words in said
        assert "restarted 2 times" in said

    def test_one_that_was_stopped_did_not_end_by_itself(self) -> None:
        process = ProcessFact(key="p", state="exited", restarts=0, exit_code=-15, reason="stopped", message="")
        assert "by itself" not in cause(incident(), facts(processes=(process,)))

    def test_memory_that_ran_out_is_read_in_the_log(self) -> None:
        log = clusters_of(["MemoryError: cannot allocate 900 MB"])
        assert "The log speaks of memory running out" in cause(incident(), facts(log=log))

    def test_the_host_is_to_blame(self) -> None:
        said = cause(incident(found_by="host", evidence={}), facts())
        assert said.startswith("Nothing is known against the release")

    def test_the_same_content_points_outside(self) -> None:
        same = msgspec.structs.replace(BAD, content=GOOD.content)
        assert "what differs lies outside of the release" in cause(incident(), facts(bad=same, commits=()))

    def test_what_is_not_there_is_said(self) -> None:
        known = facts(good=None, commits=(), missing={"log": "its files are gone"})
        said = cause(incident(evidence={}), known)
        assert "no earlier good release" in said
        assert "no log: its files are gone" in said
        assert "## What could not be had" in markdown(report_of(incident(), known, [], NOW))

    def test_every_sentence_names_its_fact(self) -> None:
        assert all(item.fact for item in report_of(incident(), facts(), [], NOW).cause)


def test_what_looks_like_a_secret_in_a_command_is_not_told() -> None:
    change = FieldChange(field="start", now="python app.py", then="python app.py --token=geheim5")
    (told_of,) = without_secrets([change])
    assert told_of.now == change.now
    assert "geheim5" not in told_of.then


def test_samples_tell_what_each_look_saw_also_over_a_restart_of_the_forwarder() -> None:
    looks = told([sample(0, 100), sample(2, 110, 5), sample(4, None), sample(6, 4, 1, "other"), sample(8, 9, 1, "other")])
    assert [(item["before_s"], item["requests"], item["errors"]) for item in looks] == [
        (8, None, None),
        (6, 10, 5),
        (4, None, None),
        (2, 4, 1),
        (0, 5, 0),
    ]


@given(st.text(max_size=700))
def test_a_strangers_text_stays_one_cell_of_plain_text(text: str) -> None:
    shown = md(text)
    assert shown.isprintable()
    assert "<" not in shown
    for mark in "|`[]*":
        assert mark not in shown.replace("\\" + mark, "")


def test_a_hostile_title_adds_no_heading_and_no_row() -> None:
    hostile = incident(title="x\n\n# Owned\n| a | b |\n<script>alert(1)</script> password=geheim1 [x](http://evil)")
    text = markdown(report_of(hostile, facts(), [], NOW))
    assert "\n# Owned" not in text
    assert "<script>" not in text
    assert "geheim1" not in text
    assert "](" not in text.replace("\\]", "")
