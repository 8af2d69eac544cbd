"""Taking images out of a registry again, by its own HTTP interface."""

from collections.abc import Iterable

import httpx

TIMEOUT_S = 10.0
NOT_FOUND = 404
LOOPBACK = ("127.", "localhost", "[::1]")


def forget(references: Iterable[str]) -> str:
    """Delete each ``registry/repository@sha256:…`` where the registry lets it; returns in words what became of them."""
    gone, kept = 0, list[str]()
    for reference in references:
        name, _, digest = reference.partition("@")
        registry, _, repository = name.partition("/")
        scheme = "http" if registry.startswith(LOOPBACK) else "https"
        try:
            address = f"{scheme}://{registry}/v2/{repository}/manifests/{digest}"
            answer = httpx.delete(address, timeout=TIMEOUT_S, trust_env=False)
        except httpx.HTTPError as error:
            kept.append(f"{reference} ({type(error).__name__})")
            continue
        if answer.is_success or answer.status_code == NOT_FOUND:
            gone += 1
        else:
            kept.append(f"{reference} ({answer.status_code})")
    told = [f"{gone} deleted in the registry"] if gone else []
    return "; ".join(told + ([f"left in the registry, which does not delete them: {', '.join(kept)}"] if kept else []))
