"""What happens to a service reaches a program and a person outside, over the real control plane."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from harness.people import people
from harness.plane import MakePlane, Plane, until
from harness.receivers import HookReceiver, MailServer
from harness.sample import Sample
from harness.server import Server
from interlock.notifications import signing
from interlock.settings import Settings

CHANNELS = "/notifications/channels"


async def add(plane: Any, name: str, kind: str, target: str, *events: str, status: int = 201) -> dict[str, Any]:
    body = {"name": name, "kind": kind, "target": target, "events": list(events)}
    return await plane.post(CHANNELS, body, status)


@pytest_asyncio.fixture(loop_scope="module")
async def receiver() -> AsyncIterator[HookReceiver]:
    async with HookReceiver() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def mails(tmp_path: Path) -> AsyncIterator[MailServer]:
    found = MailServer(tmp_path / "mails", password="geheim")
    try:
        await found.ready()
        yield found
    finally:
        found.end()


@pytest.mark.asyncio(loop_scope="module")
class TestNotifications:
    async def test_an_incident_reaches_a_webhook_and_a_mailbox(
        self, make_plane: MakePlane, sample: Sample, receiver: HookReceiver, mails: MailServer
    ) -> None:
        mail_server = {"smtp_host": "127.0.0.1", "smtp_port": mails.port, "smtp_user": "interlock"}
        secret = {"INTERLOCK_SECRET_MAIL_SERVER": "geheim"}
        plane = await make_plane(**mail_server, smtp_password_secret="mail/server", environ=secret)
        hook = await add(plane, "ops", "webhook", receiver.url, "incident.*", "run.finished")
        await add(plane, "mail", "email", "oncall@example.org", "incident.opened")
        sample.release("v1.0.0")
        sample.release("v1.1.0")
        await plane.add(sample)
        await plane.deploy(sample, "v1.0.0")
        await plane.deploy(sample, "v1.1.0")
        await plane.behave(sample, unhealthy=True)

        async def arrived() -> Any:
            kinds = [item.event["type"] for item in receiver.taken]
            return kinds if "interlock.incident.resolved" in kinds and mails.mails() else None

        kinds = await until(arrived, "the end of the incident arrives")
        assert kinds.count("interlock.incident.opened") == 1
        assert "interlock.run.finished" in kinds, "what is in the journal is told too"
        opened = next(item for item in receiver.taken if item.event["type"] == "interlock.incident.opened")
        assert opened.event["specversion"] == "1.0"
        assert opened.event["data"]["service"] == sample.name
        at_s = int(opened.headers["webhook-timestamp"])
        expected = signing.signature(hook["secret"], opened.message_id, at_s, opened.body)
        assert opened.headers["webhook-signature"] == expected
        [mail] = mails.mails()
        assert mail["To"] == "oncall@example.org"
        assert f"interlock incidents show {opened.event['data']['incident_id']}" in mail.get_content()
        listed = await plane.get(CHANNELS)
        assert "secret" not in json.dumps(listed)

        async def accounted() -> bool:
            return {item["state"] for item in (await plane.get("/notifications/deliveries"))["items"]} == {"delivered"}

        await until(accounted, "everything is accounted for")

    async def test_a_secret_is_not_remembered_with_the_answer(self, plane: Plane, receiver: HookReceiver) -> None:
        body = {"name": "keyed", "kind": "webhook", "target": receiver.url, "events": ["plan.*"]}
        added = await plane.post(CHANNELS, body, 201, headers={"Idempotency-Key": "once"})
        assert (await plane.post(CHANNELS, body, 409, headers={"Idempotency-Key": "once"}))["code"] == "channel_exists"
        for file in (plane.home / "tenants").iterdir():
            assert added["secret"].removeprefix("whsec_").encode() not in file.read_bytes(), file.name
        await plane.call("DELETE", f"{CHANNELS}/keyed")

    async def test_what_is_wrong_is_refused_with_a_hint(self, plane: Plane, receiver: HookReceiver) -> None:
        refused = await add(plane, "mail", "email", "a@example.org", "plan.*", status=422)
        assert (refused["code"], "INTERLOCK_SMTP_HOST" in refused["title"]) == ("kind_unavailable", True)
        refused = await add(plane, "ops", "webhook", receiver.url, "inbox.asked", status=422)
        assert "inbox.opened" in refused["hint"]
        assert (await plane.post(f"{CHANNELS}/nobody/test", {}, 404))["code"] == "channel"
        assert (await plane.get("/notifications/deliveries", 404, params={"channel": "nobody"}))["code"] == "channel"

    async def test_a_test_says_what_came_of_it(self, plane: Plane, receiver: HookReceiver) -> None:
        await add(plane, "ops", "webhook", receiver.url, "plan.*")
        assert (await plane.post(f"{CHANNELS}/ops/test"))["state"] == "delivered"
        receiver.manner = "500"
        item = await plane.post(f"{CHANNELS}/ops/test")
        assert (item["state"], item["status"], item["error"]) == ("pending", 500, "status 500")
        await plane.call("DELETE", f"{CHANNELS}/ops")
        assert (await plane.get(f"/notifications/deliveries/{item['delivery_id']}"))["state"] == "cancelled"

    async def test_where_events_go_and_under_which_secret_is_the_owners_to_say(
        self, plane: Plane, receiver: HookReceiver
    ) -> None:
        await add(plane, "ops", "webhook", receiver.url, "plan.*")
        (maria,) = await people(plane, "maria")
        asked = [
            add(maria, "mine", "webhook", receiver.url, "*", status=403),
            maria.call("DELETE", f"{CHANNELS}/ops", 403),
            maria.post(f"{CHANNELS}/ops/rotate", {}, 403),
            maria.post(f"{CHANNELS}/ops/enable", {}, 403),
        ]
        refused = [await answer for answer in asked]
        assert [item["code"] for item in refused] == ["owner_only"] * 4
        assert refused[0]["title"] == "maria may not add channels: only the owner may"
        events = (await plane.get("/events", params={"subject": "access:refused"}))["items"]
        assert "make new signing secrets" in [event["data"]["doing"] for event in events]
        assert [item["name"] for item in (await maria.get(CHANNELS))["items"]] == ["ops"]
        assert (await maria.post(f"{CHANNELS}/ops/test"))["state"] == "delivered"
        assert (await maria.post(f"{CHANNELS}/ops/redrive"))["items"] == []
        await plane.call("DELETE", f"{CHANNELS}/ops")
        await plane.call("DELETE", "/users/maria")

    async def test_what_a_receiver_answers_is_told_the_owner_alone(self, plane: Plane, receiver: HookReceiver) -> None:
        await add(plane, "ops", "webhook", receiver.url, "plan.*")
        (maria,) = await people(plane, "maria")
        receiver.manner, receiver.words = "500", "the key is geheim"
        item = await maria.post(f"{CHANNELS}/ops/test")
        assert (item["error"], item["answer"]) == ("status 500", "")
        assert "geheim" not in json.dumps([await maria.get("/notifications/deliveries"), await maria.get("/inbox")])
        told = await plane.get(f"/notifications/deliveries/{item['delivery_id']}")
        assert told["answer"] == "the key is geheim"
        await plane.call("DELETE", f"{CHANNELS}/ops")
        await plane.call("DELETE", "/users/maria")

    async def test_nothing_leads_to_this_machine_unless_it_is_granted(
        self, make_plane: MakePlane, receiver: HookReceiver
    ) -> None:
        plane = await make_plane(notify_allow=Settings().notify_allow)
        await add(plane, "ops", "webhook", receiver.url, "plan.*")
        item = await plane.post(f"{CHANNELS}/ops/test")
        assert (item["state"], "INTERLOCK_NOTIFY_ALLOW=127.0.0.1" in item["error"]) == ("pending", True)
        assert receiver.requests == []

    async def test_it_goes_on_after_the_control_plane_was_killed(self, tmp_path: Path, receiver: HookReceiver) -> None:
        server = Server(tmp_path / "home", NOTIFY_ALLOW="127.0.0.1", NOTIFY_TIMEOUT_S="1", NOTIFY_RETRY_DELAYS_S="0,1,1,1,1,1")
        try:
            await server.start()
            await add(server, "ops", "webhook", receiver.url, "*")
            receiver.manner = "hang"
            await server.post(f"/plans/plan_{hashlib.sha256(b'none').hexdigest()[:12]}/approve", {"content_hash": "x"}, None)
            await server.call("POST", "/commands/parse", None, json={"text": "deploy nothing v1 to staging"})
            second = await add(server, "second", "webhook", receiver.url, "plan.proposed")

            async def asked() -> bool:
                return bool(receiver.requests)

            await until(asked, "an attempt is under way")
            await server.kill()
            receiver.manner = "204"
            await server.start()

            async def told() -> bool:
                return any(item.event["data"].get("channel_id") == second["channel_id"] for item in receiver.taken)

            await until(told, "it is told after all")
        finally:
            await server.clear()
