"""Webhooks over real sockets: what receivers do to us, and what we never do to them."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.receivers import HookReceiver, MailServer
from interlock.adapters.notify import addresses
from interlock.adapters.notify.addresses import Addresses
from interlock.adapters.notify.mail import Account, MailCarrier
from interlock.adapters.notify.webhook import WebhookCarrier
from interlock.notifications.ports import Parcel

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def receiver() -> AsyncIterator[HookReceiver]:
    async with HookReceiver() as found:
        yield found


def carrier_for(*granted: str) -> WebhookCarrier:
    return WebhookCarrier(Addresses(granted or ["localhost", "127.0.0.1"]), lambda: NOW)


def parcel(target: str) -> Parcel:
    return Parcel(delivery_id="dlv_1", target=target, headers={"webhook-id": "dlv_1"}, body=b'{"a": 1}')


async def test_a_request_has_the_bytes_and_headers_that_were_signed(receiver: HookReceiver) -> None:
    receipt = await carrier_for().carry(parcel(receiver.url + "?to=ops"), timeout_s=10)
    assert (receipt.outcome, receipt.status) == ("delivered", 200)
    [hook] = receiver.taken
    assert (hook.path, hook.body, hook.headers["host"]) == ("/hook?to=ops", b'{"a": 1}', f"127.0.0.1:{receiver.port}")
    assert "cookie" not in hook.headers
    assert "authorization" not in hook.headers


async def test_a_redirect_is_not_followed(receiver: HookReceiver) -> None:
    async with HookReceiver() as other:
        receiver.manner, receiver.location = "redirect", other.url
        receipt = await carrier_for().carry(parcel(receiver.url), timeout_s=10)
        assert (receipt.outcome, receipt.status) == ("failed", 307)
        assert "redirects are not followed" in receipt.detail
        assert other.requests == []


async def test_410_says_that_nobody_is_there_any_more(receiver: HookReceiver) -> None:
    receiver.manner = "410"
    assert (await carrier_for().carry(parcel(receiver.url), timeout_s=10)).outcome == "gone"


@pytest.mark.parametrize("status", ["429", "503"])
async def test_a_receiver_may_say_when(receiver: HookReceiver, status: str) -> None:
    receiver.manner = status
    for said, meant in (("120", 120.0), (format_datetime(NOW + timedelta(seconds=90)), 90.0), ("soon", None), ("-5", None)):
        receiver.headers = {"Retry-After": said}
        receipt = await carrier_for().carry(parcel(receiver.url), timeout_s=10)
        assert (receipt.outcome, receipt.retry_after_s) == ("failed", meant)


async def test_an_answer_without_an_end_is_left(receiver: HookReceiver) -> None:
    receiver.manner = "drip"
    assert (await carrier_for().carry(parcel(receiver.url), timeout_s=0.3)).outcome == "failed"


async def test_of_a_huge_answer_little_is_read(receiver: HookReceiver) -> None:
    receiver.manner = "huge"
    assert (await carrier_for().carry(parcel(receiver.url), timeout_s=10)).outcome == "delivered"


async def test_a_name_that_is_not_granted_must_not_lead_inside(receiver: HookReceiver, monkeypatch: Any) -> None:
    """A public name may come to lead anywhere: what counts is the address, at every attempt."""
    monkeypatch.setattr(addresses, "_look_up", lambda _host, _port: ["127.0.0.1"])
    target = f"http://hooks.example.org:{receiver.port}/hook"
    receipt = await carrier_for("localhost").carry(parcel(target), timeout_s=10)
    assert receipt.outcome == "failed"
    assert "INTERLOCK_NOTIFY_ALLOW=hooks.example.org" in receipt.detail
    assert receiver.requests == []
    assert (await carrier_for("*.example.org").carry(parcel(target), timeout_s=10)).outcome == "delivered"
    assert receiver.requests[0].headers["host"] == f"hooks.example.org:{receiver.port}"


async def test_an_address_that_takes_no_connection_is_followed_by_the_next(receiver: HookReceiver, monkeypatch: Any) -> None:
    monkeypatch.setattr(addresses, "_look_up", lambda _host, _port: ["127.0.0.9", "127.0.0.9", "127.0.0.1"])
    receipt = await carrier_for().carry(parcel(f"http://localhost:{receiver.port}/hook"), timeout_s=10)
    assert receipt.outcome == "delivered", receipt
    receiver.manner = "close"
    assert (await carrier_for().carry(parcel(f"http://localhost:{receiver.port}/hook"), timeout_s=10)).outcome == "failed"
    assert len(receiver.requests) == 2, "once something was sent it is for the next attempt"
    monkeypatch.setattr(addresses, "_look_up", lambda _host, _port: ["127.0.0.9", "127.0.0.8"])
    assert (await carrier_for().carry(parcel(f"http://localhost:{receiver.port}/hook"), timeout_s=10)).outcome == "failed"


async def test_one_bad_address_among_good_ones_is_enough(monkeypatch: Any) -> None:
    monkeypatch.setattr(addresses, "_look_up", lambda _host, _port: ["93.184.216.34", "169.254.169.254"])
    receipt = await carrier_for().carry(parcel("http://hooks.example.org/"), timeout_s=10)
    assert "169.254.169.254" in receipt.detail


@pytest.mark.parametrize("url", ["http://2130706433:{port}/", "http://0x7f.1:{port}/", "http://[::ffff:127.0.0.1]:{port}/"])
async def test_other_ways_to_write_this_machine_are_not_granted(receiver: HookReceiver, url: str) -> None:
    receipt = await carrier_for("localhost").carry(parcel(url.format(port=receiver.port)), timeout_s=10)
    assert receipt.outcome == "failed"
    assert receiver.requests == []


async def test_a_name_that_does_not_exist_is_a_failure() -> None:
    receipt = await carrier_for().carry(parcel("http://nowhere.invalid/"), timeout_s=10)
    assert (receipt.outcome, receipt.status) == ("failed", 0)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files


@pytest.mark.parametrize(("name", "outcome"), [("localhost", "delivered"), ("other.example.org", "failed")])
async def test_the_certificate_has_to_be_of_the_name_not_of_the_address(
    tmp_path: Path, monkeypatch: Any, name: str, outcome: str
) -> None:
    cert, key = certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n")
        writer.close()

    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(addresses, "_look_up", lambda _host, _port: ["127.0.0.1"])
        receipt = await carrier_for().carry(parcel(f"https://localhost:{port}/"), timeout_s=10)
    assert receipt.outcome == outcome, receipt


class TestMail:
    @pytest.fixture
    async def server(self, tmp_path: Path) -> AsyncIterator[MailServer]:
        found = MailServer(tmp_path / "mails", password="geheim")
        try:
            await found.ready()
            yield found
        finally:
            found.end()

    def mail(self, **headers: str) -> Parcel:
        given = {"Subject": "Grüße", "Message-ID": "<dlv_1@example.org>"} | headers
        return Parcel(delivery_id="dlv_1", target="oncall@example.org", headers=given, body=b"text\n.\n\nmore\n")

    def carrier(self, server: MailServer, password: str | None = "geheim") -> MailCarrier:  # noqa: S107 - of the server above
        account = Account(
            host="127.0.0.1", port=server.port, sender="interlock@example.org", user="interlock", password=lambda: password
        )
        assert "geheim" not in repr(account)
        return MailCarrier(account)

    async def test_it_logs_in_and_the_text_arrives_whole(self, server: MailServer) -> None:
        receipt = await self.carrier(server).carry(self.mail(), timeout_s=20)
        assert receipt.outcome == "delivered", receipt
        [mail] = server.mails()
        assert (mail["Subject"], mail["To"], mail["Message-ID"]) == ("Grüße", "oncall@example.org", "<dlv_1@example.org>")
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail.get_content().replace("\r\n", "\n") == "text\n.\n\nmore\n"

    async def test_a_wrong_or_missing_password_may_be_set_right(self, server: MailServer) -> None:
        for password, status in (("falsch", 535), (None, 0)):
            receipt = await self.carrier(server, password).carry(self.mail(), timeout_s=20)
            assert (receipt.outcome, receipt.status) == ("failed", status)
            assert "falsch" not in receipt.detail
        assert server.mails() == []

    async def test_a_message_that_is_refused_for_good_is_not_tried_again(self, server: MailServer) -> None:
        server.behave("refuses")
        receipt = await self.carrier(server).carry(self.mail(), timeout_s=20)
        assert (receipt.outcome, receipt.status) == ("refused", 550)

    async def test_a_header_cannot_become_two(self, server: MailServer) -> None:
        with pytest.raises(ValueError, match=r"linefeed|newline"):
            await self.carrier(server).carry(self.mail(Subject="a\r\nBcc: evil@example.org"), timeout_s=20)
        assert server.mails() == []

    async def test_encryption_that_the_server_does_not_have_is_not_done_without(self, server: MailServer) -> None:
        account = Account(host="127.0.0.1", port=server.port, sender="interlock@example.org", encryption="starttls")
        receipt = await MailCarrier(account).carry(self.mail(), timeout_s=20)
        assert receipt.outcome == "failed"
        assert server.mails() == []
