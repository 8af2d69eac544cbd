"""Names and ports of services."""

import re
import socket
from collections.abc import Sequence, Set

from rapidfuzz import fuzz, process

from interlock.core.errors import Invalid, NotFound, Unavailable

NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")
MAX_LENGTH = 40


def check_service_name(name: str, environments: Sequence[str]) -> None:
    """Raises Invalid ``service_name`` unless ``name`` can be part of a folder, a route and a sentence."""
    hint = f"lower-case letters, digits, '-', '_' and '.', up to {MAX_LENGTH}, beginning with a letter"
    if len(name) > MAX_LENGTH or not NAME.fullmatch(name):
        raise Invalid("service_name", f"{name!r} cannot be the name of a service", hint=hint)
    if name in environments:
        raise Invalid("service_name", f"{name!r} is the name of an environment", hint="choose another name")


def unknown_service(name: str, known: Sequence[str]) -> NotFound:
    """The error about a service that is not registered, with the names near it."""
    hint = (
        f"register it: interlock service add {name} --repo PATH_OR_URL"
        if NAME.fullmatch(name)
        else "see: interlock service list"
    )
    if near := _near(name, known):
        hint = f"did you mean {' or '.join(near)}? Else {hint}"
    return NotFound("service", f"there is no service {name!r}", hint=hint, nearest=near)


def unknown_environment(name: str, known: Sequence[str]) -> NotFound:
    """The error about an environment that this installation does not have, with those that it has."""
    near = _near(name, known)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return NotFound(
        "environment", f"there is no environment {name!r}", hint=f"{meant}environments: {', '.join(known)}", nearest=near
    )


def _near(name: str, known: Sequence[str]) -> list[str]:
    return [found for found, _, _ in process.extract(name, known, scorer=fuzz.ratio, limit=3, score_cutoff=60)]


def free_ports(bounds: tuple[int, int], taken: Set[int], count: int) -> list[int]:
    """``count`` ports on 127.0.0.1 within ``bounds`` that nobody listens on. Raises Unavailable ``no_free_port``."""
    found: list[int] = []
    for port in range(*bounds):
        if len(found) == count:
            break
        if port not in taken and is_free(port):
            found.append(port)
    if len(found) < count:
        raise Unavailable("no_free_port", f"no {count} ports are free between {bounds[0]} and {bounds[1]}")
    return found


def is_free(port: int) -> bool:
    """Whether a listener could be opened on 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def any_free_port() -> int:
    """A port that the system gives now; whoever binds it later may still find it taken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
