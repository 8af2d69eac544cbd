"""E-mail by SMTP: one plain-text message to one address."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from typing import Literal

import aiosmtplib

from interlock.core.errors import Unavailable
from interlock.notifications.model import Receipt
from interlock.notifications.ports import Parcel

Encryption = Literal["none", "starttls", "tls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How mail is handed in. ``password`` is asked for at each attempt and kept nowhere."""

    host: str
    port: int
    sender: str
    encryption: Encryption = "none"
    user: str = ""
    password: Callable[[], str | None] = field(default=lambda: None, repr=False)


class MailCarrier:
    """`Carrier` of e-mail. Permanent refusals of the message itself (5xx) end its delivery; everything else is tried again."""

    def __init__(self, account: Account) -> None:
        self._account = account

    async def carry(self, parcel: Parcel, *, timeout_s: float) -> Receipt:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(message_of(parcel, self._account.sender), parcel.target)
        except TimeoutError:
            return Receipt(outcome="failed", detail=f"the mail server did not take it within {timeout_s:g} s")
        except Unavailable as error:
            return Receipt(outcome="failed", detail=error.message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _refusal(error.recipients[0]) if error.recipients else Receipt(outcome="failed", detail=str(error))
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
            return _refusal(error)
        except aiosmtplib.SMTPResponseException as error:
            # Not about this message: the greeting, STARTTLS or the login. Somebody may set it right.
            return Receipt(outcome="failed", status=error.code, detail=f"status {error.code}: {error.message}")
        except (aiosmtplib.SMTPException, OSError) as error:
            return Receipt(outcome="failed", detail=str(error) or type(error).__name__)

    async def _send(self, message: EmailMessage, target: str) -> Receipt:
        account = self._account
        client = aiosmtplib.SMTP(
            hostname=account.host,
            port=account.port,
            use_tls=account.encryption == "tls",
            start_tls=account.encryption == "starttls",
            timeout=None,  # the limit is one around the whole attempt
        )
        try:
            await client.connect()
            if account.user:
                await client.login(account.user, self._password())
            await client.sendmail(account.sender, [target], message.as_bytes())
        finally:
            # Without a farewell: the server took the message or it did not, and a farewell could hang.
            client.close()
        return Receipt(outcome="delivered", status=250)

    def _password(self) -> str:
        password = self._account.password()
        if password is None:
            hint = "set the variable of INTERLOCK_SMTP_PASSWORD_SECRET where interlock serve runs"
            raise Unavailable("no_password", f"there is no password for the mail server ({hint})", hint=hint)
        return password


def message_of(parcel: Parcel, sender: str) -> EmailMessage:
    """The message. Raises ValueError for a header with a line break in it, which would be another header."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = parcel.target
    for name, value in parcel.headers.items():
        message[name] = value
    # Tells other programs not to answer (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(parcel.body.decode(), cte="quoted-printable")
    return message


def _refusal(error: aiosmtplib.SMTPResponseException) -> Receipt:
    outcome = "refused" if 500 <= error.code < 600 else "failed"
    return Receipt(outcome=outcome, status=error.code, detail=f"status {error.code}: {error.message}")
