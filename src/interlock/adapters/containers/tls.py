"""Who an engine behind ``tcp://`` is, and who asks it: certificates, kept as Docker's own client keeps them."""

import ssl
from pathlib import Path

from interlock.core.errors import Invalid

_AUTHORITY, _CERTIFICATE, _KEY = "ca.pem", "cert.pem", "key.pem"


def client_context(folder: Path) -> ssl.SSLContext:
    """With the engine's authority, and no other, and the certificate of this control plane; read now.

    Raises Invalid ``container_tls`` naming the file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority, certificate, key = (folder / name for name in (_AUTHORITY, _CERTIFICATE, _KEY))
    for file in (authority, certificate, key):
        _check_readable(file)
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise _unusable(authority, f"it holds no certificate ({error.reason or error})") from error
    try:
        # Without a password said, the library would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise _unusable(certificate, f"it and {_KEY} are no certificate and its key ({error.reason or error})") from error
    return context


def _check_readable(file: Path) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise _unusable(file, error.strerror or "it cannot be read") from error


def _unusable(file: Path, why: str) -> Invalid:
    hint = "INTERLOCK_CONTAINER_TLS names a folder with ca.pem, cert.pem and key.pem, without a password"
    return Invalid("container_tls", f"TLS to the container engine is not possible: {why}", where=str(file), hint=hint)
