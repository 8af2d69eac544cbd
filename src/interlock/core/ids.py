"""Identifiers: a prefix that says what they name, and 60 random bits."""

import secrets

# Crockford's base 32: no i, l, o, u, so that an identifier can be read aloud and typed.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 12


def new_id(prefix: str) -> str:
    """A fresh identifier such as ``plan_8q3k0v6w2m1t``. The order of creation is kept by the tables, not by the id."""
    return f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
