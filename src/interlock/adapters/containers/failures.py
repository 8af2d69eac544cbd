"""An engine's refusals in the words of the error tree."""

import re
from collections.abc import Generator
from contextlib import contextmanager

from interlock.adapters.containers.connection import Refusal
from interlock.adapters.containers.observation import NO_SPACE
from interlock.core.errors import Conflict, InterlockError, Internal, Invalid, Unavailable

_NO_IMAGE = re.compile(
    r"no such image|image not known|image does not exist locally|manifest unknown|manifest for .* not found|"
    r"not found: manifest",
    re.IGNORECASE,
)
_NO_REGISTRY = re.compile(
    r"connection refused|no such host|i/o timeout|handshake timeout|request canceled|server misbehaving|connection reset|"
    r"no route to host|network is unreachable|unexpected EOF|: EOF|HTTP response to HTTPS client|unexpected http status: 5|"
    r"response status code 5|temporary failure in name resolution",
    re.IGNORECASE,
)
_NO_ENTRY = re.compile(r"unauthorized|authentication required|no basic auth|access to the resource is denied", re.IGNORECASE)


@contextmanager
def translated(where: str) -> Generator[None]:
    """Turn what the engine refuses into an error of the tree."""
    try:
        yield
    except Refusal as refusal:
        raise as_error(refusal, where) from refusal


def as_error(refusal: Refusal, where: str) -> InterlockError:
    """What a refusal of an ordinary request means."""
    words = refusal.message.strip()[:1000]
    if NO_SPACE.search(words):
        return Unavailable(
            "storage", f"the engine has no space left: {words}", where=where, hint="make room where it keeps images"
        )
    if _NO_IMAGE.search(words):
        return Conflict("image_missing", words, where=where, hint="build or pull it again")
    if refusal.status in {400, 404, 409}:
        return Invalid("engine_refused", f"the engine refused this: {words}", where=where)
    if refusal.status >= 500:
        return Unavailable("engine_failed", f"the engine failed: {words}", where=where)
    return Internal("engine_answer", f"the engine answered {refusal.status}: {words}", where=where)


def as_transfer_error(refusal: Refusal, where: str, refused: InterlockError) -> InterlockError:
    """What a refusal in the middle of a push or a pull means: ``refused`` where nothing better fits."""
    error = as_error(refusal, where)
    if error.code in {"storage", "image_missing"}:
        return error
    if _NO_ENTRY.search(refusal.message):
        refused.hint = "see INTERLOCK_CONTAINER_REGISTRY_USER and INTERLOCK_CONTAINER_REGISTRY_PASSWORD_SECRET"
    return no_registry(refusal, where) or refused


def no_registry(refusal: Refusal, where: str) -> Unavailable | None:
    """Unavailable ``registry_down`` where that is what the engine's words mean."""
    if not _NO_REGISTRY.search(refusal.message):
        return None
    words = refusal.message.strip()[:1000]
    return Unavailable("registry_down", f"the registry cannot be used now: {words}", where=where, hint="see whether it runs")
