"""The record as a hash chain: a seal for each commit, over the rows which that commit wrote.

A seal names, for each feed, the range of positions and a digest over the rows; it holds the hash of the seal before it and is
signed with the tenant's Ed25519 key. Whoever changes, drops, adds or reorders a byte breaks a digest, the chain or a signature.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from interlock.core.canonical import digest

GENESIS = "sha256:" + "0" * 64

Rows = list[tuple[int, bytes]]
"""Rows of a feed: position, and the bytes that stand for the row."""

_SIGNATURE = re.compile("[0-9a-f]{128}")


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one feed in one commit."""

    feed: str
    first: int
    last: int
    count: int
    digest: str


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """One link of the chain. ``hash`` is over all other fields but ``signature``; the signature is over ``hash``."""

    seq: int
    at: str
    spans: tuple[Span, ...]
    previous: str
    hash: str
    signature: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification found. ``head`` is the hash of the last seal: keep it elsewhere to notice a record cut short."""

    ok: bool
    seals: int
    rows: int
    head: str
    problem: str = ""


def span_digest(rows: Iterable[tuple[int, bytes]]) -> str:
    """SHA-256 over position, length and content of each row; the length keeps two rows from passing for one."""
    hasher = hashlib.sha256()
    for position, content in rows:
        hasher.update(b"%d %d\n" % (position, len(content)))
        hasher.update(content)
    return "sha256:" + hasher.hexdigest()


def seal_hash(seq: int, at: str, spans: Sequence[Span], previous: str) -> str:
    """The hash of a seal's content."""
    return digest({"seq": seq, "at": at, "spans": [msgspec.to_builtins(span) for span in spans], "previous": previous})


def to_line(entry: dict[str, Any]) -> str:
    """An entry of an export as a line of JSON: compact, nothing escaped that need not be. No other form of it is accepted, so
    that each byte counts."""
    return msgspec.json.encode(entry).decode()


def check_header(header: dict[str, Any], is_signed: Callable[[str, str], bool]) -> str:
    """Why an export cannot begin with ``header``, signed in its field ``signature`` over all others; empty when it can."""
    signature: Any = header.get("signature")
    plain = to_line({name: value for name, value in header.items() if name != "signature"})
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature) or not is_signed(plain, signature):
        return "the header was changed, or is not signed by this tenant"
    return ""


def check_seal(seal: Seal, seq: int, previous: str, is_signed: Callable[[str, str], bool]) -> str:
    """Why ``seal`` cannot stand at place ``seq`` behind ``previous``; empty when it can."""
    if seal.seq != seq:
        return f"seal {seq} is missing (found {seal.seq})"
    if seal.previous != previous:
        return f"seal {seq} does not follow the one before it"
    if seal_hash(seal.seq, seal.at, seal.spans, seal.previous) != seal.hash:
        return f"seal {seq} was changed"
    if not _SIGNATURE.fullmatch(seal.signature) or not is_signed(seal.hash, seal.signature):
        return f"seal {seq} is not signed by this tenant"
    return ""


def check_span(seq: int, span: Span, rows: Rows, after: int) -> str:
    """Why ``rows`` are not what seal ``seq`` sealed in ``span``, whose feed was sealed up to ``after``; empty when they are."""
    if span.first <= after:
        return f"seal {seq} covers {span.feed} {span.first} again"
    if len(rows) != span.count:
        return f"{span.feed} {span.first}-{span.last}: {span.count} rows were sealed, {len(rows)} are there"
    if span_digest(rows) != span.digest:
        return f"{span.feed} {span.first}-{span.last} was changed after it was sealed"
    return ""
