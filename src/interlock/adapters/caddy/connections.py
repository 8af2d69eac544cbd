"""The TCP connections of this host, as the kernel lists them (proc(5), /proc/net/tcp)."""

import socket
import sys
from pathlib import Path

from interlock.core.addresses import Address

_TABLE = Path("/proc/net/tcp")
_ESTABLISHED = "01"


def established(address: Address) -> int:
    """Connections from this host to ``address`` that are open. Blocking, for some milliseconds at most."""
    # The kernel prints the address as the number that its bytes make in memory.
    number = int.from_bytes(socket.inet_aton(address.host), sys.byteorder)
    remote = f"{number:08X}:{address.port:04X}"
    rows = (line.split() for line in _TABLE.read_text().splitlines()[1:])
    return sum(row[2] == remote and row[3] == _ESTABLISHED for row in rows)
