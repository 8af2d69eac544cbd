"""Standard Webhooks: how a receiver knows that a request is ours, whole, and not a replay.

``webhook-id`` is the delivery's, the same over all attempts; ``webhook-timestamp`` are Unix seconds of this attempt;
``webhook-signature`` is, for each secret in force, ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``, separated
by spaces. A secret is written ``whsec_`` and the base64 of its bytes. See https://www.standardwebhooks.com.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
SECRET_BYTES = 32
"""The scheme asks for 24 to 64."""


def new_secret() -> str:
    """A fresh secret, as it is shown to whoever sets the receiver up."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, at_s: int, body: bytes) -> str:
    """The signature by one secret."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{message_id}.{at_s}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def headers(given: Sequence[str], message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The three headers, signed with every secret of ``given``."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(signature(secret, message_id, at_s, body) for secret in given),
    }
