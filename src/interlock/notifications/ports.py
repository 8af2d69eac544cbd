"""What notifications need from the outside: something that carries a parcel to its receiver."""

from typing import Protocol

import msgspec

from interlock.notifications.model import Receipt


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What is handed over, complete and signed. ``delivery_id`` stays the same over all attempts.

    For a webhook ``target`` is a URL, ``headers`` are those of the request, and ``body`` its bytes. For e-mail ``target`` is an
    address, ``headers`` are those of the message (subject, message id, date), and ``body`` its text in UTF-8.
    """

    delivery_id: str
    target: str
    headers: dict[str, str]
    body: bytes


class Carrier(Protocol):
    """Hands over parcels of one kind."""

    async def carry(self, parcel: Parcel, *, timeout_s: float) -> Receipt:
        """One attempt, over in ``timeout_s`` seconds at the latest. Never raises for what the other side does.

        ``delivered`` only when the other side took responsibility. What arrived without a word of that (the connection broke
        before the answer) is ``failed`` and comes again under the same id: the receiver sees it twice rather than never.
        """
        ...
