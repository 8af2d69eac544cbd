"""What Podman lacks beside Docker, in its own words (4.3), and what is made of it."""

from typing import Any

import pytest

from interlock.adapters.containers.connection import Refusal
from interlock.adapters.containers.images import _digest, _familiar  # pyright: ignore[reportPrivateUsage]
from interlock.adapters.containers.observation import observe
from interlock.adapters.containers.shortfalls import Shortfalls

NO_INIT = "container create: container-init binary not found on the host: stat /usr/libexec/podman/catatonit: no such file"
NO_OWNER = 'container create: unknown mount option "uid=65532": invalid mount option'
NO_STATE = "unknown container state: restarting: invalid argument"
TAKEN = "cannot listen on the TCP port: listen tcp4 127.0.0.2:42587: bind: address already in use"
MISSING = 'runc create failed: exec: "/x": stat /x: no such file or directory: OCI runtime attempted to invoke a command'
NEVER = "0001-01-01T00:00:00Z"


def inspected(
    status: str, code: int = 0, *, kind: str = "service", restarts: int = 0, began: str = "2026-01-01T00:00:00Z"
) -> Any:
    policy = {"Name": "on-failure" if kind == "service" else "no", "MaximumRetryCount": 2}
    return {
        "Id": "c" * 64,
        "State": {"Status": status, "ExitCode": code, "Error": "", "StartedAt": began, "FinishedAt": began, "OOMKilled": False},
        "RestartCount": restarts,
        "Config": {"Labels": {"interlock.kind": kind}},
        "HostConfig": {"RestartPolicy": policy, "CpuShares": 0},
    }


@pytest.mark.parametrize("words", [NO_INIT, NO_OWNER, NO_STATE])
def test_what_is_lacking_is_done_without_and_asked_for_once(words: str) -> None:
    lacks = Shortfalls()
    assert (lacks.has_init, lacks.owns_tmp, lacks.known(["running", "restarting"])) == (True, True, ["running", "restarting"])
    assert lacks.shows(Refusal(500, words))
    assert not lacks.shows(Refusal(500, words)), "asked again for ever"
    expected = (words != NO_INIT, words != NO_OWNER, ["running"] if words == NO_STATE else ["running", "restarting"])
    assert (lacks.has_init, lacks.owns_tmp, lacks.known(["running", "restarting"])) == expected


def test_another_refusal_tells_of_no_lack() -> None:
    assert not Shortfalls().shows(Refusal(500, "no space left on device"))


@pytest.mark.parametrize(("words", "reason"), [(TAKEN, "port_taken"), (MISSING, "not_executable")])
def test_why_a_container_did_not_start_is_kept_until_it_is_gone(words: str, reason: str) -> None:
    lacks = Shortfalls()
    assert lacks.did_not_start("name", Refusal(500, words))
    status = observe(lacks.completed("name", inspected("created", began=NEVER)))
    assert (status.state, status.reason) == ("exited", reason)
    assert words in status.message
    lacks.forget("name")
    assert observe(lacks.completed("name", inspected("created", began=NEVER))).state == "absent"


def test_what_says_nothing_of_the_container_is_not_kept() -> None:
    assert not Shortfalls().did_not_start("name", Refusal(500, "runc: permission to join cgroup lost"))


def test_an_end_that_was_asked_for_is_told_from_one_that_was_not() -> None:
    lacks = Shortfalls()
    lacks.is_stopped("name")
    stopped = observe(lacks.completed("name", inspected("exited", 143)))
    assert (stopped.state, stopped.reason, stopped.exit_code) == ("exited", "stopped", -15)
    assert observe(lacks.completed("other", inspected("exited", 137))).reason != "stopped"


@pytest.mark.parametrize(
    ("kind", "code", "restarts", "state"),
    [("service", 3, 0, "starting"), ("service", 3, 2, "exited"), ("job", 3, 0, "exited"), ("job", 0, 0, "exited")],
)
def test_an_end_that_was_not_acted_on_yet_is_no_end_where_another_start_is_due(
    kind: str, code: int, restarts: int, state: str
) -> None:
    found = inspected("stopped", code, kind=kind, restarts=restarts)
    assert observe(Shortfalls().completed("name", found)).state == state


def test_no_end_is_before_its_start() -> None:
    """Of what ends at once an engine may note the start after the end."""
    found = inspected("exited", kind="job")
    found["State"] |= {"StartedAt": "2026-01-01T00:00:00.012345678Z", "FinishedAt": "2026-01-01T00:00:00.01Z"}
    ended = observe(found)
    assert (ended.started_at, ended.ended_at) == ("2026-01-01T00:00:00.012Z", "2026-01-01T00:00:00.012Z")


def test_a_digest_is_read_from_words_where_there_is_nothing_else() -> None:
    digest = "sha256:" + "9" * 64
    assert _digest({"status": f"1: digest: {digest} size: 343"}) == digest
    assert _digest({"aux": {"Tag": "1", "Digest": digest}}) == digest
    assert _digest({"status": "Preparing"}) == ""


def test_names_are_told_as_they_were_given() -> None:
    names = ("docker.io/library/python:3", "docker.io/interlock/shop:1", "127.0.0.1:5000/interlock/shop:1")
    assert [_familiar(name) for name in names] == ["python:3", "interlock/shop:1", "127.0.0.1:5000/interlock/shop:1"]
