"""The pure parts of notifications: targets, patterns, the schedule, signatures, words."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.notify.addresses import is_public
from interlock.core.errors import Invalid
from interlock.notifications import signing
from interlock.notifications.model import Channel, Schedule, check_name, check_patterns, check_target, matches
from interlock.notifications.wording import mail

INSIDE = """127.0.0.1 10.1.2.3 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 ::1 fe80::1%eth0 fd00::1
::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ff02::1 ::""".split()  # noqa: SIM905 - read more easily
KNOWN = ("incident.opened", "incident.resolved", "plan.changed")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/hook", "https://hooks.example.org/a?b=c", "http://[::1]/"])
def test_a_webhook_is_any_http_url(url: str) -> None:
    assert check_target("webhook", url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "http://me:secret@example.org/",
        "http://example.org/a b",
        "http://example.org/\r\nX: 1",
        "http://[::1",
        "http://example.org:0/",
        "http://a:99999/",
    ],
)
def test_other_urls_and_those_with_a_password_are_refused(url: str) -> None:
    with pytest.raises(Invalid):
        check_target("webhook", url)


@pytest.mark.parametrize("address", ["a", "a@b@c", "a@b\nBcc: x@y", "a b@c", "<a@b>", "a@b, c@d", "a@", "x" * 300 + "@y"])
def test_an_address_is_one_plain_address(address: str) -> None:
    assert check_target("email", "on-call+night@example.org")
    with pytest.raises(Invalid):
        check_target("email", address)


def test_a_pattern_that_matches_nothing_is_refused_with_the_names_that_there_are() -> None:
    assert check_patterns(["incident.*", " plan.changed ", "plan.changed"], KNOWN) == ("incident.*", "plan.changed")
    with pytest.raises(Invalid, match=r"no event is called inbox.asked|no event is called 'inbox.asked'") as refused:
        check_patterns(["inbox.asked"], KNOWN)
    assert "incident.opened" in refused.value.hint
    for wrong in ([], ["[a-z]*"], ["INCIDENT.*"]):
        with pytest.raises(Invalid):
            check_patterns(wrong, KNOWN)
    assert matches(("incident.*",), "incident.opened")
    assert not matches(("incident.*",), "plan.changed")


@pytest.mark.parametrize("name", ["", "Ops", "a b", "-a", "a" * 41, "a/b"])
def test_a_channel_has_a_plain_name(name: str) -> None:
    assert check_name("ops-2") == "ops-2"
    with pytest.raises(Invalid):
        check_name(name)


def test_what_may_be_a_secret_in_a_url_is_not_shown() -> None:
    fields = {"channel_id": "chn_1", "name": "ops", "events": ("*",), "state": "active", "created_at": "", "created_by": ""}
    for path, shown in (("/services/T0/B0/geheim", "/…"), ("?token=geheim", "/…"), ("/hook?token=geheim", "/…"), ("/", "")):
        channel = Channel(kind="webhook", target=f"https://example.org:8443{path}", **fields)  # type: ignore[arg-type]
        assert channel.shown_target == f"https://example.org:8443{shown}"


def test_the_schedule_is_at_once_then_half_a_minute_to_a_minute_then_minutes() -> None:
    schedule = Schedule()
    bounds = [(schedule.delay_s(attempts, 0.0), schedule.delay_s(attempts, 1.0)) for attempts in range(1, 4)]
    assert bounds == [(0.0, 0.0), (30.0, 60.0), (300.0, 600.0)]
    assert schedule.delay_s(6, 0.5) is None


def test_a_receiver_that_asks_for_time_gets_it_within_bounds() -> None:
    schedule = Schedule(max_retry_after_s=100.0)
    assert schedule.delay_s(2, 0.0, 50.0) == 50.0
    assert schedule.delay_s(2, 0.0, 1e9) == 100.0
    assert schedule.delay_s(2, 0.0, 1.0) == 30.0, "never sooner than by itself"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example with which the scheme's own libraries are tested.
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    assert signing.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_two_secrets_give_two_signatures() -> None:
    first, second = signing.new_secret(), signing.new_secret()
    headers = signing.headers([first, second], "dlv_1", 1700000000, b"{}")
    assert headers["webhook-signature"].split(" ") == [
        signing.signature(secret, "dlv_1", 1700000000, b"{}") for secret in (first, second)
    ]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_inside_however_they_are_written(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


def test_a_mail_says_what_happened_and_what_comes_next() -> None:
    data = {"incident_id": "inc_1", "severity": "critical", "title": "it burns", "service": "api", "environment": "production"}
    subject, text = mail({"type": "interlock.incident.opened", "time": "2026-01-01T00:00:00Z", "id": "evt_1", "data": data})
    assert subject == "[interlock] critical incident: it burns"
    assert "Incident inc_1 was opened for api in production: it burns" in text
    assert "  interlock incidents ack inc_1\n" in text


texts = st.text(max_size=600)


@given(st.sampled_from(["incident.opened", "inbox.opened", "plan.changed", "run.paused", "run.finished", "x.y"]), texts, texts)
def test_no_event_can_add_a_header_or_a_line(kind: str, text: str, other: str) -> None:
    names = (
        "title",
        "kind",
        "reason",
        "service",
        "state",
        "plan_id",
        "incident_id",
        "severity",
        "environment",
        "run_id",
        "status",
    )
    event = {"type": f"interlock.{kind}", "subject": other, "data": dict.fromkeys(names, text) | {"error": {"message": other}}}
    subject, body = mail(json.loads(json.dumps(event)))
    assert subject.isprintable()
    assert len(subject) <= 180
    headings = {"What happened", "What to do next", "Details", "-- ", ""}
    for line in body.split("\n"):
        assert line.isprintable()
        assert line in headings or line.startswith(("  ", "Sent by Interlock"))


def test_the_receiver_of_the_documentation_verifies() -> None:
    page = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
    found = re.search(r"^```python receiver\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found
    namespace: dict[str, Any] = {"__name__": "receiver"}
    exec(found[1], namespace)  # noqa: S102 - the documentation of this very repository
    verify, secret, other = namespace["verify"], signing.new_secret(), signing.new_secret()
    headers = signing.headers([secret, other], "dlv_1", 1_700_000_000, b"{}")
    assert verify(headers, b"{}", [secret], now=1_700_000_100)
    assert verify(headers, b"{}", [signing.new_secret(), other], now=1_700_000_100)
    assert not verify(headers, b"{ }", [secret], now=1_700_000_100)
    assert not verify(headers | {"webhook-id": "dlv_2"}, b"{}", [secret], now=1_700_000_100)
    assert not verify(headers, b"{}", [signing.new_secret()], now=1_700_000_100)
    assert not verify(headers, b"{}", [secret], now=1_700_000_301)
