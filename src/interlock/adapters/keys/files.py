"""Signing keys in files: one Ed25519 key a tenant, readable by the owner of the data folder alone."""

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


class KeyFiles:
    """A `Signer` whose keys lie in ``folder`` as ``<tenant>.key`` (32 raw bytes, mode 0600), made at first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, Ed25519PrivateKey] = {}

    def sign(self, tenant: str, message: bytes) -> str:
        return self._key(tenant).sign(message).hex()

    def verify(self, tenant: str, message: bytes, signature: str) -> bool:
        try:
            self._key(tenant).public_key().verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def public_key(self, tenant: str) -> str:
        return self._key(tenant).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def _key(self, tenant: str) -> Ed25519PrivateKey:
        if tenant not in self._keys:
            self._keys[tenant] = Ed25519PrivateKey.from_private_bytes(read_or_make(self._folder / f"{tenant}.key", _new_key))
        return self._keys[tenant]


def read_or_make(file: Path, make: Callable[[], bytes]) -> bytes:
    """The key in ``file``, which is made at first use."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written aside and renamed: a crash must not leave half a key under the name.
        aside = file.with_name(file.name + ".new")
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(make())
            stream.flush()
            os.fsync(stream.fileno())
        aside.rename(file)
    return file.read_bytes()


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
