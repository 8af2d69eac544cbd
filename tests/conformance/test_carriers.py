"""Every carrier of notifications passes the suite of the port."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.receivers import HookReceiver, MailServer
from interlock.adapters.notify.addresses import Addresses
from interlock.adapters.notify.mail import Account, MailCarrier
from interlock.adapters.notify.webhook import WebhookCarrier
from interlock.notifications.ports import Parcel
from interlock.testing.carriers import Bench, CarrierBehaviour, FakeCarrier, Manner


class FakeBench:
    target = "somewhere"

    def __init__(self) -> None:
        self.carrier = FakeCarrier()

    async def behave(self, manner: Manner) -> None:
        self.carrier.manners[self.target] = manner

    async def arrived(self) -> list[tuple[str, str]]:
        return [(parcel.delivery_id, parcel.body.decode()) for parcel in self.carrier.arrived]


class TestFakeCarrier(CarrierBehaviour):
    @pytest.fixture
    def bench(self) -> FakeBench:
        return FakeBench()


class HookBench:
    def __init__(self, receiver: HookReceiver) -> None:
        self.receiver = receiver
        self.carrier = WebhookCarrier(Addresses(["127.0.0.1"]), lambda: datetime.now(UTC))
        self.target = receiver.url

    async def behave(self, manner: Manner) -> None:
        names: dict[Manner, str] = {"takes": "204", "is busy": "503", "hangs": "hang", "breaks off": "close"}
        self.receiver.manner = names[manner]

    async def arrived(self) -> list[tuple[str, str]]:
        return [(hook.message_id, hook.body.decode()) for hook in self.receiver.taken]


class TestWebhookCarrier(CarrierBehaviour):
    @pytest.fixture
    async def bench(self) -> AsyncIterator[HookBench]:
        async with HookReceiver() as receiver:
            yield HookBench(receiver)

    def parcel(self, bench: Bench, delivery_id: str, text: str) -> Parcel:
        return Parcel(delivery_id=delivery_id, target=bench.target, headers={"webhook-id": delivery_id}, body=text.encode())


class MailBench:
    target = "oncall@example.org"

    def __init__(self, server: MailServer) -> None:
        self.server = server
        self.carrier = MailCarrier(Account(host="127.0.0.1", port=server.port, sender="interlock@example.org"))

    async def behave(self, manner: Manner) -> None:
        self.server.behave(manner)

    async def arrived(self) -> list[tuple[str, str]]:
        mails = self.server.mails()
        return [(mail["Message-ID"].strip("<>").partition("@")[0], mail.get_content().rstrip("\r\n")) for mail in mails]


class TestMailCarrier(CarrierBehaviour):
    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[MailBench]:
        server = MailServer(tmp_path / "mails")
        try:
            await server.ready()
            yield MailBench(server)
        finally:
            server.end()

    def parcel(self, bench: Bench, delivery_id: str, text: str) -> Parcel:
        headers = {"Subject": "a test", "Message-ID": f"<{delivery_id}@example.org>"}
        return Parcel(delivery_id=delivery_id, target=bench.target, headers=headers, body=text.encode())
