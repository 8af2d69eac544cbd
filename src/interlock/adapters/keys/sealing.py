"""Sealing keys in files: one AES-256 key a tenant, readable by the owner of the data folder alone."""

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.adapters.keys.files import read_or_make
from interlock.core.errors import Unavailable

NONCE_BYTES = 12


class SealingKeyFiles:
    """A `Sealer` whose keys lie in ``folder`` as ``<tenant>.sealing`` (32 random bytes, mode 0600), made at first use.

    What it seals is a nonce of 96 random bits, then ciphertext and tag.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def seal(self, tenant: str, about: str, content: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher(tenant).encrypt(nonce, content, about.encode())

    def open(self, tenant: str, about: str, sealed: bytes) -> bytes:
        try:
            return self._cipher(tenant).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError) as error:
            hint = "put the key file back that it was sealed with, or make the secret anew"
            raise Unavailable(
                "sealed", "a secret cannot be opened with the key that is here", where=about, hint=hint
            ) from error

    def _cipher(self, tenant: str) -> AESGCM:
        return AESGCM(read_or_make(self._folder / f"{tenant}.sealing", lambda: AESGCM.generate_key(bit_length=256)))
