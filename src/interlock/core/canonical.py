"""Canonical JSON (RFC 8785) and the content hashes made of it."""

import hashlib
from typing import cast

import rfc8785

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def canonical_json(value: object) -> bytes:
    """The one byte sequence that stands for ``value``. Raises TypeError where JSON cannot carry it exactly."""
    try:
        return rfc8785.dumps(cast("dict[str, object]", value))  # pyright: ignore[reportArgumentType]
    except rfc8785.CanonicalizationError as error:
        raise TypeError(f"not exactly representable as JSON: {error}") from error


def digest_bytes(data: bytes) -> str:
    """``sha256:`` and the hex digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest(value: object) -> str:
    """The content hash of a JSON value: SHA-256 over its canonical form."""
    return digest_bytes(canonical_json(value))
