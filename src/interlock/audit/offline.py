"""Verifying an exported record without the control plane that wrote it."""

import json
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.audit.model import GENESIS, Verdict
from interlock.audit.service import Checker


def verify_lines(lines: Iterable[str], public_key: str = "", expected_head: str = "") -> Verdict:
    """Check the lines of an export. ``public_key`` (64 hex digits) is the key to trust; empty trusts the one in the header."""
    checker: Checker | None = None
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            kind = entry["kind"]
            if checker is None:
                checker = Checker(_verifier(public_key or entry["public_key"]), expected_head)
            elif kind == "seal":
                checker.seal(entry["seal"].encode())
            elif kind == "row":
                checker.rows(entry["feed"], [(int(entry["position"]), entry["content"].encode())])
            else:
                raise ValueError(kind)
        except (ValueError, KeyError, TypeError, AttributeError):
            return Verdict(ok=False, seals=0, rows=0, head=GENESIS, problem=f"line {number} cannot be read")
        if checker.problem:
            break
    if checker is None:
        return Verdict(ok=False, seals=0, rows=0, head=GENESIS, problem="the file is empty")
    return checker.verdict()


def _verifier(public_key: str):
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))

    def is_signed(sealed: str, signature: str) -> bool:
        try:
            key.verify(bytes.fromhex(signature), sealed.encode())
        except (InvalidSignature, ValueError):
            return False
        return True

    return is_signed
