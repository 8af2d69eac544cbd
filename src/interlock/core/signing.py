"""What slices need of a key, without knowing where it is kept."""

from typing import Protocol


class Signer(Protocol):
    """Signs for a tenant with Ed25519 (RFC 8032)."""

    def sign(self, tenant: str, message: bytes) -> str:
        """The signature as 128 hex digits."""
        ...

    def verify(self, tenant: str, message: bytes, signature: str) -> bool:
        """Whether ``signature`` is the tenant's on ``message``; False, never an exception, for a malformed one."""
        ...

    def public_key(self, tenant: str) -> str:
        """The tenant's public key as 64 hex digits, to verify a record elsewhere."""
        ...


class Sealer(Protocol):
    """Encrypts for a tenant what has to be kept and must not be read where it lies (AES-256-GCM, NIST SP 800-38D)."""

    def seal(self, tenant: str, about: str, content: bytes) -> bytes:
        """``content`` encrypted; only together with the same ``about`` can it be opened."""
        ...

    def open(self, tenant: str, about: str, sealed: bytes) -> bytes:
        """The inverse of `seal`. Raises Unavailable ``sealed`` where the key, ``about`` or a bit of ``sealed`` is another."""
        ...
