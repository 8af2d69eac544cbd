"""What people read: nothing that matters is missing, and nothing that a stranger wrote acts on the terminal."""

import copy
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType

from interlock.faces.cli.text import clean_data
from interlock.faces.cli.views import delivery, incidents
from interlock.faces.cli.views.events import event_line
from interlock.faces.cli.views.inbox import inbox
from interlock.faces.cli.views.plan import approved, listing_of, plan_summary, plan_to_decide, whole_plan
from interlock.faces.cli.views.question import question
from interlock.faces.cli.views.record import verdict
from interlock.faces.cli.views.run import Progress, RunView

HASH = "sha256:" + "ab" * 32
NOW = datetime(2026, 7, 30, 12, 1, tzinfo=UTC)


def shown(view: RenderableType, width: int = 80, *, is_terminal: bool = False, height: int = 100) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, height=height, markup=False, emoji=False, highlight=False, force_terminal=is_terminal
    )
    console.print(view, crop=False)
    return "\n".join(line.rstrip() for line in stream.getvalue().split("\n"))


def task(task_id: str, kind: str, title: str, effect: str, *needs: str, **fields: Any) -> dict[str, Any]:
    retry = {"max_attempts": 4, "delay_s": 1.0, "factor": 2.0, "max_delay_s": 60.0, "jitter": 0.2}
    spec = {"id": task_id, "kind": f"delivery.{kind}", "title": title, "effect": effect, "inputs": {}, "needs": list(needs)}
    return spec | {"when": "succeeded", "branch": "", "timeout_s": 120.0, "retry": retry} | fields


STAGING = {"place": {"service": "greeter", "environment": "staging"}}
START = "start v1.1.0 beside what serves: python3 server.py --port {port}"
TASKS = [
    task("test", "command", "python3 -m unittest -q", "write"),
    task("start-staging", "start", START, "deploy", "test", inputs=STAGING),
    task("watch-staging", "watch", "watch for 60 s", "read", "start-staging", inputs=STAGING),
    task(
        "restore-staging",
        "restore",
        "make sure that v1.0.0 runs",
        "deploy",
        "watch-staging",
        inputs=STAGING,
        when="failed",
        branch="rollback:staging",
    ),
]
GRANTS = [
    {
        "task": "test",
        "tool": "command.run",
        "arguments": {
            "commands": {"rule": "exactly", "value": [["python3", "-m", "unittest", "-q"], ["echo", "two words"]]},
            "folder": {"rule": "under", "value": "/data/bundles"},
            "environment": {"rule": "exactly", "value": {}},
        },
    },
    {
        "task": "start-staging",
        "tool": "process.start",
        "arguments": {
            "commands": {"rule": "exactly", "value": [["python3", "server.py", "--port", "{port}"]]},
            "port": {"rule": "port", "value": None},
            "secrets": {"rule": "exactly", "value": {"KEY": "greeter/key"}},
        },
    },
]
PLAN: dict[str, Any] = {
    "plan_id": "plan_1",
    "content_hash": HASH,
    "state": "pending_approval",
    "action": "deploy",
    "service": "greeter",
    "environments": ["staging"],
    "version": "v1.1.0",
    "text": "deploy v1.1.0 of greter to staging",
    "requested_by": "user:owner",
    "created_at": "2026-07-30T12:00:00.000Z",
    "expires_at": "2026-07-31T12:00:00.000Z",
    "tier": 2,
    "evidence": [{"claim": "start", "value": "server.py", "file": "server.py", "line": 12, "text": "", "confidence": 1.0}],
    "findings": [
        {"severity": "info", "code": "a", "message": "it has no smoke tests", "where": "smoke_tests", "hint": "add some"},
        {"severity": "error", "code": "b", "message": "this is bad", "where": "", "hint": ""},
    ],
    "changes": [
        {
            "environment": "staging",
            "now": "v1.0.0",
            "then": "v1.1.0",
            "url": "http://127.0.0.1:18100/",
            "commits": ["abc1234 Say hello"],
            "recipe": [{"field": "start", "now": "run old", "then": "run new"}],
            "rollback": "v1.0.0 (release rel_0, checked)",
        }
    ],
    "highlights": [
        {"start": 0, "end": 6, "role": "action", "meaning": "deploy"},
        {"start": 7, "end": 13, "role": "version", "meaning": "tag v1.1.0"},
        {"start": 14, "end": 16, "role": "grammar", "meaning": ""},
        {"start": 17, "end": 23, "role": "service", "meaning": "greeter"},
        {"start": 27, "end": 34, "role": "environment", "meaning": "staging"},
    ],
    "corrections": [{"said": "greter", "read_as": "greeter"}],
    "post_steps": [],
    "constraints": {"strategy": None, "watch_s": None},
    "estimate_s": 75.0,
    "approvals": [],
    "waits": "",
    "missing": "1 of 1 approval; anybody",
    "terms": [],
    "reason": "",
    "run_id": "",
    "content": {
        "repository": "/code/greeter",
        "ref_kind": "tag",
        "ref_name": "v1.1.0",
        "commit": "53bcd07e216f5baeb1c55ca431926b08dc1790ef",
        "environments": ["staging"],
        "watch": {"window_s": 60.0, "error_rate": 0.05, "p95_ms": None, "restarts": 3},
        "recipe": {"rollback": "automatic"},
        "graph": {"tasks": TASKS},
        "grants": GRANTS,
    },
}


def test_a_plan_shows_everything_that_is_approved() -> None:
    text = shown(whole_plan(PLAN))
    for part in (
        "plan_1  deploy greeter v1.1.0 in staging",
        "? pending approval until 2026-07-31 12:00:00 UTC",
        HASH,
        "/code/greeter, tag v1.1.0 = 53bcd07e216f",
        "2: derived from the files",
        "about 1 min 15 s: 3 steps, 1 more in reserve",
        "1 min; rolled back on errors > 5 %, restarts ≥ 3",
        "“greter” was read as “greeter”",
        "v1.0.0 → v1.1.0   http://127.0.0.1:18100/",
        "abc1234 Say hello",
        "way back: v1.0.0 (release rel_0, checked)",
        "server.py:12",
        "$ python3 -m unittest -q",
        "$ echo 'two words'",
        "$ python3 server.py --port {port}",
        "under /data/bundles",
        "any free one",
        '{"KEY": "greeter/key"}',
        "one of these fails: watch-staging",
        "2 min, up to 4 attempts",
        "staging, the way back: only if something goes wrong after the start",
    ):
        assert part in text, part
    assert text.index("this is bad") < text.index("it has no smoke tests")
    assert text.index("\nBuild\n") < text.index("\nstaging\n") < text.index("the way back: only")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_of_a_plan_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, shown(whole_plan(PLAN), width).split("\n"))) <= width


def test_a_summary_has_a_line_for_each_step_and_says_how_to_go_on() -> None:
    text = shown(plan_summary(PLAN), 120)
    assert f"2  start-staging  deploy  {START}" in text
    assert "interlock approve plan_1" in text
    assert "command.run" not in text


def test_a_preview_says_that_nothing_was_stored_and_offers_no_approval() -> None:
    text = shown(plan_summary(PLAN, is_stored=False))
    assert "nothing was stored" in text
    assert "interlock approve" not in text


def test_markup_and_control_sequences_of_strangers_are_shown_as_text() -> None:
    hostile = copy.deepcopy(PLAN)
    hostile["changes"][0]["commits"] = [
        "abc [bold red]x[/] [link=http://e.example]y[/link] :warning: \x1b[2J\x1b]0;owned\x07 \u202etxt"
    ]
    hostile["text"] = "\x1b[31m" + PLAN["text"][5:]
    hostile["content"]["graph"]["tasks"][0]["title"] = "[/nothing] \x9b2J"
    text = shown(whole_plan(clean_data(hostile)), 200)
    assert "abc [bold red]x[/] [link=http://e.example]y[/link] :warning: ␛[2J␛]0;owned␇ �txt" in text
    assert "[/nothing] �2J" in text
    assert "\x1b" not in text
    assert "“greter” was read as" in text, "places in the text stay where they were"


def test_a_dockerfile_is_shown_line_by_line_and_its_line_ends_stay_visible() -> None:
    plan = copy.deepcopy(PLAN)
    plan["content"]["grants"][0]["arguments"]["dockerfile_text"] = {"rule": "exactly", "value": "FROM python\nCOPY . .\n"}
    lines = [line.split() for line in shown(whole_plan(clean_data(plan))).split("\n")]
    assert ["dockerfile_text", "FROM", "python␊"] in lines
    assert ["COPY", ".", ".␊"] in lines


def test_a_plan_that_waits_ends_in_the_commands_that_decide_about_it() -> None:
    text = shown(plan_to_decide(PLAN), 60)
    assert f"interlock approve plan_1 --hash {HASH}" in text
    assert "interlock reject plan_1" in text
    decided = PLAN | {"state": "rejected", "reason": "not now"}
    assert "interlock approve" not in shown(plan_to_decide(decided), 200)


def test_a_list_of_plans_has_ages_and_states() -> None:
    text = shown(listing_of({"items": [PLAN], "next": None}, NOW))
    assert "plan_1" in text
    assert "? pending approval" in text
    assert "1 min" in text
    assert "No plan yet" in shown(listing_of({"items": [], "next": None}, NOW))


def asked(span: tuple[int, int] | None, choices: list[str], reason: str = "ambiguous") -> dict[str, Any]:
    return {
        "text": "Which one?",
        "reason": reason,
        "span": span and list(span),
        "choices": choices,
        "understood": {"service": "shop"},
    }


def test_a_question_marks_what_is_in_question_and_gives_commands_that_answer_it() -> None:
    text = shown(question("deploy shop to prod", asked((15, 19), ["staging", "production"])))
    assert "deploy shop to »prod«" in text
    assert "Which one?" in text
    assert "interlock plan 'deploy shop to staging'" in text


def test_the_answers_to_a_question_keep_the_options_that_were_given() -> None:
    given = ["--env", "staging", "--repo", "/code/my shop", "--preview"]
    text = shown(question("deploy shop", asked((6, 6), ["v1"], "missing"), given), 120)
    assert "interlock plan 'deploy v1 shop' --env staging --repo '/code/my shop' --preview" in text


def test_a_question_about_something_missing_marks_the_place() -> None:
    text = shown(question("deploy shop", asked((6, 6), ["latest"], "missing")))
    assert "deploy »?« shop" in text
    assert "interlock plan 'deploy latest shop'" in text


def test_a_question_about_the_whole_sentence_marks_nothing() -> None:
    text = shown(question("it's", asked(None, ["deploy it's"], "not_understood")))
    assert "»" not in text
    assert "interlock plan 'deploy it'\"'\"'s'" in text


def event(seq: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "type": kind, "at": f"2026-07-30T12:00:{seq:02}.000Z"} | fields


RUN = {"run_id": "run_1", "plan_id": "plan_1", "title": "deploy", "role": "main", "graph": {"tasks": TASKS}}
EVENTS = [
    event(1, "RunSubmitted", run=RUN),
    event(2, "RunStarted"),
    event(3, "TaskStarted", task="test", attempt=1),
    event(4, "TaskRetryScheduled", task="test", error={"message": "busy"}, delay_s=2.0, retry_at=""),
    event(6, "TaskStarted", task="test", attempt=2),
    event(7, "TaskCompleted", task="test", output={}),
    event(8, "TaskStarted", task="start-staging", attempt=1),
    event(9, "TaskFailed", task="start-staging", error={"message": "no port", "hint": "free one"}),
    event(10, "TaskSkipped", task="watch-staging", reason="start-staging failed"),
    event(11, "TaskStarted", task="restore-staging", attempt=1),
    event(12, "TaskReported", task="restore-staging", message="v1.0.0 still runs"),
    event(13, "TaskCompleted", task="restore-staging", output={}),
    event(14, "RunFinished", status="rolled_back", error={"message": "no port"}),
]


def progress_after(count: int) -> Progress:
    progress = Progress()
    for item in EVENTS[:count]:
        progress.apply(item)
    return progress


def test_a_run_shows_states_attempts_notes_and_times() -> None:
    text = shown(RunView(progress_after(len(EVENTS)), NOW, is_last=True))
    assert "✓ completed   test             4 s  attempt 2: python3 -m unittest -q" in text
    assert "✗ failed      start-staging    1 s  failed: no port (free one)" in text
    assert "– skipped     watch-staging         skipped: start-staging failed" in text
    assert "✓ completed   restore-staging  2 s  v1.0.0 still runs" in text
    assert "↶ rolled back  3 of 3 steps  13 s\nno port" in text


def test_a_run_that_failed_half_way_says_what_became_of_what_it_began() -> None:
    undo = task("test-back", "command", "take it back", "write", undoes="test", settled_by="", one_way="")
    left = {"task": "start-staging", "reason": "cannot be undone: sends a message"}
    summary = {"stands": [], "undone": ["test"], "left": [left], "never_begun": ["watch-staging"]}
    ended = event(9, "RunFinished", status="failed", error={"message": "no port"}, summary=summary)
    progress = Progress()
    progress.apply(event(1, "RunSubmitted", run=RUN | {"graph": {"tasks": [*TASKS, undo]}}))
    assert "test-back" not in shown(RunView(progress, NOW))
    progress.apply(ended)
    text = shown(RunView(progress, NOW, is_last=True))
    assert "no port\nundone: test\nnot undone: start-staging (cannot be undone: sends a message)\nnever begun: watch-st" in text
    line = "failed: no port; undone: test; not undone: start-staging (cannot be undone: sends a message); never begun: watch"
    assert line in event_line(ended)


def test_a_task_for_each_item_counts_them() -> None:
    progress = Progress()
    for item in (
        *EVENTS[:2],
        event(3, "TaskExpanded", task="test", items=3),
        event(4, "TaskStarted", task="test[0]", attempt=1),
        event(5, "TaskCompleted", task="test[0]", output={}),
        event(6, "TaskFailed", task="test[1]", error={"message": "no"}),
        event(7, "TaskSkipped", task="elsewhere[1]", reason="why"),
    ):
        progress.apply(item)
    assert "running" in shown(RunView(progress, NOW, is_last=True))
    assert "2 of 3 items" in shown(RunView(progress, NOW, is_last=True))
    assert "is done for each of 3 items" in event_line(event(3, "TaskExpanded", task="test", items=3))


def test_a_step_says_on_what_it_depends() -> None:
    plan = copy.deepcopy(PLAN)
    plan["content"]["graph"]["tasks"] += [
        task("a", "command", "a", "write", condition="outputs.test.x > 1"),
        task("b", "command", "b", "write", each={"items": {"$output": "test.files"}, "max_concurrent": 4, "tolerated": "10%"}),
        task("c", "command", "c", "write", each={"items": [1, 2], "max_concurrent": 0, "tolerated": 0}),
        task("d", "command", "d", "write") | {"when": "any", "needs": ["a", "b"]},
    ]
    text = shown(whole_plan(plan), width=120)
    for said in ("outputs.test.x > 1", "of test.files, 4 at once; 10% may fail", "of 2 items", "whatever is done of: a, b"):
        assert said in text


def test_a_step_says_what_undoes_it_or_that_nothing_does() -> None:
    fields = {"undoes": "test", "settled_by": "watch-staging", "one_way": ""}
    plan = copy.deepcopy(PLAN)
    plan["content"]["graph"]["tasks"] += [
        task("test-back", "command", "take it back", "write", **fields),
        task("tell", "command", "tell everybody", "write", undoes="", settled_by="", one_way="a message cannot be called back"),
    ]
    text = shown(whole_plan(plan), width=120)
    assert "test, if the run fails, unless watch-staging has completed" in text
    assert "a message cannot be called back" in text
    assert "by test-back" in text
    assert "one-way: a message cannot be called back; tell everybody" in shown(plan_summary(plan), width=140)


def test_what_is_in_reserve_appears_only_when_it_is_needed() -> None:
    assert "restore-staging" not in shown(RunView(progress_after(4), NOW))
    assert "restore-staging" in shown(RunView(progress_after(10), NOW))


def test_a_run_longer_than_the_screen_shows_where_it_stands() -> None:
    progress = Progress()
    tasks = [task(f"t{number}", "command", "x", "write") for number in range(50)]
    progress.apply(event(1, "RunSubmitted", run=RUN | {"graph": {"tasks": tasks}}))
    for number in range(30):
        progress.apply(event(2, "TaskCompleted", task=f"t{number}"))
    text = shown(RunView(progress, NOW, "the connection is lost"), height=20)
    assert len(text.strip().split("\n")) <= 20
    assert "t30" in text
    assert "more above" in text
    assert "! the connection is lost" in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (event(3, "RunAdopted", owner="me", epoch=2), "taken over by me"),
        (event(3, "TaskParked", task="a", question="Go on?", options=["yes", "no"], evidence={}), "asks: Go on? (yes | no;"),
        (
            event(3, "IntentRecorded", task="a", tool="process.start", effect="deploy"),
            "is about to start a process (process.start)",
        ),
        (event(3, "ReceiptRecorded", task="a", outcome="done", by="probe", error={}), "effect done (told by probe)"),
        (event(3, "CallRefused", task="a", tool="x", error={"message": "not granted"}), "was refused x: not granted"),
        (event(3, "TaskCancelled", task="a", reason="by request"), "cancelled: by request"),
        (event(3, "SomethingNew"), "SomethingNew"),
    ],
)
def test_every_event_is_one_line_with_number_time_and_words(given: dict[str, Any], words: str) -> None:
    line = event_line(given)
    assert line.startswith("   3  12:00:03.000  ")
    assert words in line
    assert "\n" not in line


def deployed(**observed: Any) -> dict[str, Any]:
    seen = {"health": "healthy", "process": "running", "restarts": 0, "routed": True, "reason": "fine"} | observed
    serving = {"version": "v1", "state": "good", "observed": seen}
    return {"service": "shop", "environment": "dev", "url": "http://127.0.0.1:1", "serving": serving}


def test_status_says_what_is_wrong_and_nothing_more() -> None:
    rows = [deployed(), deployed(health="unhealthy", reason="the process is exited", restarts=2, routed=False)]
    rows.append({"service": "shop", "environment": "prod", "url": "u", "serving": None})
    text = shown(delivery.status({"items": rows}, NOW), 160)
    assert "✓ healthy" in text
    assert "fine" not in text
    assert "✗ unhealthy" in text
    assert "the process is exited, 2 restarts, no traffic leads to it" in text
    assert "nothing" in text


def test_an_incident_shows_observed_beside_threshold() -> None:
    found = {
        "incident_id": "inc_1",
        "acknowledged_by": "user:owner",
        "acknowledged_at": "2026-07-30T12:00:09.000Z",
        "service": "shop",
        "environment": "prod",
        "deployment_id": "dep_1",
        "release_id": "rel_1",
        "version": "v1",
        "severity": "warning",
        "title": "too many errors",
        "evidence": {
            "readings": [{"signal": "error_rate", "observed": 0.08, "threshold": 0.05, "crossed": True, "detail": "3 of 38"}],
            "requests": 38,
        },
        "opened_at": "2026-07-30T12:00:00Z",
        "state": "open",
        "timeline": [["2026-07-30T12:00:00Z", "v1 got traffic"]],
        "resolved_at": "",
    }
    text = shown(incidents.incident(found))
    assert "error_rate   0.08       0.05        ✗ crossed  3 of 38" in text
    assert "2026-07-30 12:00:00 UTC  v1 got traffic" in text
    assert "requests  38" in text
    check = {"name": "errors", "signal": "error_rate", "max_increase": 0.01}
    sides = {"candidate": {"value": 0.5, "samples": 40}, "stable": {"value": 0.01, "samples": 360}}
    comparison = {"check": check, "verdict": "fail", "detail": "20 of 40", **sides}
    text = shown(incidents.incident(found | {"evidence": {"comparisons": [comparison]}}))
    assert "errors   0.5         0.01          ✗ fail  20 of 40" in text
    assert "max_increase" not in text


def test_the_inbox_gives_the_commands_that_settle_an_item() -> None:
    base = {"state": "open", "created_at": "2026-07-30T12:00:00Z", "details": {}, "title": "well?", "options": ["roll back"]}
    items = [
        base | {"item_id": "item_1", "kind": "approval", "subject": "plan:plan_1"},
        base
        | {
            "item_id": "item_2",
            "kind": "proposal",
            "subject": "rollback:plan_1/dev",
            "title": "back?",
            "options": ["roll back"],
        },
    ]
    text = shown(inbox({"items": items}, NOW))
    assert "interlock approve plan_1" in text
    assert "interlock inbox answer item_2 'roll back'" in text


def test_a_broken_record_names_the_place() -> None:
    broken = {"ok": False, "seals": 3, "rows": 9, "head": HASH, "problem": "seal 4 was changed"}
    assert "✗ the record is broken: seal 4 was changed" in shown(verdict(broken))
    whole = shown(verdict(broken | {"ok": True, "problem": ""}))
    assert "✓ the record is whole" in whole
    assert HASH in whole


TERMS = {
    "environment": "production",
    "approvals": 2,
    "approvers": ["maria", "jonas"],
    "not_requester": True,
    "given": ["maria"],
    "windows": ["Mon-Fri 09:00-16:00 Europe/Berlin"],
    "busy": "wait",
    "drift": "ask",
    "closed": "frozen by owner: end of year",
    "opens_at": "2026-12-28T08:00:00.000Z",
}


def test_a_plan_shows_the_rules_that_apply_before_it_is_approved() -> None:
    text = shown(whole_plan(PLAN | {"terms": [TERMS], "missing": "1 of 2 approvals; jonas"}), 160)
    assert "missing  1 of 2 approvals; jonas" in text
    assert "production  2 approvals by maria or jonas, not by whoever asked, given by maria" in text
    assert "! frozen by owner: end of year; it opens at 2026-12-28 08:00:00 UTC" in text
    assert "start: run old → run new" in text


def test_an_approval_says_what_follows() -> None:
    approval = {"by": "user:owner", "content_hash": HASH, "override": "the shop is down"}
    base = PLAN | {"approvals": [approval], "findings": []}
    assert "needs more approvals; yours counts" in shown(approved(base))
    done = base | {"state": "approved", "missing": "", "waits": "turn", "reason": "waits for plan_2 (x) to end"}
    text = shown(approved(done))
    assert "is approved; it starts by itself" in text
    assert "waits for plan_2 (x) to end" in text
    assert "overriding windows and freezes: the shop is down" in text
