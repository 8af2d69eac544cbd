"""Which repository URLs are accepted."""

import unicodedata
from urllib.parse import urlsplit

from interlock.core.errors import Invalid

SCHEMES = frozenset({"file", "git", "http", "https", "ssh"})

_HINT = "use an absolute path, or a URL that begins with https://, ssh://, git://, http:// or file://, or user@host:path"


def check_url(url: str) -> str:
    """Return ``url`` as git may be given it. Raises Invalid ``repository_url``, never repeating a secret that it holds."""
    if not url or any(unicodedata.category(letter)[0] == "C" for letter in url):
        raise _refused("a repository's URL may not be empty or hold control characters")
    if url.startswith("/"):
        return url
    if "://" not in url:
        return _checked_remote_path(url)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise _refused("the repository's URL cannot be read") from error
    if parts.scheme not in SCHEMES:
        raise _refused(f"a repository cannot be reached by {parts.scheme!r}")
    if parts.password is not None or (parts.scheme in {"http", "https"} and parts.username is not None):
        raise Invalid(
            "repository_url",
            "the repository's URL holds a user name, a token or a password, which would be kept and shown to everybody",
            hint="take out what stands before the @; use an SSH key (git@host:path), or let the git server know this host",
        )
    if parts.scheme != "file" and (not host or host.startswith("-") or (parts.username or "").startswith("-")):
        raise _refused("the repository's URL names no host")
    if parts.scheme == "file" and not parts.path.startswith("/"):
        raise _refused("the repository's URL names no absolute path")
    return url


def _checked_remote_path(url: str) -> str:
    """``user@host:path``, as for ssh and scp; not ``helper::address``, which would start a program."""
    address, colon, path = url.partition(":")
    if not colon or not path or path.startswith(":") or "/" in address or address.startswith("-") or "@-" in address:
        raise _refused(f"{url[:200]!r} is no URL of a repository")
    return url


def _refused(message: str) -> Invalid:
    return Invalid("repository_url", message, hint=_HINT)
