"""The report of a run: a pure function of its plan and its journal."""

from types import SimpleNamespace
from typing import Any

import msgspec

from harness.engine import run_of, task
from interlock.core.errors import Forbidden
from interlock.plans.model import Approval, Change, Pin, Plan
from interlock.plans.report import RunReport, markdown, report_of
from interlock.runs import model as m
from interlock.runs.decide import Scheduler, decide
from interlock.runs.evolve import fold
from interlock.runs.graph import Retry, TaskSpec
from interlock.runs.parts import Each
from unit.test_runs_decide import AT, Story

EVIL = "<script>alert(1)</script> [x](http://evil.example) | `"
APPROVAL = Approval(by="user:maria", at="", content_hash="", signature="")
PLAN = Plan(
    **dict.fromkeys(("content_hash", "created_at", "expires_at"), ""),
    plan_id="plan_1",
    state="failed",
    action="deploy",
    service="shop",
    environments=("staging",),
    version="v2",
    text=f"deploy shop v2 to staging {EVIL}",
    requested_by="user:owner",
    tier=1,
    approvals=(APPROVAL,),
    changes=(Change(environment="staging", now="v1", then="v2", url="", rollback="v1, checked"),),
)
CONTENT: Any = SimpleNamespace(pins=(Pin(environment="staging", deployment_id="dep_0", version="v1"),))


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000Z"


def reported() -> tuple[RunReport, list[m.RunEvent]]:
    """A run that asks, is refused a call, tries again, fails and ends."""
    build = task("build", kind="delivery.release", retry=Retry(max_attempts=2))
    run = run_of(build, task("ask", "build"), task("never", "ask"))
    events = list(decide(None, m.Submit(at=at(0), run=run)))
    state = fold(events)
    assert state is not None
    scheduler = Scheduler(state)
    down = {"code": "down", "message": f"nobody answers {EVIL}", "kind": "unavailable"}
    refusal = Forbidden("not_granted", "no such right").as_dict()
    for command in (
        m.Start(at=at(1)),
        m.Fail(at=at(2), task="build", attempt=1, error=down, is_transient=True),
        m.RetryDue(at=at(3), task="build"),
        m.Note(
            at=at(4),
            task="build",
            attempt=2,
            events=(
                m.CallRefused(at=at(4), task="build", tool="host.format", arguments={}, error=refusal),
                m.IntentRecorded(
                    at=at(4), task="build", name="x", tool="x", effect="write", keying="keyed", key="k", arguments={},
                    arguments_digest="",
                ),
                m.ReceiptRecorded(at=at(4), task="build", key="k", outcome="done", by="act", output={"output_bytes": 7}),
            ),
        ),
        m.Complete(at=at(5), task="build", attempt=2, output={"release_id": "rel_1", "image": "sha256:1"}),
        m.Park(at=at(6), task="ask", attempt=1, question="go on?", options=("yes", "no"), evidence={}),
        m.Answer(at=at(26), task="ask", answer="no", by="user:jonas"),
        m.Fail(at=at(27), task="ask", attempt=2, error={"code": "no", "message": "it was told to stop"}, is_transient=False),
    ):  # fmt: skip
        events += scheduler.decide(command)
    return report_of(PLAN, CONTENT, scheduler.state, events), events


def test_it_says_what_was_asked_done_and_changed_what_failed_and_what_it_took():
    report, _ = reported()
    assert (report.status, report.asked, report.approved_by) == ("failed", PLAN.text, ("user:maria",))
    assert report.outcome == "failed; ask: it was told to stop"
    assert [(step.task, step.status, step.attempts) for step in report.steps] == [
        ("build", "completed", 2),
        ("ask", "failed", 2),
        ("never", "skipped", 0),
    ]
    assert [(item.task, item.code, item.is_tried_again) for item in report.failures] == [
        ("build", "down", True),
        ("ask", "no", False),
    ]
    assert [(item.question, item.answer, item.by) for item in report.questions] == [("go on?", "no", "user:jonas")]
    assert report.refused == ("build asked for host.format: no such right",)
    assert [(item.kind, item.name, item.link) for item in report.artifacts] == [
        ("release", "rel_1", "/releases"),
        ("log", "build", "/runs/run_1/tasks/build/log"),
    ]
    costs = report.costs
    assert (costs.duration_s, costs.waited_s) == (26.0, 20.0)
    assert (costs.attempts, costs.retries, costs.effects, costs.adoptions) == (4, 1, 1, 0)


def ended(role: str, spec: TaskSpec, output: dict[str, Any], *effects: str) -> RunReport:
    """The report of a run of one task that used these tools."""
    run = run_of(spec, role=role)
    events = list(decide(None, m.Submit(at=at(0), run=run)))
    state = fold(events)
    assert state is not None
    scheduler = Scheduler(state)
    events += scheduler.decide(m.Start(at=at(1)))
    for key in effects:
        intent = m.IntentRecorded(
            at=at(1),
            task=spec.id,
            name=key,
            tool=key,
            effect="write",
            keying="keyed",
            key=key,
            arguments={},
            arguments_digest="",
        )  # fmt: skip
        receipt = m.ReceiptRecorded(at=at(1), task=spec.id, key=key, outcome="done", by="act")
        events += scheduler.decide(m.Note(at=at(1), task=spec.id, attempt=1, events=(intent, receipt)))
    events += scheduler.decide(m.Complete(at=at(2), task=spec.id, attempt=1, output=output))
    return report_of(PLAN, CONTENT, scheduler.state, events)


def test_what_brings_back_does_not_claim_the_change_that_it_undoes():
    report = ended("rollback:staging", task("restore"), {})
    assert (report.role, report.changes) == ("rollback:staging", ())
    assert "What was to change" not in markdown(report)


def test_what_was_there_before_is_not_among_what_was_made():
    still = ended("rollback:staging", task("restore", kind="delivery.restore"), {"deployment_id": "dep_0"})
    again = ended("rollback:staging", task("restore", kind="delivery.restore"), {"deployment_id": "dep_9"}, "process.start")
    assert [item.name for item in still.artifacts] == []
    assert [(item.kind, item.name) for item in again.artifacts] == [("deployment", "dep_9")]


def test_it_says_who_cancelled_it_and_that_nothing_was_tried_again_after_that():
    run = run_of(task("build", retry=Retry(max_attempts=3)))
    events = list(decide(None, m.Submit(at=at(0), run=run)))
    state = fold(events)
    assert state is not None
    scheduler = Scheduler(state)
    down = {"code": "down", "message": "away: https://u:hunter2@host/ password=hunter2", "kind": "unavailable"}
    for command in (
        m.Start(at=at(1)),
        m.Fail(at=at(2), task="build", attempt=1, error=down, is_transient=True),
        m.RequestCancel(at=at(3), by="user:jonas", reason="enough"),
    ):
        events += scheduler.decide(command)
    report = report_of(PLAN, CONTENT, scheduler.state, events)
    assert (report.status, report.cancelled_by) == ("cancelled", "user:jonas")
    assert [item.is_tried_again for item in report.failures] == [False]
    assert "cancelled by user:jonas" in markdown(report)
    assert "hunter2" not in msgspec.json.encode(report).decode() + markdown(report)


def test_its_markdown_has_each_part_and_no_markup_of_others():
    text = markdown(reported()[0])
    headings = ["What was to change", "What was done", "What failed", "What people were asked", "What it made", "What it took"]
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == headings
    assert "<script>" not in text
    assert "\\[x\\](http&#58;//evil.example) \\| \\`" in text
    assert "26.0 s, 20.0 s of it waiting for a person or a control plane; 4 attempts, 1 retry, 1 recorded effect." in text
    cells = [line.replace("\\|", "").count("|") for line in text.splitlines() if "nobody answers" in line]
    assert cells == [6], "one row of five cells"


def test_a_step_for_each_item_of_a_list_tells_of_all_its_attempts_and_links_to_the_output_of_each():
    files, none = Each(items=["a", "b"], tolerated=1), Each(items=[])
    story = Story(task("read", each=files, retry=Retry(max_attempts=2)), task("more", "read", each=none)).start()
    output = m.ReceiptRecorded(at=AT, task="read[1]", key="k", outcome="done", by="act", output={"output_bytes": 7})
    intent = m.IntentRecorded(
        at=AT, task="read[1]", name="x", tool="x", effect="write", keying="keyed", key="k", arguments={}, arguments_digest=""
    )
    story.do(m.Note, task="read[1]", attempt=1, events=(intent, output))
    story.fail("read[0]", is_transient=True)
    story.do(m.RetryDue, task="read[0]")
    story.fail("read[0]")
    story.complete("read[1]")
    report = report_of(PLAN, CONTENT, story.state, story.events)
    assert [(step.task, step.status, step.attempts) for step in report.steps] == [
        ("read", "completed", 3),
        ("more", "completed", 0),
    ]
    assert [failure.task for failure in report.failures] == ["read[0]", "read[0]"]
    assert [artifact.link for artifact in report.artifacts] == ["/runs/run_1/tasks/read%5B1%5D/log"]
    assert "Never begun" not in markdown(report)
