"""Which addresses a name may lead to: what the operator named, and nothing that it was turned into afterwards."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase

from interlock.core.errors import Forbidden, Unavailable

_RESOLVERS = 16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Addresses:
    """Resolves the name of a receiver at every attempt anew, and judges every address that comes back.

    A public address is fine for any name. One that is not (loopback, private, link-local, …) is fine only for a name that
    matches ``granted``, patterns in which ``*`` stands for any letters: so no name can be pointed at what is inside.
    """

    def __init__(self, granted: Sequence[str]) -> None:
        self._granted = tuple(pattern.lower().strip("[]") for pattern in granted)
        # Of its own: a resolver that hangs must not take the threads of everything else.
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses to connect to, the preferred one first. Raises Unavailable ``unresolved``, Forbidden
        ``address_not_granted``."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _look_up, host, port)
        except (OSError, UnicodeError) as error:
            raise Unavailable("unresolved", f"the name {host} cannot be resolved: {error}") from error
        for address in found:
            if not self._may_reach(host, address):
                hint = f"grant it where interlock serve runs: INTERLOCK_NOTIFY_ALLOW={host}"
                message = f"{host} leads to {address}, which is not public, and the name is not granted ({hint})"
                raise Forbidden("address_not_granted", message, hint=hint)
        return list(dict.fromkeys(found))

    def _may_reach(self, host: str, address: str) -> bool:
        return is_public(address) or any(fnmatchcase(host.lower().rstrip("."), pattern) for pattern in self._granted)


def is_public(address: str) -> bool:
    """Whether an address is reachable on the Internet at large; what is carried inside an IPv6 address counts as itself."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


def _look_up(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
