"""The command line against a server that answers, refuses, dies and comes back, over real sockets."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from harness.pretended_plane import Answer, ControlPlane
from interlock.faces.cli.api import Api
from interlock.faces.cli.app import build_app
from interlock.faces.cli.context import CliContext
from interlock.faces.cli.failures import Refused, Unreachable
from interlock.faces.cli.follow import follow, follow_log

CONTENT = b'{"environments":[],"grants":[],"graph":{"tasks":[]}}'
HASH = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
RUN = {"run_id": "run_1", "plan_id": "plan_1", "role": "main", "title": "deploy", "graph": {"tasks": []}}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    made = ControlPlane(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def context(tmp_path: Path) -> CliContext:
    return CliContext(home=tmp_path, url=None, token=None, serve=lambda _host, _port: 0, demo=lambda **_: 0)


def run(context: CliContext, *arguments: str) -> Result:
    return CliRunner().invoke(build_app(context), list(arguments))


def sse(seq: int, kind: str, **fields: Any) -> str:
    data = {"seq": seq, "type": kind, "at": "2026-07-30T12:00:00.000Z"} | fields
    return f"id: {seq}\nevent: status_change\ndata: {json.dumps(data)}\n\n"


def story() -> list[str]:
    """Six events of a run that completes."""
    return [
        sse(1, "RunSubmitted", run=RUN),
        sse(2, "RunStarted"),
        sse(3, "TaskStarted", task="a", attempt=1),
        sse(4, "TaskReported", task="a", message="half done"),
        sse(5, "TaskCompleted", task="a", output={}),
        sse(6, "RunFinished", status="completed", error={}),
    ]


# --- answers and refusals ---


def test_a_request_carries_the_token_and_prints_the_document_alone(plane: ControlPlane, context: CliContext) -> None:
    plane.answers["GET", "/plans"] = 200, {"items": [], "next": None}
    result = run(context, "plans", "--json", "--limit", "7")
    assert json.loads(result.stdout) == {"items": [], "next": None}
    assert (result.exit_code, result.stderr) == (0, "")
    assert plane.last("/api/v1/plans")["headers"]["Authorization"] == "Bearer secret"
    assert plane.last("/api/v1/plans")["query"] == {"limit": "7"}


def test_json_cannot_act_on_a_terminal(plane: ControlPlane, context: CliContext) -> None:
    plane.answers["GET", "/services"] = 200, {"items": [{"name": "\x1b[2J\x9b2J\u202e"}]}
    assert run(context, "service", "list", "--json").stdout.isascii()
    assert "\x1b" not in run(context, "service", "list", "--json").stdout


def test_a_refusal_says_what_where_and_what_to_do(plane: ControlPlane, context: CliContext) -> None:
    problem = {"title": "it is \x1b[31mbusy", "status": 409, "code": "busy", "where": "plan_2", "hint": "wait"}
    plane.answers["POST", "/plans/plan_1/reject"] = 409, problem
    result = run(context, "reject", "plan_1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: it is ␛[31mbusy\n  where: plan_2\n  hint:  wait\n"
    as_json = run(context, "reject", "plan_1", "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout) == problem


def test_every_problem_of_a_module_file_is_named(plane: ControlPlane, context: CliContext) -> None:
    problems = [{"file": "m.yaml", "line": line, "column": 1, "message": "bad", "hint": "mend it"} for line in (3, 4)]
    problem = {"title": "two problems", "status": 422, "code": "module_file", "details": {"problems": problems}}
    plane.answers["POST", "/commands/parse"] = 422, problem
    assert "m.yaml:4:1: bad (mend it)" in run(context, "plan", "deploy x").stderr


def test_without_a_control_plane_the_exit_code_is_3(plane: ControlPlane, context: CliContext) -> None:
    plane.stop()
    result = run(context, "runs")
    assert result.exit_code == 3
    assert "no control plane answers at http://127.0.0.1:" in result.stderr
    assert "interlock serve" in result.stderr
    as_json = run(context, "runs", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["code"]) == (3, "unreachable")
    plane.start()


def test_the_token_of_a_data_folder_is_not_for_who_took_the_address_over(plane: ControlPlane, context: CliContext) -> None:
    plane.answers["GET", "/runs"] = 200, {"items": []}
    assert run(context, "runs").exit_code == 0
    plane.release()
    asked = len(plane.asked)
    assert run(context, "runs").exit_code == 3
    assert len(plane.asked) == asked


@pytest.mark.parametrize("words", ["bogus", "runs --bogus", "show", "services add"])
def test_wrong_usage_is_told_as_json_too(context: CliContext, words: str) -> None:
    result = run(context, *words.split(), "--json")
    assert (result.exit_code, json.loads(result.stdout)["code"]) == (2, "usage")
    assert "Usage:" in run(context, *words.split()).stderr or words == "bogus"


def test_something_else_at_the_address_is_no_control_plane(plane: ControlPlane, context: CliContext) -> None:
    plane.answers["GET", "/runs"] = 200, b"<html>hello</html>"
    assert run(context, "runs").exit_code == 3
    plane.answers["GET", "/runs"] = 502, b"bad gateway"
    assert "502" in run(context, "runs").stderr


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1:1", "http://[::1"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "owner.token").write_text("secret")
    context = CliContext(home=tmp_path, url=url, token=None, serve=lambda _host, _port: 0, demo=lambda **_: 0)
    result = run(context, "runs")
    assert result.exit_code == 1
    assert "INTERLOCK_URL" in result.stderr


def test_the_token_of_the_environment_wins(plane: ControlPlane, tmp_path: Path) -> None:
    plane.answers["GET", "/runs"] = 200, {"items": []}
    context = CliContext(home=tmp_path, url=None, token="other", serve=lambda _host, _port: 0, demo=lambda **_: 0)
    run(context, "runs")
    assert plane.last("/api/v1/runs")["headers"]["Authorization"] == "Bearer other"


def test_a_missing_token_is_explained(plane: ControlPlane, context: CliContext) -> None:
    plane.answers["GET", "/health"] = 200, {"status": "ok"}
    (plane.home / "owner.token").unlink()
    result = run(context, "runs")
    assert result.exit_code == 1
    assert "INTERLOCK_TOKEN" in result.stderr
    assert str(plane.home / "owner.token") in result.stderr


def test_names_cannot_leave_their_place_in_the_address(plane: ControlPlane, context: CliContext) -> None:
    run(context, "show", "../runs?x=1", "--content")
    assert plane.asked[-1]["path"] == "/api/v1/plans/..%2Fruns%3Fx%3D1/content"


# --- words ---


def test_a_question_has_exit_code_2(plane: ControlPlane, context: CliContext) -> None:
    question = {"text": "Which one?", "reason": "missing", "span": [6, 6], "choices": ["shop"], "understood": {}}
    parsed = {"kind": "question", "plan": None, "question": question, "status": None}
    plane.answers["POST", "/commands/parse"] = 200, parsed
    result = run(context, "plan", "deploy")
    assert result.exit_code == 2
    assert "interlock plan 'deploy shop'" in result.stdout
    as_json = run(context, "plan", "deploy", "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (2, parsed)


def test_a_status_is_shown_as_a_table(plane: ControlPlane, context: CliContext) -> None:
    row = {"service": "shop", "environment": "dev", "url": "http://127.0.0.1:1", "serving": None}
    plane.answers["POST", "/commands/parse"] = 200, {"kind": "status", "plan": None, "question": None, "status": [row]}
    result = run(context, "plan", "what runs where?", "--env", "dev", "--repo", "shop.git")
    assert "shop" in result.stdout
    body = plane.last("/api/v1/commands/parse")["body"]
    repository = str(Path("shop.git").absolute())
    assert body == {"text": "what runs where?", "environment": "dev", "repository": repository, "preview": False}


@pytest.mark.parametrize("url", ["https://git.example/a.git", "git@git.example:a/b.git", "ssh://git.example/a"])
def test_the_url_of_a_repository_is_passed_on_as_it_is(plane: ControlPlane, context: CliContext, url: str) -> None:
    run(context, "service", "add", "shop", "--repo", url)
    assert plane.last("/api/v1/services")["body"] == {"name": "shop", "repository": url}


# --- approval ---

APPROVED = {"state": "approved", "findings": [], "missing": "", "waits": "", "reason": ""}


def approvable(plane: ControlPlane, content_hash: str = HASH) -> None:
    plan = {"plan_id": "plan_1", "content_hash": content_hash, "state": "pending_approval"}
    approval = {"by": "user:owner", "content_hash": content_hash, "override": ""}
    plane.answers["GET", "/plans/plan_1"] = 200, plan
    plane.answers["GET", "/plans/plan_1/content"] = 200, CONTENT
    plane.answers["POST", "/plans/plan_1/approve"] = 200, plan | APPROVED | {"approvals": [approval]}


def sent_hash(plane: ControlPlane) -> str:
    return plane.last("/api/v1/plans/plan_1/approve")["body"]["content_hash"]


def test_content_is_printed_byte_for_byte_and_can_be_approved_from_a_file(
    plane: ControlPlane, context: CliContext, tmp_path: Path
) -> None:
    approvable(plane)
    shown = run(context, "show", "plan_1", "--content")
    assert shown.stdout_bytes == CONTENT
    (tmp_path / "kept.json").write_bytes(shown.stdout_bytes)
    assert run(context, "approve", "plan_1", "--file", str(tmp_path / "kept.json")).exit_code == 0
    assert sent_hash(plane) == HASH


def test_yes_approves_the_hash_of_the_content_and_a_hash_is_passed_on(plane: ControlPlane, context: CliContext) -> None:
    approvable(plane)
    assert run(context, "approve", "plan_1", "--yes").exit_code == 0
    assert sent_hash(plane) == HASH
    assert run(context, "approve", "plan_1", "--hash", "sha256:other").exit_code == 0
    assert sent_hash(plane) == "sha256:other"


@pytest.mark.parametrize("command", ["show", "approve"])
def test_a_content_that_is_not_what_the_plan_says_is_refused_here(
    plane: ControlPlane, context: CliContext, command: str
) -> None:
    approvable(plane, "sha256:" + "0" * 64)
    result = run(context, command, "plan_1", *(["--yes"] if command == "approve" else []))
    assert result.exit_code == 1
    assert "was altered" in result.stderr
    assert not [asked for asked in plane.asked if asked["method"] == "POST"]


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_nothing_is_approved_where_nobody_can_be_asked(plane: ControlPlane, context: CliContext, arguments: list[str]) -> None:
    approvable(plane)
    result = run(context, "approve", "plan_1", *arguments)
    assert result.exit_code == 2
    assert f"interlock approve plan_1 --hash {HASH}" in result.output
    assert not [asked for asked in plane.asked if asked["method"] == "POST"]


def test_ways_of_deciding_exclude_each_other(plane: ControlPlane, context: CliContext) -> None:
    assert run(context, "approve", "plan_1", "--yes", "--hash", HASH).exit_code == 1
    assert not plane.asked


def test_approval_with_watch_waits_for_the_run_and_ends_as_it_ends(plane: ControlPlane, context: CliContext) -> None:
    approvable(plane)
    listings = iter([[], [], [{"run_id": "run_1", "status": "running"}]])
    plane.answers["GET", "/plans/plan_1"] = 200, plane.answers["GET", "/plans/plan_1"][1] | {"state": "approved"}  # type: ignore[index]
    plane.answers["GET", "/runs"] = lambda _: (200, {"items": next(listings)})
    plane.streams = [story()]
    result = run(context, "approve", "plan_1", "--yes", "--watch")
    assert result.exit_code == 0, result.output
    assert "half done" in result.stdout


def test_an_approved_plan_that_is_not_run_says_why(plane: ControlPlane, context: CliContext) -> None:
    approvable(plane)
    plane.answers["GET", "/runs"] = 200, {"items": []}
    plane.answers["GET", "/plans/plan_1"] = 200, {"plan_id": "plan_1", "state": "failed", "reason": "not run: forged"}
    result = run(context, "watch", "plan_1")
    assert result.exit_code == 1
    assert "not run: forged" in result.stderr


# --- following a run ---


def numbers(result: Result) -> list[int]:
    return [int(line.split()[0]) for line in result.stdout.splitlines()]


def test_watch_shows_every_event_once_and_ends_with_the_run(plane: ControlPlane, context: CliContext) -> None:
    plane.streams = [[": ping\n\n", *story()]]
    result = run(context, "watch", "run_1")
    assert result.exit_code == 0
    assert numbers(result) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("status", ["failed", "cancelled", "rolled_back"])
def test_a_run_that_did_not_complete_has_exit_code_1(plane: ControlPlane, context: CliContext, status: str) -> None:
    plane.streams = [[*story()[:5], sse(6, "RunFinished", status=status, error={"message": "no"})]]
    assert run(context, "watch", "run_1").exit_code == 1


def test_nothing_is_lost_or_doubled_when_the_server_dies_and_comes_back_elsewhere(
    plane: ControlPlane, context: CliContext
) -> None:
    events = story()

    def come_back() -> None:
        plane.stop()
        time.sleep(0.3)
        plane.start()

    # Cut in the middle of the fourth event; what comes after the restart repeats two that were seen.
    plane.streams = [[*events[:3], events[3][:40]], events[1:]]
    plane.on_cut = lambda: threading.Thread(target=come_back).start()
    result = run(context, "watch", "run_1")
    assert result.exit_code == 0, result.output
    assert numbers(result) == [1, 2, 3, 4, 5, 6]
    assert result.stderr.count("is lost; trying again") == 1
    assert "the connection is back" in result.stderr
    assert plane.last("/api/v1/runs/run_1/stream")["query"] == {"after": "3"}
    assert plane.last("/api/v1/runs/run_1/stream")["headers"]["Last-Event-ID"] == "3"


def test_a_stream_that_ends_without_the_last_event_of_a_run_that_is_over_ends_too(
    plane: ControlPlane, context: CliContext
) -> None:
    plane.answers["GET", "/runs/run_1"] = 200, {"status": "completed", "seq": 3}
    plane.streams = [story()[:3]]
    with Api(context) as api:
        assert [event["seq"] for event in follow(api, "run_1", lambda _: None)] == [1, 2, 3]


ENGINE_DOWN: Answer = (503, {"title": "the container engine cannot be used now", "status": 503, "code": "engine_down"})
LOG = ("services", "api", "environments", "staging", "logs", "stream")


def test_a_log_that_cannot_be_read_for_now_is_not_taken_for_a_control_plane_that_is_gone(
    plane: ControlPlane, context: CliContext
) -> None:
    told: list[str] = []
    first = {"type": "deployment", "cursor": "a:0", "deployment_id": "dep_1", "version": "v1", "previous": ""}
    last = {"type": "end", "cursor": "a:9", "deployment_id": "dep_1", "message": "it was stopped"}
    plane.streams = [[f"data: {json.dumps(first)}\n\n"], ENGINE_DOWN, [f"data: {json.dumps(last)}\n\n"]]
    with Api(context) as api:
        assert [event["type"] for event in follow_log(api, LOG, {}, told.append)] == ["deployment", "end"]
    assert any(line.startswith("the container engine cannot be used now; trying again") for line in told)
    plane.streams = [[f"data: {json.dumps(first)}\n\n"], *[ENGINE_DOWN] * 20]
    with Api(context) as api, pytest.raises(Refused) as refusal:
        list(follow_log(api, LOG, {}, told.append, patience_s=0.5))
    assert refusal.value.code == "engine_down"


def test_a_log_that_cannot_be_read_when_it_is_asked_for_is_a_refusal(plane: ControlPlane, context: CliContext) -> None:
    plane.streams = [ENGINE_DOWN]
    result = run(context, "logs", "api", "--env", "staging", "--follow")
    assert result.exit_code == 1
    assert "the container engine cannot be used now" in result.stderr
    assert "control plane" not in result.stderr


def test_patience_has_an_end(plane: ControlPlane, context: CliContext) -> None:
    told: list[str] = []
    plane.stop()
    with Api(context) as api, pytest.raises(Unreachable, match=r"has answered at .* for 0.5 s") as failed:
        list(follow(api, "run_1", told.append, patience_s=0.5))
    assert "interlock watch run_1" in failed.value.hint
    assert told
    plane.start()


def test_a_run_that_does_not_exist_is_not_waited_for(plane: ControlPlane, context: CliContext) -> None:
    plane.answers["GET", "/runs"] = 200, {"items": []}
    assert run(context, "watch", "plan_9").exit_code == 1


def test_watch_with_json_prints_the_run_alone(plane: ControlPlane, context: CliContext) -> None:
    plane.streams = [story()]
    plane.answers["GET", "/runs/run_1"] = 200, {"run_id": "run_1", "status": "completed"}
    result = run(context, "watch", "run_1", "--json")
    assert json.loads(result.stdout) == {"run_id": "run_1", "status": "completed"}


# --- the record ---


def test_an_export_replaces_the_file_only_when_it_is_complete(plane: ControlPlane, context: CliContext, tmp_path: Path) -> None:
    kept = tmp_path / "record.jsonl"
    kept.write_text("old")
    assert run(context, "audit", "export", str(kept)).exit_code == 1
    assert kept.read_text() == "old"
    plane.answers["GET", "/audit/export"] = 200, b'{"kind":"header"}\n'
    assert run(context, "audit", "export", str(kept)).exit_code == 0
    assert kept.read_bytes() == b'{"kind":"header"}\n'
    assert not list(tmp_path.glob("*.part"))


def test_a_broken_record_has_exit_code_1(plane: ControlPlane, context: CliContext, tmp_path: Path) -> None:
    broken = {"ok": False, "seals": 1, "rows": 2, "head": "sha256:1", "problem": "seal 2 was changed"}
    plane.answers["GET", "/audit/verify"] = 200, broken
    result = run(context, "audit", "verify", "--head", "sha256:2")
    assert result.exit_code == 1
    assert "seal 2 was changed" in result.stdout
    assert plane.last("/api/v1/audit/verify")["query"] == {"head": "sha256:2"}
    (tmp_path / "record.jsonl").write_text("not a record\n")
    assert run(context, "audit", "verify", "--file", str(tmp_path / "record.jsonl")).exit_code == 1
    assert run(context, "audit", "verify", "--key", "ab" * 32).exit_code == 1


def told(kind: str, cursor: str, **fields: Any) -> str:
    data = {"type": kind, "cursor": cursor, "instance": "", "key": "k", "previous": "", "deployment_id": "dep_1"} | fields
    return f"id: {cursor}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


def test_a_followed_log_goes_on_behind_what_was_seen(plane: ControlPlane, context: CliContext) -> None:
    begin = told("deployment", "k:0", version="v1")
    gap, more = told("gap", "k:90", lost_bytes=81), told("log", "k:94", text="more")
    end = told("end", "k:94", message="it is exited")
    plane.streams = [[begin, told("log", "k:9", text="\x1b[2Jhal")], [begin, gap, more, end]]
    result = run(context, "logs", "greeter", "--env", "staging", "--follow", "--tail", "7")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "␛[2Jhal\nmore\n"
    assert [line for line in result.stderr.splitlines() if "connection" not in line] == [
        "--- dep_1 (v1)",
        "--- 81 bytes are missing here: they were rotated away before they were read",
        "--- dep_1 has ended: it is exited",
    ]
    again = plane.last("/api/v1/services/greeter/environments/staging/logs/stream")
    assert (again["headers"]["Last-Event-ID"], again["query"]) == ("k:9", {"tail": "7"})


def test_lines_of_several_instances_bear_their_names(plane: ControlPlane, context: CliContext) -> None:
    texts = [("a", "one\ntw"), ("a", "o\nthr"), ("b", "first\n"), ("a", "ee\n")]
    log = [told("log", f"k:{number}", instance=name, text=text) for number, (name, text) in enumerate(texts)]
    plane.streams = [[*log, told("end", "k:9", message="gone")]]
    result = run(context, "logs", "greeter", "--env", "staging", "-f")
    # A line that another one interrupted goes on behind its name.
    assert result.stdout == "a | one\na | two\na | thr\nb | first\na | ee\n"
