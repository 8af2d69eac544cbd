"""Channels to people and programs outside, what is delivered through them, and when it is tried again. Pure."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from interlock.core.errors import Invalid

ChannelKind = Literal["webhook", "email"]
ChannelState = Literal["active", "disabled"]
DeliveryState = Literal["pending", "delivered", "dead", "cancelled"]
"""``pending``: it will be tried at ``due_at``. ``dead``: given up, until a person sends it again. ``cancelled``: its channel
was removed before it got through."""
Outcome = Literal["delivered", "failed", "refused", "gone"]
"""``failed``: trying again may help. ``refused``: it never will. ``gone``: nobody is there any more, for no event."""

MAX_CHANNELS = 100
MAX_PATTERNS = 50
DEFAULT_DELAYS_S = (0.0, 30.0, 300.0, 1200.0, 3600.0)
INTERRUPTED = "it was interrupted: what came of it is not known"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_PATTERN = re.compile(r"[a-z0-9_.*]{1,100}")
# RFC 5321, as far as people use it: no quoted local parts, no address literals, no comments.
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*", re.ASCII)


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """Where events go that match one of ``events``, types in which ``*`` stands for any letters. Its secrets are not in it."""

    channel_id: str
    name: str
    kind: ChannelKind
    target: str
    """A URL, or an address."""
    events: tuple[str, ...]
    state: ChannelState
    created_at: str
    created_by: str
    after: dict[str, int] = {}
    """Of each feed, the position that was the last one when the channel was added: only what came later is delivered."""
    reason: str = ""
    """Why it is disabled."""

    @property
    def subject(self) -> str:
        return f"channel:{self.channel_id}"

    @property
    def shown_target(self) -> str:
        """The target without what may be a secret in it: of a URL scheme and host alone, since many receivers have it in the
        path."""
        if self.kind == "email":
            return self.target
        parts = urlsplit(self.target)
        return f"{parts.scheme}://{parts.netloc}" + ("/…" if parts.path.strip("/") or parts.query else "")


class SealedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A signing secret as it is stored. ``until`` is when an older one ends; empty for the one in force."""

    sealed: bytes
    until: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one channel; its id is the ``webhook-id`` and stays the same however often it is tried.

    An attempt is counted before it is made, so ``attempts`` may be one too high after a crash and is never too low.
    """

    delivery_id: str
    channel_id: str
    channel: str
    event_id: str
    event_type: str
    subject: str
    state: DeliveryState
    created_at: str
    due_at: str
    attempts: int = 0
    tried_at: str = ""
    status: int = 0
    """What the other side answered last: an HTTP or SMTP status, 0 for no answer."""
    error: str = ""
    answer: str = ""
    """What the other side answered last, in its own words. It may be of any program that listens where the channel leads,
    and is the owner's alone to read."""
    ended_at: str = ""
    redriven: int = 0
    """How often a person has sent it again after it was given up."""

    @property
    def was_tried(self) -> bool:
        """Whether it is known what came of an attempt."""
        return self.state != "pending" or (self.attempts > 0 and self.error != INTERRUPTED)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one attempt."""

    outcome: Outcome
    status: int = 0
    detail: str = ""
    answer: str = ""
    """The beginning of what the other side said."""
    retry_after_s: float | None = None
    """How long the other side asks to be left alone."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When an attempt is made again: after the first failure in ``delays_s[0]`` to twice that, and so on; then never."""

    delays_s: tuple[float, ...] = DEFAULT_DELAYS_S
    max_retry_after_s: float = 3600.0

    def delay_s(self, attempts: int, chance: float, asked_s: float | None = None) -> float | None:
        """Seconds until the next attempt after ``attempts`` of them; None when there is none. ``chance`` is 0 to 1.

        A receiver that asks for a later time gets it, up to a bound; an earlier one than ours it does not get.
        """
        if self.is_over(attempts):
            return None
        delay_s = self.delays_s[attempts - 1] * (1.0 + chance)
        return max(delay_s, min(asked_s or 0.0, self.max_retry_after_s))

    def is_over(self, attempts: int) -> bool:
        """Whether there is no attempt after so many."""
        return attempts > len(self.delays_s)


def matches(patterns: Sequence[str], event_type: str) -> bool:
    """Whether one of the patterns names the type."""
    return any(fnmatchcase(event_type, pattern) for pattern in patterns)


def check_name(name: str) -> str:
    """Raises Invalid ``channel_name``."""
    if not _NAME.fullmatch(name):
        rule = "lower-case letters, digits and '-', up to 40, beginning with a letter"
        raise Invalid("channel_name", f"{name[:60]!r} cannot name a channel", where="name", hint=rule)
    return name


def check_patterns(patterns: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Raises Invalid ``event_pattern`` for what matches none of the ``known`` event types: it would be silent for ever."""
    cleaned = tuple(dict.fromkeys(pattern.strip() for pattern in patterns if pattern.strip()))
    if not cleaned or len(cleaned) > MAX_PATTERNS:
        raise Invalid("event_pattern", f"a channel takes 1 to {MAX_PATTERNS} event patterns", where="events")
    for pattern in cleaned:
        if not _PATTERN.fullmatch(pattern) or not any(fnmatchcase(event_type, pattern) for event_type in known):
            hint = f"event types: {', '.join(known)}; * stands for any letters"
            raise Invalid("event_pattern", f"no event is called {pattern[:100]!r}", where="events", hint=hint)
    return cleaned


def check_target(kind: ChannelKind, target: str) -> str:
    """Raises Invalid ``channel_target`` for what is no http or https URL, or no plain e-mail address."""
    if kind == "email":
        if len(target) > 254 or not _ADDRESS.fullmatch(target):
            raise Invalid("channel_target", "this is no plain e-mail address", where="email", hint="such as oncall@example.org")
        return target
    hint = "such as https://hooks.example.org/interlock"
    try:
        parts = urlsplit(target)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, is_url = SplitResult("", "", "", "", ""), False
    if not is_url or len(target) > 2000 or not target.isascii() or any(letter <= " " for letter in target):
        raise Invalid("channel_target", "this is neither an http nor an https URL", where="webhook", hint=hint)
    if parts.username is not None or parts.password is not None:
        message = "a URL with a user or password in it would be kept in plain"
        raise Invalid("channel_target", message, where="webhook", hint="the receiver verifies the signature instead")
    return target.partition("#")[0]
