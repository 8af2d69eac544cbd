"""Verifying an exported record without the control plane that wrote it."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from interlock.audit.checker import Checker
from interlock.audit.model import GENESIS, Verdict, check_header, to_line

_KEY = re.compile("[0-9a-fA-F]{64}")


def verify_lines(lines: Iterable[str], public_key: str = "", expected_head: str = "") -> Verdict:
    """Check the lines of an export. ``public_key`` (64 hex digits) is the key to trust; empty trusts the one in the header."""
    if public_key and not _KEY.fullmatch(public_key):
        return _refused("the key to trust is not 64 hex digits")
    checker: Checker | None = None
    for number, line in enumerate(lines, 1):
        try:
            entry = _entry(line)
            if checker is None:
                is_signed = _verifier(public_key or _key_in(entry))
                checker = Checker(is_signed, expected_head)
                checker.problem = check_header(entry, is_signed)
            elif entry["kind"] == "seal":
                checker.seal(entry["seal"].encode())
            else:
                checker.rows(entry["feed"], [_row(entry)])
        except (ValueError, KeyError, TypeError, AttributeError):
            return _refused(f"line {number} cannot be read")
        if checker.problem:
            break
    return _refused("the file is empty") if checker is None else checker.verdict()


def _entry(line: str) -> dict[str, Any]:
    entry: Any = json.loads(line)
    if to_line(entry) != line.removesuffix("\n"):
        raise ValueError(line)
    return entry


def _key_in(header: dict[str, Any]) -> str:
    if (header["kind"], header["format"]) != ("header", 1):
        raise ValueError(header)
    return header["public_key"]


def _row(entry: dict[str, Any]) -> tuple[int, bytes]:
    if entry["kind"] != "row" or type(entry["position"]) is not int:
        raise ValueError(entry)
    return entry["position"], entry["content"].encode()


def _refused(problem: str) -> Verdict:
    return Verdict(ok=False, seals=0, rows=0, head=GENESIS, problem=problem)


def _verifier(public_key: str) -> Callable[[str, str], bool]:
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))

    def is_signed(sealed: str, signature: str) -> bool:
        try:
            key.verify(bytes.fromhex(signature), sealed.encode())
        except (InvalidSignature, ValueError):
            return False
        return True

    return is_signed
